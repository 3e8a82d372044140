# shellcheck shell=sh
# Sourced: what compares crates with the same objects linked by the system's linker.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
# shellcheck disable=SC2034
libraries=/usr/lib/x86_64-linux-gnu

# recorded NAME COMMAND...: NAME.txt gets its output, what it wrote to stderr, and its status.
recorded() {
    name=$1
    shift
    rc=0
    timeout "${RECORD_TIMEOUT:-120}" "$@" >"$name.txt" 2>"$name.err" </dev/null || rc=$?
    { echo "-- stderr"; cat "$name.err"; echo "-- status $rc"; } >>"$name.txt"
}

# same NAME WANTED WHAT: the records are the same.
same() {
    cmp -s "$1.txt" "$2.txt" || { diff -a "$2.txt" "$1.txt" | head -20 >&2; fail "$3: output differs"; }
}

# linked CRATE ARGUMENT...: crateld link succeeds without a word, and its result is valid.
linked() {
    crate=$1
    shift
    crateld link -o "$crate" "$@" >link.log 2>&1 || { cat link.log >&2; fail "crateld link -o $crate $*"; }
    [ ! -s link.log ] || { cat link.log >&2; fail "crateld link -o $crate $*: warnings"; }
    crateld inspect --check "$crate" >link.log 2>&1 || { cat link.log >&2; fail "crateld inspect --check $crate"; }
}

# shellcheck shell=sh
# Sourced by every script here: an empty folder to work in, and the crateld under test first in PATH.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
CC=${CC:-gcc} CXX=${CXX:-g++}

fail() {
    echo "FAILED: $*" >&2
    for log in out err; do
        [ ! -s $log ] || { echo "--- $log"; head -20 $log; } >&2
    done
    exit 1
}

skip() {
    echo "skipped: $*" >&2
    exit 77
}

need() {
    for command; do
        command -v "$command" >/dev/null || skip "no $command"
    done
}

# has_sanitizer: a sanitizer's library is in crateld, whose functions are found before libc's.
has_sanitizer() {
    ldd "$(command -v crateld)" | grep -q libasan
}

need_libc_first() {
    ! has_sanitizer || skip "crateld has a sanitizer, which stands before libc"
}

# status WANTED COMMAND...: runs it, with its output in out and err; its status must be as wanted.
status() {
    wanted=$1
    shift
    set +e
    "$@" >out 2>err
    rc=$?
    set -e
    [ $rc = "$wanted" ] || fail "status $rc, wanted $wanted: $*"
}

# has FILE TEXT: the text is in the file.
has() {
    grep -qF -- "$2" "$1" || fail "'$2' is not in $1"
}

# lacks FILE TEXT: it is not.
lacks() {
    ! grep -qF -- "$2" "$1" || fail "'$2' is in $1"
}

# source_file FILE: writes it from stdin.
source_file() {
    cat >"$1"
}

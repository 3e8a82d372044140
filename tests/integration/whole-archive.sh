#!/bin/bash
# Whole static libraries link into a crate, validly, whenever gcc makes a shared library of them; those that it refuses for what
# no shared library can hold (PIE code) link as well.
. "$(dirname "$0")/oracle.sh"
found() {
    path=$(gcc -print-file-name="$1")
    [ ! -e "$path" ] || echo "$path"
}
count=0
for name in lua5.4 sqlite3 z zstd crypto expat gmp stdc++ m-2.36 mvec ssl xml2 png freetype jpeg curl uv_a gcc gcc_eh atomic gomp gfortran; do
    archive=$(found lib$name.a)
    [ -n "$archive" ] || continue
    gcc -shared -Wl,--whole-archive,-z,undefs "$archive" -Wl,--no-whole-archive -o shared.so 2>gcc.log || :
    count=$((count + 1))
    linked whole.crate -z undefs --whole-archive "$archive" --no-whole-archive
    crateld inspect --json whole.crate >json
    # What the archive's members define and show is exported.
    if [ -e shared.so ]; then
        nm -D --defined-only --format=posix shared.so | awk '$2 ~ /[TDBRVWGSiu]/ { sub(/@.*/, "", $1); print $1 }' | LC_ALL=C sort -u >wanted
        python3 - <<'P' | LC_ALL=C sort -u >exported
import json
for export in json.load(open('json'))['crates'][0]['exports']:
    print(export['name'])
P
        LC_ALL=C comm -23 wanted exported >missing
        [ ! -s missing ] || { head missing >&2; fail "$name: $(wc -l <missing) symbols that the shared library exports are not exported"; }
    fi
    rm -f shared.so whole.crate
done
[ "$count" -gt 0 ] || skip "no static libraries"

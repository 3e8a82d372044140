#!/bin/bash
# Several threads, with ThreadSanitizer, by both compilers.  gc-threads.sh ROOT
set -eu
root=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rounds=5
[ -z "${CRATELD_TEST_LONG:-}" ] || rounds=200
ran=
for compiler in gcc clang; do
    command -v $compiler >/dev/null || continue
    program=$work/$compiler
    $compiler -std=gnu17 -O1 -g -fsanitize=thread -I"$root" -I"$root/include" "$root/tests/unit/gc_threads.c" \
        "$root"/runtime/*.c "$root/base/error.c" -o "$program" -lpthread 2>"$work/log" || { cat "$work/log"; continue; }
    "$program" 0 || { echo "$compiler: ThreadSanitizer does not start on this machine"; continue; }
    TSAN_OPTIONS=halt_on_error=1 "$program" $rounds || { echo "$compiler: failed"; exit 1; }
    ran=1
done
[ -n "$ran" ] || exit 77

#!/bin/bash
# Random mutators find nothing lost, whoever compiles them.  gc-mutators.sh ROOT LIBRARY...
# CRATELD_TEST_LONG: ten million steps each; less where nothing is collected, since it all has to fit.
set -eu
root=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
steps=60000 stressed=1500 uncollected=20000
[ -z "${CRATELD_TEST_LONG:-}" ] || steps=10000000 stressed=100000 uncollected=1000000
sanitize=
! nm "$1" 2>/dev/null | grep -q __asan_ || sanitize=-fsanitize=address,undefined
for compiler in gcc clang; do
    command -v $compiler >/dev/null || continue
    # The sanitizers' run-time libraries of both do not mix.
    [ -z "$sanitize" ] || [ $compiler = gcc ] || continue
    for level in 0 1 2 3; do
        program=$work/$compiler-$level
        $compiler -std=gnu17 -O$level $sanitize -I"$root" -I"$root/include" "$root/tests/unit/gc_mutator.c" "$@" -o "$program" -lpthread
        echo "$compiler -O$level"
        "$program" $steps $((level + 70)) 0
        "$program" $stressed $((level + 80)) 7
        "$program" $uncollected $((level + 90)) 0 nogc
    done
done

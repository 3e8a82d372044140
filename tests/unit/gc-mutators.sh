#!/bin/bash
# Random mutators find nothing lost, whoever compiles them; and little is kept by mistake.  gc-mutators.sh ROOT LIBRARY...
# semispace moves objects, so no stack can be its root: there the mutator has precise ones.
# CRATELD_TEST_LONG: ten million steps each.
set -eu
root=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
steps=200000 stressed=1500
[ -z "${CRATELD_TEST_LONG:-}" ] || steps=10000000 stressed=100000
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
        for plan in immix semispace nogc; do
            "$program" $steps $((level + 70)) 0 $plan
            [ $plan = nogc ] || "$program" $stressed $((level + 80)) 7 $plan
        done
    done
done

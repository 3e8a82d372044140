#!/bin/bash
# Programs of TOC code, linked as ordinary ELF, do what the compiler's own do: at all optimisation levels, with the options
# that change calls, prologues, landing pads and linking.
root=$(cd "$(dirname "$0")" && pwd)
. "$root/lib.sh"
need gcc g++
options=(-O0 '-O2 -g' '-O2 -fcf-protection' '-O2 -flto' '-O2 -static' '-O2 -fno-plt' '-O3 -frename-registers -funroll-loops'
    '-O1 -save-temps')
[ -z "${CRATELD_TEST_LONG:-}" ] || options+=(-O1 -O2 -O3 -Os '-O2 -flto -fno-use-linker-plugin' '-O1 -pie' '-O2 -no-pie'
    '-O2 -static-pie' -pipe '-O2 -pg' '-O2 -pg -mfentry' '-O1 -finstrument-functions' '-O2 -gsplit-dwarf' '-Og -g3 -gz'
    '-O2 -fno-omit-frame-pointer' '-O2 -fstack-protector-all' '-O2 -fverbose-asm' '-O2 -fno-function-sections'
    '-O2 -mcmodel=medium' '-O2 -freorder-blocks-and-partition -fprofile-generate' '-O1 -fsanitize=address'
    '-O1 -fsanitize=undefined' '-O2 -mindirect-branch=thunk-inline -fcf-protection=none'
    '-O2 -mindirect-branch=thunk -mfunction-return=thunk -fcf-protection=none')
# check DRIVER COMPILER FILE
check() {
    for option in "${options[@]}"; do
        "$2" -w -Wno-psabi $option "$root/cc/$3" -o program 2>log || fail "the compiler's own $3 with $option"
        ./program >wanted 2>&1 || fail "the compiler's own $3 with $option"
        rm -f ./program* gmon.out
        status 0 crateld "$1" -w -Wno-psabi $option "$root/cc/$3" -o program
        status 0 ./program
        cat err >>out
        cmp out wanted || fail "$3 with $option differs"
        rm -f ./program* gmon.out
    done
}
check cc gcc language.c
check c++ g++ language.cc

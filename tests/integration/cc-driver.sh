#!/bin/bash
# `crateld cc` behaves as the compiler does, whatever it is asked for.
. "$(dirname "$0")/lib.sh"
need gcc g++
source_file a.c <<'END'
#include <stdio.h>
#include "a.h"
int main(void) { printf("%d\n", A); return A - 1; }
END
echo '#define A 1' >a.h
echo 'int f(void) { return 7; }' >b.c

# What does not compile: the same output and status.
for arguments in --version -dumpmachine -dumpversion -print-file-name=libc.so.6 -print-libgcc-file-name \
    '-M a.c' '-MM a.c' '-fsyntax-only a.c' '--help'; do
    gcc $arguments >wanted
    status 0 crateld cc $arguments
    cmp out wanted || fail "$arguments"
done
for arguments in a.c '-dM a.c' '-P -x c a.h'; do
    gcc -fPIC -E $arguments >wanted
    status 0 crateld cc -E $arguments
    cmp out wanted || fail "-E $arguments"
done
status 1 crateld cc
has err "no input files"
status 1 crateld cc -c missing.c
status 1 crateld cc --no-such-option a.c
status 0 crateld cc '-###' -c a.c
has err "--crateld-toc"
status 0 crateld cc -v
has err "gcc version"
has err "COLLECT_GCC=gcc"

# Compiling, in all the ways to say so.
toc_code() {
    readelf -SW "$1" | grep -q ' \.crateld\.toc ' || fail "$1 is not TOC code"
}
crateld cc -c a.c && toc_code a.o
crateld cc -c a.c b.c && toc_code b.o
crateld cc -O2 -pipe -MD -MF deps -c -o c.o a.c && toc_code c.o && has deps a.h
crateld cc -x c -c -o d.o - <b.c && toc_code d.o
echo '-O2 -c "b.c" -o e.o' >arguments
crateld cc @arguments && toc_code e.o
mkdir saved
crateld cc -save-temps=obj -c a.c -o saved/a.o && toc_code saved/a.o
[ -s saved/a.i ] && [ -s saved/a.s ] || fail "-save-temps"
crateld cc -O2 -S a.c
has a.s "__morestack"
lacks a.s _TOC_
crateld cc -fno-pic -no-pie -c b.c && toc_code b.o
crateld cc -fno-split-stack -c b.c -o plain.o
readelf -SW plain.o | grep -q ' \.crateld\.toc ' && fail "-fno-split-stack: still TOC code"
crateld c++ -x c++ -c b.c -o cxx.o && toc_code cxx.o
status 0 crateld cc -m32 -S b.c -o -
lacks out __morestack
status 1 crateld cc -mcmodel=large -c b.c
has err "-mcmodel=large"
status 1 crateld cc -masm=intel -c b.c
has err "-masm=intel"
echo 'int main(void) { return 3; }' >three.c
status 0 crateld cc three.c b.c
[ -x a.out ] || fail "no a.out"
status 3 ./a.out
status 0 crateld cc a.c -o a && status 0 ./a
crateld cc -c a.c b.c && crateld cc -r a.o b.o -o r.o && crateld cc r.o r.o -Wl,-z,muldefs -o r && ./r

# Compilers of the user's choice.
status 0 env CRATELD_CC="gcc -DA=1" crateld cc -E -P -x c - <<<A
has out 1
status 1 env CRATELD_CC=no-such-compiler crateld cc -c a.c
has err "no-such-compiler: not found"
if command -v clang >/dev/null; then
    status 0 env CRATELD_CC=clang crateld cc -c b.c -o clang.o
    [ "$(grep -c 'clang can not reserve %r15' err)" = 1 ] || fail "no note about clang"
    readelf -SW clang.o | grep -q crateld && fail "clang made TOC code"
    ln -s "$(command -v clang)" other
    status 0 env CRATELD_CC=./other crateld cc -c b.c -o clang.o
    has err "clang can not reserve"
fi

# Whoever is interrupted leaves nothing behind, and says so by the signal.
mkdir temporary
for ((i = 0; i < 4000; i++)); do echo "int f$i(int a) { return a * $i + f$((i ? i - 1 : 0))(a - 1); }"; done >long.c
set -m # background jobs do not ignore SIGINT
for signal in INT TERM; do
    TMPDIR=$PWD/temporary crateld cc -w -O2 -c long.c &
    pid=$!
    for ((i = 0; i < 100; i++)); do # gcc itself leaves the file behind when its compiler has not opened it yet
        [ -z "$(find temporary -type f -size +0)" ] || break
        sleep 0.1
    done
    kill -$signal $pid
    rc=0
    wait $pid || rc=$?
    [ -z "$(ls temporary)" ] || fail "left behind after $signal: $(ls temporary)"
    [ $rc != 0 ] || fail "status 0 after $signal"
    [ ! -e long.o ] || fail "an object after $signal"
done
exit 0

# Two builds of crateld in PATH do not take each other for the assembler.
mkdir second
cp -P "$(dirname "$(command -v crateld-tool)")"/{as,crateld-tool} second/
PATH=$PWD/second:$PATH status 0 timeout 60 "$CC" -c b.c -o twice.o

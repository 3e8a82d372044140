#!/bin/bash
# The TOC register, instruction by instruction (tests/tools/toc_step.c): in ordinary ELF programs a restore stands wherever it has
# to; in crates %r15 holds the crate's TOC in all TOC code, and ELF code finds its own %r15 unchanged.
. "$(dirname "$0")/lib.sh"
need gcc g++ toc_step
# What is found must be what is there: a restore that is taken out is missed.
source_file a.c <<'END'
int g(int n) { return n + 1; }
int f(int n) { return g(n) * g(n + 1); }
int main(void) { return f(1) - 6; }
END
crateld cc -O0 a.c -o a
status 0 toc_step ./a
has err " 0 wrong"
LC_ALL=C sed 's/\x0f\x1f\x05/\x0f\x1f\x80/' a >b
chmod +x b
status 1 toc_step ./b
has err "a restore is missing"

source_file calls.h <<'END'
int outside(int), through(int (*)(int), int), tail_out(int), tail_pointer(int), variable(int, ...), jumps(int);
struct large { long words[40]; };
long by_value(struct large, int, struct large);
extern int (*volatile pointer)(int);
END
# Functions of another crate: plain and varargs calls, tail jumps out of it, large arguments, longjmp out of it.
source_file other.c <<'END'
#include "calls.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
static int helper(int n) { return abs(n) + 1; }
int outside(int n) { return helper(n) + helper(-n); }
int through(int (*f)(int), int n) { return f(n) + f(n + 1); }
int tail_pointer(int n) { return pointer(n); }
int variable(int n, ...)
{
    va_list list;
    va_start(list, n);
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += abs(va_arg(list, int));
    va_end(list);
    return sum;
}
long by_value(struct large a, int n, struct large b) { return a.words[n] + b.words[39 - n] + outside(n); }
extern jmp_buf place;
int jumps(int n) { if (n > 3) longjmp(place, outside(n)); return jumps(n + 1) + 1; }
END
source_file main.c <<'END'
#include "calls.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
jmp_buf place;
static int own(int n) { return n + outside(n); }
__attribute__((noinline)) int tail_out(int n) { return outside(n); }
__attribute__((noinline)) static int local(int n) { return tail_out(n) + tail_out(n + 1); }
int (*volatile pointer)(int) = tail_out;
static int compare(const void *a, const void *b) { return own(*(const int *)a) - own(*(const int *)b); }
static volatile int signals;
static void handler(int number) { signals += own(number); }
static void *thread(void *argument) { return (void *)(long)(own((int)(long)argument) + tail_pointer(3)); }
static int caught(int n) { int r = setjmp(place); return r ? own(r) : jumps(n); }
int main(void)
{
    struct large a, b;
    raise(SIGUSR2); /* toc_step begins */
    for (int i = 0; i < 40; i++)
        a.words[i] = i, b.words[i] = i * i;
    int numbers[40];
    for (int i = 0; i < 40; i++)
        numbers[i] = i * 17 % 41;
    qsort(numbers, 40, sizeof *numbers, compare);
    pthread_t t;
    void *result;
    pthread_create(&t, NULL, thread, (void *)4L);
    pthread_join(t, &result);
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    printf("%d %d %d %d %ld %ld %d\n", numbers[0], numbers[39], local(5), through(own, 3), by_value(a, 7, b), (long)result,
           signals);
    printf("%d %d %d\n", variable(9, 1, 2, 3, 4, 5, 6, 7, 8, 9), caught(0), through(pointer, 2) + tail_pointer(8));
    return 0;
}
END
source_file thrower.cc <<'END'
#include <stdexcept>
struct base { virtual int value(int) = 0; virtual ~base() {} };
struct guard { int &count; ~guard() { count++; } };
int calls(base *b, int n, int &count) { guard g{count}; if (n > 2) throw std::runtime_error("deep"); return b->value(n); }
END
source_file catcher.cc <<'END'
#include <csignal>
#include <cstdio>
#include <exception>
struct base { virtual int value(int) = 0; virtual ~base() {} };
int calls(base *, int, int &);
struct first { virtual int other() { return 1; } virtual ~first() {} };
struct derived : first, base {
    int count = 0;
    int value(int n) override { try { return calls(this, n + 1, count); } catch (const std::exception &) { if (n == 1) throw; return n * 10; } }
};
int main() { std::raise(SIGUSR2); derived d; base *b = &d; int r = b->value(0); std::printf("%d %d\n", r, d.count); return 0; }
END
# check COMMAND...: stepped through, it prints what the native program does, and nothing is wrong.
check() {
    status 0 toc_step -s "$@"
    cmp out wanted || fail "$*: another output"
    has err " 0 wrong"
}
for options in -O2 ${CRATELD_TEST_LONG:+-O0 -O1 '-O3 -fno-plt' '-O2 -fcf-protection'}; do
    gcc $options main.c other.c -o native && { trap '' USR2; ./native >wanted; trap - USR2; }
    crateld cc $options -c main.c other.c
    crateld cc main.o other.o -o program
    check ./program
    crateld link --name other -o other.crate other.o --declare main.crate:place --declare main.crate:pointer
    crateld link -o main.crate main.o other.crate
    check "$(command -v crateld)" run main.crate
    g++ $options catcher.cc thrower.cc -o native && { trap '' USR2; ./native >wanted; trap - USR2; }
    crateld c++ $options -c catcher.cc thrower.cc
    crateld c++ catcher.o thrower.o -o program
    check ./program
    crateld link -o thrower.crate thrower.o -lstdc++
    crateld link -o catcher.crate catcher.o thrower.crate -lstdc++
    check "$(command -v crateld)" run catcher.crate
done
# A patch of TOC code runs with its base's TOC.
sed 's/abs(n) + 1/abs(n) + 3/; s/return jumps(n + 1) + 1/return jumps(n + 2) + 2/' other.c >new.c
gcc -O2 main.c new.c -o native && { trap '' USR2; ./native >wanted; trap - USR2; }
crateld cc -O2 -fdata-sections -c main.c other.c new.c
crateld link -o main.crate main.o other.o
crateld diff -o fix.patch main.crate other.o=new.o
check "$(command -v crateld)" run --patch fix.patch main.crate
# One crate of TOC code, one of plain code: calls both ways.
gcc main.c other.c -o native && { trap '' USR2; ./native >wanted; trap - USR2; }
gcc -O2 -fPIC -c other.c
crateld cc -O2 -c main.c
crateld link --name other -o other.crate other.o --declare main.crate:place --declare main.crate:pointer
crateld link -o main.crate main.o other.crate
check "$(command -v crateld)" run main.crate

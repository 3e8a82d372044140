#!/bin/bash
# Assembly: what the user wrote is assembled as it is, and is not TOC code; asm in C becomes part of TOC code, or is refused.
. "$(dirname "$0")/lib.sh"
need gcc
source_file u.s <<'END'
        .file "u.s"
        .text
        .globl answer
        .type answer, @function
answer: push %r15
        mov $42, %r15d
        call helper@PLT
        mov %r15d, %eax
        pop %r15
        ret
        .size answer, .-answer
        .section .note.GNU-stack
END
sed 's/42/VALUE/' u.s >U.S
source_file m.c <<'END'
#include <stdio.h>
int answer(void);
void helper(void) { puts("help"); }
int main(void) { printf("%d\n", answer()); return 0; }
END
same() {
    cmp "$1" "$2" || fail "$1 differs from $2"
}
for inputs in u.s '-x assembler u.s' '-pipe u.s' '-DVALUE=6 U.S' '-DVALUE=6 -save-temps U.S' '-DVALUE=7 -x assembler-with-cpp U.S'; do
    gcc -fPIC -c $inputs -o wanted.o
    crateld cc -c $inputs -o user.o
    same user.o wanted.o
done
crateld cc m.c u.s -o m
status 0 ./m
has out 42
crateld cc -DVALUE=43 -pipe U.S m.c -o m
status 0 ./m
has out 43
readelf -SW m | grep -q crateld && fail "a program with records"
crateld cc -c m.c u.s
readelf -SW m.o | grep -q ' \.crateld\.toc ' || fail "m.c is not TOC code"
readelf -SW u.o | grep -q crateld && fail "u.s is TOC code"

# Top-level asm in a C file has its own section, and stays plain.
source_file t.c <<'END'
__asm__(".text\n.globl top\n.type top, @function\ntop: push %r15; mov $5, %r15d; call helper; mov %r15d, %eax; pop %r15; ret");
int top(void);
void helper(void) {}
int main(void) { return top(); }
END
crateld cc -O2 t.c -o t
status 5 ./t
crateld cc -O2 -c t.c
objdump -d -j .text t.o >text
lacks text nopl

# An asm that writes the register is refused, with its place; one that reads or calls is not.
source_file w.c <<'END'
int f(int a)
{
    __asm__("nop\n\tmov %0, %%r15d" : : "r"(a));
    return a;
}
END
status 1 crateld cc -c w.c -o w.o
has err "w.c:4: in function 'f': writes %r15"
[ ! -e w.o ] || fail "an object in spite of the error"
source_file r.c <<'END'
int g(int a) { return a + 1; }
int f(int a)
{
    long r15;
    __asm__ volatile("mov %%r15, %0" : "=r"(r15));
    __asm__ volatile("call g; nop" : "=a"(a) : "D"(a) : "memory", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11");
    return a;
}
int main(void) { return f(3); }
END
crateld cc -O2 -mno-red-zone r.c -o r
status 4 ./r
# The assembler's messages name the line of the source.
source_file e.c <<'END'
void f(void)
{
    __asm__("call f\n\tnop\n\tnonsense");
}
END
status 1 crateld cc -c e.c
has err "e.c:5: Error: no such instruction"

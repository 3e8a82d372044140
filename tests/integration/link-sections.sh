#!/bin/bash
# Sections of unusual names, flags and numbers go where they belong.
. "$(dirname "$0")/lib.sh"

# A set that is walked from __start_x to __stop_x is one, whatever its parts are made of.
source_file set.c <<'C'
#include <stdio.h>
static int x = 1, y = 2;
struct entry { const int *value; };
#define SET __attribute__((section("my_set"), used))
SET static CONST struct entry a = {&x};
#ifndef ONE
SET static CONST struct entry b = {&y};
#endif
extern const struct entry __start_my_set[], __stop_my_set[];
int main(void)
{
    int sum = 0;
    for (const struct entry *e = __start_my_set; e < __stop_my_set; e++)
        sum += (e->value ? *e->value : 9);
    return sum;
}
C
source_file more.s <<'S'
        .section my_set,"a",@progbits
        .quad 0
        .section .note.GNU-stack,"",@progbits
S
source_file empty.s <<'S'
        .section my_set,"aw",@nobits
        .zero 8
        .section .note.GNU-stack,"",@progbits
S
gcc -c more.s
gcc -c empty.s
for mode in -fno-pie -fPIE -fPIC; do
    $CC $mode -O1 -DCONST=const -DONE -c set.c -o constant.o
    for const in const ""; do
        $CC $mode -O1 -DCONST="$const" -c set.c
        status 0 crateld link -o set.crate set.o
        status 3 crateld run set.crate
    done
    status 0 crateld link -o set.crate constant.o more.o
    status 10 crateld run set.crate
    status 0 crateld link -o set.crate more.o constant.o empty.o
    status 19 crateld run set.crate
done

# Initialisers in a section that says it is read-only.
source_file array.s <<'S'
        .text
        .globl main
        .type main,@function
main:   mov ran(%rip), %eax
        ret
start:  movl $33, ran(%rip)
        ret
        .bss
ran:    .zero 4
        .section .init_array,"a",@init_array
        .quad start
        .section .note.GNU-stack,"",@progbits
S
gcc -c array.s
status 0 crateld link -o array.crate array.o
status 33 crateld run array.crate

# Sections of one name and different flags; custom sections of each kind, empty ones, thread-locals, alignments.
source_file custom.s <<'S'
        .section .mixed,"a",@progbits
        .long 1
        .section .mixed,"aw",@progbits,unique,1
writable: .long 2
        .section .mixed,"ax",@progbits,unique,2
code:   mov $3, %eax
        ret
        .section .zero,"aw",@nobits
        .p2align 13
zeros:  .zero 40
        .section .empty,"aw",@progbits
nothing:
        .section .mine_tdata,"awT",@progbits
        .long 7
        .section .tbss,"awT",@nobits
b1:     .zero 16
        .section .mine_tbss,"awT",@nobits
b2:     .zero 16
        .section .note.wide,"a",@note
        .p2align 3
        .long 4, 8, 1
        .asciz "abc"
        .quad 5
        .text
        .globl main
        .type main,@function
main:   call code
        mov %eax, %ecx
        addl $4, writable(%rip)
        add writable(%rip), %ecx
        lea zeros(%rip), %rax
        test $0x1fff, %eax
        jne 1f
        movl $1, zeros(%rip)
        add zeros(%rip), %ecx
        movl $5, %fs:b1@tpoff
        movl $6, %fs:b2@tpoff
        add %fs:b1@tpoff, %ecx
        lea nothing(%rip), %rdx
1:      mov %ecx, %eax
        ret
        .section .note.GNU-stack,"",@progbits
S
gcc -c custom.s
status 0 crateld link --no-gc-sections -o custom.crate custom.o
status 15 crateld run --aslr custom.crate
status 0 crateld inspect --check custom.crate
readelf -SW custom.crate >sections
[ "$(grep -c ' \.mixed ' sections)" = 3 ] || fail "want three sections .mixed"
readelf -nW custom.crate | grep -q '^ *abc' || fail "the note can not be read"
status 0 crateld strip custom.crate
status 15 crateld run custom.crate

# More sections than section indices.
python3 - <<'P'
with open("many.s", "w") as f:
    for i in range(66000):
        f.write(f'.section .sec.{i},"aw",@progbits\ns{i}: .long {i}\n')
    f.write('''.text
.globl main
.type main,@function
main: mov s65990(%rip), %eax
sub s65980(%rip), %eax
ret
.section .note.GNU-stack,"",@progbits
''')
P
gcc -c many.s
status 0 crateld link --no-gc-sections -o many.crate many.o
status 10 crateld run many.crate
readelf -SW many.crate >sections 2>sections.err
[ ! -s sections.err ] || { cat sections.err; fail "readelf does not like the sections"; }
nm many.crate >names
grep -q ' d s65990$' names && grep -q ' d s64$' names || fail "symbols lack"
sed -i 's/\.sec\./sec_/' many.s
gcc -c many.s
status 1 crateld link --no-gc-sections -o many.crate many.o
has err ": the link has more than 65000 sections of different names"

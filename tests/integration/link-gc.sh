#!/bin/bash
# Garbage collection: what is kept without being referred to, and what goes.
. "$(dirname "$0")/lib.sh"
source_file gc.s <<'S'
        .macro function name
        .section .text.\name,"ax",@progbits
        .globl \name
        .hidden \name
        .type \name,@function
\name:  ret
        .size \name, .-\name
        .endm

        .text
        .globl main
        .type main,@function
main:   .cfi_startproc
        .cfi_personality 0x9b, personality_pointer
        .cfi_lsda 0x1b, lsda
        lea __start_entries(%rip), %rax
        call in_group
        xor %eax, %eax
        ret
        .cfi_endproc
        .size main, .-main

        function dead
        function from_array
        function from_entries
        function from_lsda
        function from_personality
        function from_retained
        function from_note
        function from_linked
        function from_group_data
        function from_ctors

        .section .init_array.77,"aw",@init_array
        .quad from_array
        .section .ctors.9,"aw",@progbits
        .quad from_ctors
        .section entries,"aw",@progbits
        .quad from_entries
        .section .lsda_of_main,"a",@progbits
lsda:   .long from_lsda - .
        .section .data.personality,"aw",@progbits
        .p2align 3
personality_pointer: .quad from_personality
        .section .data.retained,"awR",@progbits
        .quad from_retained
        .section .note.mine,"a",@note
        .long 2f - 1f, 4f - 3f, 1
1:      .asciz "mine"
2:      .p2align 2
3:      .long from_note - .
4:      .section .linked,"awo",@progbits,.text
        .quad from_linked
        .section .linked_to_dead,"awo",@progbits,.text.dead
        .quad dead
        .section .text.in_group,"axG",@progbits,signature,comdat
        .globl in_group
in_group: ret
        .section .data.in_group,"awG",@progbits,signature,comdat
        .quad from_group_data
        .section .dead_group,"awG",@progbits,other,comdat
        .quad dead
        .section .note.GNU-stack,"",@progbits
S
gcc -c gc.s || skip "the assembler does not know all of these sections"
status 0 crateld link -o gc.crate gc.o
nm gc.crate >names
for name in from_array from_entries from_lsda from_personality from_retained from_note from_linked from_group_data from_ctors; do
    grep -q " t $name\$" names || fail "$name was dropped"
done
! grep -q ' dead$' names || fail "dead was kept"
readelf -SW gc.crate >sections
lacks sections .linked_to_dead
lacks sections .dead_group
status 0 crateld link --no-gc-sections -o gc.crate gc.o
nm gc.crate >names
has names " t dead"

# Linked sections stand in the order of those that they are linked to.
source_file order.s <<'S'
        .section .text.unlikely.b,"ax",@progbits
b:      .globl b
        ret
        .section .text.a,"ax",@progbits
        .globl main
main:
a:      .globl a
        ret
        .section order_,"ao",@progbits,.text.a
        .long 'a'
        .section order_,"ao",@progbits,.text.unlikely.b
        .long 'b'
        .section .note.GNU-stack,"",@progbits
S
gcc -c order.s
status 0 crateld link -o order.crate order.o
objdump -s -j order_ order.crate >dump
grep -q '62000000 61000000' dump || { cat dump; fail "order_ is not in the order of .text.unlikely.b, .text.a"; }

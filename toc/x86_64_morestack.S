/* __morestack for programs that are no crates but hold TOC code: a small archive that `crateld cc` links into them.
 *
 * Their threads have no stack limit (the word at %fs:0x70 is 0), so that the split-stack prologues never come here. If
 * a limit is set nevertheless, the function goes on on the same stack. What gcc's prologue expects (gcc, i386.cc,
 * ix86_expand_split_stack_prologue(); libgcc/config/i386/morestack.S):
 *   cmp %fs:0x70,%rsp; jae body; mov $frame_size,%r10d; mov $stack_arguments,%r11d; call __morestack; ret; body: …
 * The function continues behind the `ret`, called by us, with %rbp such that 24(%rbp) are its stack arguments; when it
 * returns, we return to the `ret`. A static chain has been moved from %r10 to %rax.
 *
 * The definitions are weak, so that linking relocatable objects (ld -r) more than once does no harm.
 */
        .text
        .weak   __morestack
        .hidden __morestack
        .type   __morestack, @function
        .weak   __morestack_non_split
        .hidden __morestack_non_split
        .type   __morestack_non_split, @function
        .p2align 4
__morestack:
__morestack_non_split:
        .cfi_startproc
        /* The unwinder goes from here to the function's caller: the function's own frame is the one that we call. */
        .cfi_def_cfa %rsp, 16
        push    %rbp
        .cfi_def_cfa_offset 24
        .cfi_offset %rbp, -24
        mov     %rsp, %rbp
        .cfi_def_cfa_register %rbp
        /* The copy of the stack arguments lies a multiple of 512 below them, which keeps their alignment. */
        lea     511+24(%r11), %r10
        and     $-512, %r10
        neg     %r10
        lea     24(%rbp,%r10), %rsp
        test    %r11, %r11
        jz      2f
1:      mov     16(%rbp,%r11), %r10
        mov     %r10, -8(%rsp,%r11)
        sub     $8, %r11
        jnz     1b
2:      mov     8(%rbp), %r10
        inc     %r10    /* over the ret */
        call    *%r10
        mov     %rbp, %rsp
        pop     %rbp
        .cfi_def_cfa %rsp, 16
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size   __morestack, .-__morestack
        .size   __morestack_non_split, .-__morestack_non_split

        .section .note.GNU-stack,"",@progbits

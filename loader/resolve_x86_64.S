/* The lazy binder's entry, toc->resolver, for x86-64.
 *
 * A lazy stub comes here by a jump with
 *     (%rsp)   the slot's address
 *     8(%rsp)  the return address of whoever called the imported function
 *     %r11     the crate's TOC
 * and everything else as the caller of the function left it: argument registers, %rax (%al counts the vector
 * arguments), %r10 (static chain), %r15, vector registers. All of that but %r11 arrives at the function, with %r15
 * changed only for TOC code. Any number of threads, and signal handlers, may be in here at once.
 */
#include "loader/resolve_x86_64.h"

    .text
    .globl bind_resolver
    .hidden bind_resolver
    .type bind_resolver, @function
    .p2align 4
bind_resolver:
#ifdef CRATELD_HOST
    .globl crateld_export_resolver      /* for libraries made by `crateld export` */
    .type crateld_export_resolver, @function
crateld_export_resolver:
#endif
    .cfi_startproc
    .cfi_def_cfa_offset 16          /* return address and slot */
    endbr64
    push %rax
    .cfi_adjust_cfa_offset 8
    push %rcx
    .cfi_adjust_cfa_offset 8
    push %rdx
    .cfi_adjust_cfa_offset 8
    push %rsi
    .cfi_adjust_cfa_offset 8
    push %rdi
    .cfi_adjust_cfa_offset 8
    push %r8
    .cfi_adjust_cfa_offset 8
    push %r9
    .cfi_adjust_cfa_offset 8
    push %r10
    .cfi_adjust_cfa_offset 8
    push %r11
    .cfi_adjust_cfa_offset 8
    push %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    mov %r11, %rdi                  /* the TOC */
    mov 80(%rsp), %rsi              /* the slot */
    mov %r15, %rdx
    call bind_fast
    test %rax, %rax
    jz .Lslow
.Lbound:
    mov %rax, %r11                  /* what to jump to; %rdx is the TOC register */
    mov %rdx, %r15
    pop %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    add $8, %rsp                    /* our %r11 */
    .cfi_adjust_cfa_offset -8
    pop %r10
    .cfi_adjust_cfa_offset -8
    pop %r9
    .cfi_adjust_cfa_offset -8
    pop %r8
    .cfi_adjust_cfa_offset -8
    pop %rdi
    .cfi_adjust_cfa_offset -8
    pop %rsi
    .cfi_adjust_cfa_offset -8
    pop %rdx
    .cfi_adjust_cfa_offset -8
    pop %rcx
    .cfi_adjust_cfa_offset -8
    pop %rax
    .cfi_adjust_cfa_offset -8
    add $8, %rsp                    /* the slot */
    .cfi_adjust_cfa_offset -8
    jmp *%r11
    .cfi_adjust_cfa_offset 88

    /* Activating a crate or asking ld.so runs ordinary code: vector registers that may hold arguments are saved. The
     * x87 and the masks of other features hold none (psABI 1.0 §3.2.3). */
.Lslow:
    mov %rsp, %rbx
    .cfi_def_cfa_register %rbx
    call bind_save_kind
    sub $BIND_STATE_SIZE, %rsp
    and $-64, %rsp
    mov %eax, %ecx
    mov $BIND_STATE_MASK, %eax
    xor %edx, %edx
    cmp $BIND_SAVE_FXSAVE_ASM, %ecx
    jne .Lsave_extended
    fxsave64 (%rsp)
    call .Lcall_slow
    fxrstor64 (%rsp)
    jmp .Lrestored

.Lsave_extended:
    mov %rdx, 512(%rsp)             /* the header: xrstor wants zeros, xsave does not write all of it */
    mov %rdx, 520(%rsp)
    mov %rdx, 528(%rsp)
    mov %rdx, 536(%rsp)
    mov %rdx, 544(%rsp)
    mov %rdx, 552(%rsp)
    mov %rdx, 560(%rsp)
    mov %rdx, 568(%rsp)
    cmp $BIND_SAVE_XSAVEC_ASM, %ecx
    je .Lsave_compact
    xsave64 (%rsp)
    jmp .Lsaved
.Lsave_compact:
    xsavec64 (%rsp)
.Lsaved:
    call .Lcall_slow
    mov %rax, %rcx
    mov %rdx, %r8
    mov $BIND_STATE_MASK, %eax
    xor %edx, %edx
    xrstor64 (%rsp)
    mov %rcx, %rax
    mov %r8, %rdx
.Lrestored:
    mov %rbx, %rsp
    .cfi_def_cfa_register %rsp
    jmp .Lbound
    .cfi_endproc
    .size bind_resolver, . - bind_resolver

    /* bind_slow(toc, slot, toc register), from what bind_resolver keeps above %rbx. */
    .type .Lcall_slow, @function
.Lcall_slow:
    .cfi_startproc
    .cfi_def_cfa %rbx, 96
    .cfi_offset %rbx, -96
    mov 8(%rbx), %rdi
    mov 80(%rbx), %rsi
    mov %r15, %rdx
    sub $8, %rsp
    call bind_slow
    add $8, %rsp
    ret
    .cfi_endproc

    /* A gate comes here by a call from the gate, with the return address of whoever called the function above that. What
     * the stack holds is what bind_resolver expects, with the place in the gate for the slot; there is no TOC. */
    .globl bind_gate
    .hidden bind_gate
    .type bind_gate, @function
    .p2align 4
bind_gate:
    .cfi_startproc
    .cfi_def_cfa_offset 16
    endbr64
    xor %r11d, %r11d
    jmp bind_resolver
    .cfi_endproc
    .size bind_gate, . - bind_gate

    .section .note.GNU-stack, "", @progbits

/* What a signal handler of ours returns to, on x86-64: rt_sigreturn, as the kernel wants it (SA_RESTORER). Debuggers and
 * unwinders know these bytes. */
    .text
    .globl context_restorer
    .hidden context_restorer
    .type context_restorer, @function
    .p2align 4
    nop                         /* unwinders look for the caller's unwind information one byte before its address */
context_restorer:
    mov $15, %rax               /* rt_sigreturn */
    syscall
    .size context_restorer, . - context_restorer

    .section .note.GNU-stack, "", @progbits

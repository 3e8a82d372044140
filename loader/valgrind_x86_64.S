/* bool valgrind_is_running(void): Valgrind's client request RUNNING_ON_VALGRIND. The rotations, by 128 in all, and the
 * exchange do nothing on a CPU; Valgrind knows them (its manual, "The Client Request mechanism"). */
    .set RUNNING_ON_VALGRIND, 0x1001

    .text
    .globl valgrind_is_running
    .hidden valgrind_is_running
    .type valgrind_is_running, @function
    .p2align 4
valgrind_is_running:
    .cfi_startproc
    sub $56, %rsp
    .cfi_adjust_cfa_offset 56
    movq $RUNNING_ON_VALGRIND, (%rsp)   /* the request and five arguments */
    movq $0, 8(%rsp)
    movq $0, 16(%rsp)
    movq $0, 24(%rsp)
    movq $0, 32(%rsp)
    movq $0, 40(%rsp)
    mov %rsp, %rax
    xor %edx, %edx                      /* the answer if nobody answers */
    rol $3, %rdi
    rol $13, %rdi
    rol $61, %rdi
    rol $51, %rdi
    xchg %rbx, %rbx
    xor %eax, %eax
    test %rdx, %rdx
    setnz %al
    add $56, %rsp
    .cfi_adjust_cfa_offset -56
    ret
    .cfi_endproc
    .size valgrind_is_running, . - valgrind_is_running

    .section .note.GNU-stack, "", @progbits

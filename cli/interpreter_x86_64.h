/* What crateld-exec needs of x86-64: its first instructions, and system calls. */
#ifndef CLI_INTERPRETER_X86_64_H
#define CLI_INTERPRETER_X86_64_H

/* Gets the stack as the kernel left it; the first instructions align it and call this. */
_Noreturn void interpreter_start(long *stack);

/* x86-64 psABI 1.0, §3.4.1: %rsp is the argument block's address, and %rbp is to be zero in the first frame. */
__asm__(".globl _start\n"
        ".hidden _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call interpreter_start\n"
        "    hlt\n"
        ".size _start, . - _start\n");

/* A system call of up to three arguments: its result, or an error number as a negative one (psABI §A.2.1). */
static inline long interpreter_syscall(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

#endif

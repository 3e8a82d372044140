#define _GNU_SOURCE
#include "loader/context.h"

#include <errno.h>
#include <string.h>

#include "crateld/format.h"

enum {
    PAGE_MASK = CRATE_PAGE_SIZE - 1,
    MOV_EAX = 0xb8, /* mov $imm32, %eax */
    MOV_SIZE = 5,   /* bytes of it */
    MAX_NUMBER = 1024,
    MAX_DISTANCE = 24, /* bytes between the instruction that sets the number and the one that makes the call */
    SYSCALL_SIZE = 2,
};
static const uint8_t system_call[SYSCALL_SIZE] = {0x0f, 0x05};

uint64_t context_pc(const ucontext_t *context)
{
    return (uint64_t)context->uc_mcontext.gregs[REG_RIP];
}

uint64_t context_sp(const ucontext_t *context)
{
    return (uint64_t)context->uc_mcontext.gregs[REG_RSP];
}

void context_leave_call(ucontext_t *context, uint64_t caller)
{
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)caller;
    context->uc_mcontext.gregs[REG_RSP] += (greg_t)sizeof caller;
}

bool context_is_interrupted(const ucontext_t *context)
{
    uint64_t pc = context_pc(context);
    /* What is before a page's first byte may not be readable. */
    return context->uc_mcontext.gregs[REG_RAX] == -EINTR && (pc & PAGE_MASK) >= SYSCALL_SIZE &&
           !memcmp((const uint8_t *)(uintptr_t)pc - SYSCALL_SIZE, system_call, SYSCALL_SIZE);
}

/* The number that the code before `at`, where the call is made, puts into %eax: the last such instruction. */
static long number_before(const uint8_t *at)
{
    size_t readable = (uintptr_t)at & PAGE_MASK;
    for (size_t distance = MOV_SIZE; distance <= MAX_DISTANCE && distance <= readable; distance++) {
        uint32_t number;
        if (*(at - distance) != MOV_EAX)
            continue;
        memcpy(&number, at - distance + 1, sizeof number);
        if (number < MAX_NUMBER)
            return (long)number;
    }
    return -1;
}

long context_system_call(const ucontext_t *context)
{
    const uint8_t *pc = (const uint8_t *)(uintptr_t)context_pc(context);
    if (context_is_interrupted(context))
        return number_before(pc - SYSCALL_SIZE);
    bool is_readable = (context_pc(context) & PAGE_MASK) <= CRATE_PAGE_SIZE - SYSCALL_SIZE;
    if (is_readable && !memcmp(pc, system_call, SYSCALL_SIZE) && context->uc_mcontext.gregs[REG_RAX] >= 0 &&
        context->uc_mcontext.gregs[REG_RAX] < MAX_NUMBER)
        return context->uc_mcontext.gregs[REG_RAX];
    return -1;
}

uint64_t context_system_call_argument(const ucontext_t *context, int i)
{
    return (uint64_t)context->uc_mcontext.gregs[i ? REG_RSI : REG_RDI];
}

void context_restart(ucontext_t *context, long number)
{
    context->uc_mcontext.gregs[REG_RIP] -= SYSCALL_SIZE;
    context->uc_mcontext.gregs[REG_RAX] = number;
}

const uint64_t *context_registers(const ucontext_t *context, uint32_t *count)
{
    *count = REG_RIP; /* R8 to RSP, and what follows is no data */
    return (const uint64_t *)context->uc_mcontext.gregs;
}

/* x86-64 psABI 1.0, section 3.4.2, figure 3.18; TLS variant II. */
uint64_t context_thread_pointer(void)
{
    uint64_t pointer;
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

/* sysdeps/unix/sysv/linux/x86_64/pointer_guard.h of glibc: PTR_DEMANGLE. */
uint64_t context_unmangle(uint64_t word)
{
    uint64_t guard;
    __asm__("mov %%fs:0x30, %0" : "=r"(guard));
    return (word >> 17 | word << 47) ^ guard;
}

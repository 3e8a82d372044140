/* The trap of traced programs on x86-64: int3, behind which the instruction pointer is when it was executed. */
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "loader/first_calls_area.h"

const uint8_t first_calls_trap = 0xcc;

bool first_calls_trap_address(pid_t thread, uint64_t *ret)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread, NULL, &registers) != 0)
        return false;
    *ret = registers.rip - 1;
    return true;
}

bool first_calls_resume_at(pid_t thread, uint64_t address)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread, NULL, &registers) != 0)
        return false;
    registers.rip = address;
    return ptrace(PTRACE_SETREGS, thread, NULL, &registers) == 0;
}

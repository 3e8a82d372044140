/* The CPUs that crates are made for. */
#ifndef CRATE_MACHINE_H
#define CRATE_MACHINE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include "toc/stubs.h"

/* The name of the machine `machine`, EM_* of the gABI; NULL for one that crates are not made for. */
static inline const char *crate_machine_name(uint16_t machine)
{
    switch (machine) {
    case EM_X86_64:
        return "x86-64";
    default:
        return NULL;
    }
}

/* The writers of its stubs; NULL likewise. */
static inline const struct toc_stub_ops *crate_machine_stubs(uint16_t machine)
{
    return machine == EM_X86_64 ? &toc_stubs_x86_64 : NULL;
}

/* DWARF's number of its stack pointer (x86-64 psABI 1.0 figure 3.36). */
static inline unsigned crate_machine_stack_pointer(uint16_t machine)
{
    return machine == EM_X86_64 ? 7 : 0;
}

#endif

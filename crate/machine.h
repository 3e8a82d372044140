/* The CPUs that crates are made for. */
#ifndef CRATE_MACHINE_H
#define CRATE_MACHINE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

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

#endif

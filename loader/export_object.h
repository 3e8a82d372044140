/* An ELF shared object made in memory, whose dynamic symbols are what crates export: ld.so resolves nothing to crates
 * by itself, but libraries that are opened at run time may import from the program (plugins, Lua's C modules). Its
 * symbols are absolute, the crates' canonical addresses; thread-locals are left out. */
#ifndef LOADER_EXPORT_OBJECT_H
#define LOADER_EXPORT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct export_symbol {
    const char *name;
    uint64_t address;
    uint32_t size;
    bool is_function;
};

/* Writes the object with `count` symbols to memory; *ret is malloc'ed. `soname` names it. Error: MEMORY. */
MUST_CHECK struct crateld_error *export_object_build(const char *soname, const struct export_symbol *symbols,
                                                     size_t count, uint8_t **ret, size_t *ret_size);

/* Makes the object for the current process and puts it into ld.so's global scope, once; all crates that the process
 * knows are activated for it. Errors: IO, NOT_FOUND, MEMORY, and those of activation. */
MUST_CHECK struct crateld_error *export_object_open(void);

/* Has ld.so load the ELF file in memory, with dlopen's `mode`; *ret is its handle. Errors: IO, NOT_FOUND. */
MUST_CHECK struct crateld_error *export_object_load(const void *bytes, size_t size, int mode, void **ret);

/* Has ld.so make the stacks of all threads executable, those of later ones too: it does so for an object that asks for
 * it. Under the process's lock. Errors: IO, NOT_FOUND with ld.so's reason, MEMORY. */
MUST_CHECK struct crateld_error *export_object_make_stacks_executable(void);

/* Opens and closes an empty object, for a debugger that wants to see something happen. */
void export_object_cycle(void);

#endif

/* The debug information of an object or a crate, as far as it says of which type variables are. Read with libdw; where
 * it is missing or damaged, there is none. Not thread-safe. */
#ifndef LINKER_DEBUG_INFO_H
#define LINKER_DEBUG_INFO_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "base/vec.h"
#include "linker/object.h"
#include "reloc/machine.h"

struct debug_info;

/* A variable that has storage of its own. */
struct debug_variable {
    uint64_t address; /* of thread-locals: offset in the block */
    Dwarf_Die type;
    bool is_thread_local;
};

struct debug_variables {
    VEC(struct debug_variable) list; /* sorted by address */
    VEC(Dwarf_Die) functions;        /* in which nobody has looked for variables yet */
};

/* Opens the object's, relocated: addresses are those of debug_info_address(). *info is that of an earlier version of
 * the object, or NULL; it stays if it is the same, byte by byte, else the object's takes its place: NULL if there is
 * none. Error: MEMORY; *info is NULL then. */
MUST_CHECK struct crateld_error *debug_info_open_object(const struct link_object *object,
                                                        const struct reloc_machine *machine, struct debug_info **info,
                                                        bool *is_same);

/* Opens that of the linked file, which is borrowed. *ret is NULL if it has none. Error: MEMORY. */
MUST_CHECK struct crateld_error *debug_info_open_file(struct span file, struct debug_info **ret);

/* NULL is allowed. */
void debug_info_close(struct debug_info *info);

/* What stands for the address of an object's section + `value`: for thread-locals a number of 32 bits, since compilers
 * refer to them by such. */
uint64_t debug_info_address(const struct link_object *object, uint32_t section, uint64_t value);

/* Adds the variables that the units in [off, off + size) of .debug_info define. Units whose information is in a file of
 * its own (-gsplit-dwarf) are looked for there: *is_missing is set where that is gone, or is another version's. Error:
 * MEMORY. Cost: one pass over the units' outermost entries. */
MUST_CHECK struct crateld_error *debug_info_variables(struct debug_info *info, uint64_t off, uint64_t size,
                                                      struct debug_variables *ret, bool *is_missing);

void debug_variables_deinit(struct debug_variables *variables);

/* Finds the type of the variable at the address; functions' static variables are looked for when one is not found
 * otherwise. Error: MEMORY. */
MUST_CHECK struct crateld_error *debug_variables_find(struct debug_variables *variables, uint64_t address,
                                                      bool is_thread_local, Dwarf_Die *ret, bool *is_found);

#endif

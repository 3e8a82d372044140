/* Which functions tables have: lists of constructors, tables of virtual functions. For linker/patch_*.c only. */
#ifndef LINKER_PATCH_FUNCTIONS_H
#define LINKER_PATCH_FUNCTIONS_H

#include "linker/patch_matching.h"

/* Sets *ret to whether the `size` bytes at `off` of `section`, and those at `base_off` of the base's section number
 * `base`, refer to the same by name, at the same places. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_has_same_names(struct matching *m, struct link_section *section, uint64_t off,
                                                      uint64_t size, uint32_t base, uint64_t base_off, bool *ret);

/* Whether the symbol is a table of virtual functions (Itanium C++ ABI 5.1.4.1). */
bool patch_is_virtual_table(const struct link_symbol *symbol);

/* Refuses a table of virtual functions that has others, or in another order: objects that exist have the one of before.
 * Errors: MISMATCH (it does), FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_check_virtual_table(struct matching *m, const struct link_symbol *symbol);

#endif

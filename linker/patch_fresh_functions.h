/* Functions that the base does not have, and whose address others may get: whoever takes it gets that of an entry stub,
 * which the loader leads to the version in effect. For linker/patch*.c only. */
#ifndef LINKER_PATCH_FRESH_FUNCTIONS_H
#define LINKER_PATCH_FRESH_FUNCTIONS_H

#include "crate/writer.h"
#include "linker/link.h"

/* Sets *ret to a function symbol that starts at `value` of the section: of several names one that the base has, if
 * there is such; NULL: there is none. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_function_at(struct link *link, const struct link_section *section,
                                                   uint64_t value, struct link_symbol **ret);

/* Sets *ret to what stands for the address of `symbol`, if that is a function of the patch that the base does not have,
 * and to which its entry stub is; else NULL. Entry stubs are made as long as the scan goes on. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_fresh_function_address(struct link *link, struct link_symbol *symbol,
                                                              struct link_symbol **ret);

/* Enters them into the tables; places in the patch come with patch_fill_fresh_functions(). Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_count_fresh_functions(struct link *link, struct crate_tables *tables);
void patch_fill_fresh_functions(const struct link *link, struct crate_tables *tables);

#endif

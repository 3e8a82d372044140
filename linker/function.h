/* Functions by the place where they start: entry stubs and TOC records belong to places, which aliases share.
 */
#ifndef LINKER_FUNCTION_H
#define LINKER_FUNCTION_H

#include "linker/link.h"

/* The function that starts at `value` of `section`, made if it is new. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_function_enter(struct link *link, struct link_section *section, uint64_t value,
                                                     struct link_function **ret);

/* The function at which the symbol, DEFINED in code, stands, made if it is new. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_function_enter_symbol(struct link *link, struct link_symbol *symbol,
                                                            struct link_function **ret);

/* The same, NULL if it has not been made. */
struct link_function *link_function_of_symbol(const struct link *link, const struct link_symbol *symbol);

/* A function symbol of the section's object that starts at `value`; NULL if there is none. Which symbols are functions
 * is found out by the first call. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_function_symbol(struct link *link, const struct link_section *section,
                                                      uint64_t value, struct link_symbol **ret);

/* Whether some function symbol of the section's object starts at `value`. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_function_is_start(struct link *link, const struct link_section *section,
                                                        uint64_t value, bool *ret);

/* Makes sure that the function has an entry stub. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_function_need_stub(struct link *link, struct link_function *function);

/* Reads all .crateld.toc sections: marks sections as TOC code, and enters functions. Errors: FORMAT, MEMORY.
 */
MUST_CHECK struct crateld_error *link_function_read_records(struct link *link);

#endif

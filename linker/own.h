/* Sections and symbols that the linker itself makes: common variables, __start_x, _end, __dso_handle, … */
#ifndef LINKER_OWN_H
#define LINKER_OWN_H

#include "linker/link.h"

/* A live section of the linker's own. `size` bytes, zero-filled unless `data` is given (borrowed). */
MUST_CHECK struct crateld_error *link_own_section(struct link *link, const char *name, uint32_t type, uint64_t flags,
                                                  uint64_t size, uint8_t align_log2, struct link_section **ret);

/* Gives a common symbol its place in .bss. */
MUST_CHECK struct crateld_error *link_own_common(struct link *link, struct link_symbol *symbol);

/* --defsym: the symbols are defined from the first call on, which comes before all inputs; what they are to equal is
 * known when the second comes, behind resolution. Faults are reported; other errors: USAGE, MEMORY. */
MUST_CHECK struct crateld_error *link_own_begin_defsyms(struct link *link);
MUST_CHECK struct crateld_error *link_own_finish_defsyms(struct link *link);

/* Defines those of the linker's symbols that are referred to and that no object defines. Call after the objects'
 * symbols are known and before libraries are searched; and again behind it, for those that archive members refer to. */
MUST_CHECK struct crateld_error *link_own_symbols(struct link *link);

/* Defines __start_x and __stop_x for input sections called x. Call when no object will be added any more. */
MUST_CHECK struct crateld_error *link_own_bounds(struct link *link);

/* Defines the symbol as the start or the end of the output section called `name` (borrowed). Error: MEMORY. */
MUST_CHECK struct crateld_error *link_own_bound(struct link *link, struct link_symbol *symbol, const char *name,
                                                bool is_start);

/* Whether a symbol of that name is one of the linker's own (_end, __ehdr_start): no library defines it for the link. */
bool link_own_is_name(const char *name);

/* Makes functions of the pieces that sections .init and .fini are (crti.o and crtn.o are not linked into crates), and
 * has them run before all other initialisers and after all other finalisers. Call when it is known which sections are
 * live. */
MUST_CHECK struct crateld_error *link_own_init(struct link *link);

/* The marker whose section `section` is; NULL if it is an ordinary section. */
struct link_marker *link_own_marker(const struct link *link, struct link_section *section);

/* Binds the symbols to the places that layout has decided. */
void link_own_place(struct link *link);

#endif

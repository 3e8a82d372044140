/* Which functions know a variable: the scope of static variables of functions, several of which may have one name. For
 * linker/patch_*.c only. */
#ifndef LINKER_PATCH_SCOPE_H
#define LINKER_PATCH_SCOPE_H

#include "linker/patch_matching.h"

/* Sets *ret to the name of the first function that refers to the variable's section, which is its own; "" if there is
 * none. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_scope_name(struct matching *m, const struct link_section *section,
                                                  const char **ret);

/* Of several static variables with the name, less the number that compilers put behind it: sets *old to the base's that
 * the same functions know; old->symbol.name is NULL if the variable is new. Errors: MISMATCH (which is which can not be
 * told), FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_tell_apart(struct matching *m, const struct link_symbol *symbol,
                                                  struct counterpart *old);

#endif

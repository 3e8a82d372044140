/* What the base's modules had that the new objects have not, and initialisers that are new. For linker/patch*.c only.
 */
#ifndef LINKER_PATCH_STARTERS_H
#define LINKER_PATCH_STARTERS_H

#include "linker/patch_matching.h"

/* Enters the exports of the module that no new object defines. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_find_vanished(struct matching *m);

/* Enters the object's initialisers that the base does not have, which will run once; the sections that name them are no
 * part of the patch. What can not be told is reported. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_find_starters(struct matching *m);

/* Whether a function that constructs a file's objects does so with the same ones as in the base. Errors: UNSUPPORTED
 * (it does not), FORMAT. */
MUST_CHECK struct crateld_error *patch_check_constructors(const struct matching *m, const struct link_symbol *function,
                                                          const struct relink_symbol *old);

#endif

/* Initialisers that patches bring: each runs once in the life of the process. */
#ifndef LOADER_STARTERS_H
#define LOADER_STARTERS_H

#include "loader/loaded.h"

/* Whether none of the patch's has run in another version. Makes room for their records. Called under the process's
 * lock. Errors: MISMATCH (one has), FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *starters_check(const struct loaded_crate *patch);

/* Runs those of the patch, which is in effect, that have not run. Not under the process's lock: they are code of the
 * program's. */
void starters_run(const struct loaded_crate *patch);

#endif

/* `crateld run --fresh`: modules whose objects have changed since their crates were linked come into effect at the
 * start. */
#ifndef LOADER_FRESH_H
#define LOADER_FRESH_H

#include "loader/process.h"

/* Has `crateld refresh` make patches of what has changed of the process's crates since they were linked, and maps them;
 * they come into effect with those that the crates carry. Called before there are threads. Errors: UNSUPPORTED (the
 * program has no relink section), MISMATCH (a patch can not be made: the command has said why), IO, MEMORY, and those
 * of patch_load(). */
MUST_CHECK struct crateld_error *fresh_load(struct process *process);

#endif

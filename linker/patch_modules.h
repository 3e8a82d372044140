/* The modules of a patch as a whole: those that the base does not have, and those that need each other. For
 * linker/patch*.c only. */
#ifndef LINKER_PATCH_MODULES_H
#define LINKER_PATCH_MODULES_H

#include "linker/patch_base.h"

/* Sets *ret to what a module is called that the base does not have, and whose object is at `path`. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_name_new_module(struct link *link, const char *path, struct relink_module *ret);

/* Reports new modules that define what a module of the base does that has no new version. Errors: NOT_FOUND (with them
 * is none that the base has, which could use them), FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_check_new_modules(struct link *link);

/* Finds out which modules refer to what only others of the patch have: they are of one group. Called when it is known
 * what the patch consists of. */
void patch_group_modules(struct link *link);

#endif

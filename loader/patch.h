/* Patches: new versions of modules of a loaded crate (linker/patch.h). A patch is a crate of its own, mapped within the
 * reach of its base, and bound to it. */
#ifndef LOADER_PATCH_H
#define LOADER_PATCH_H

#include "loader/process.h"

/* Maps the patch at `path` near its base, which is loaded, and finds all that it needs; nothing of it takes effect.
 * Called under the process's lock. Errors: those of process_load(); MISMATCH, when the base is another build or is not
 * loaded; RANGE (no room within the base's reach). */
MUST_CHECK struct crateld_error *patch_load(struct process *process, const char *path, struct loaded_crate **ret);

/* Puts the patch into effect: activates it and its base, gives variables their new initial values, and leads the
 * functions that it replaces to their new versions. For a program none of whose code runs yet. Called under the
 * process's lock. Errors: those of activate_crate(); FORMAT (moves that are not within the base); IO. */
MUST_CHECK struct crateld_error *patch_apply(struct loaded_crate *patch);

#endif

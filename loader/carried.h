/* Patches that crates' files carry (crate/carried.h): loaded with their crates, and put into effect before code of
 * theirs runs. */
#ifndef LOADER_CARRIED_H
#define LOADER_CARRIED_H

#include "loader/process.h"

/* process_load(), with the patches that the new crates carry, which are mapped and not in effect yet. Called under the
 * process's lock, or before there are threads. Errors: those of process_load() and patch_load(). */
MUST_CHECK struct crateld_error *carried_load(struct process *process, const char *path, struct loaded_crate **ret);

/* Puts those into effect that carried_load() has mapped since the last time; *ret tells whether there are any. Called
 * under the process's lock. Errors: those of patch_commit(); the patches are not tried again then. */
MUST_CHECK struct crateld_error *carried_commit(struct process *process, bool *ret);

/* Makes an empty file in memory for a patch of the crate. *ret, a high descriptor, is the caller's. Error: IO. */
MUST_CHECK struct crateld_error *carried_make_file(const struct loaded_crate *crate, int *ret);

/* Maps the patch of the crate in the file that is open at `fd`, which is taken over in any case. Called under the
 * process's lock, or before there are threads. Errors: those of patch_load(); MISMATCH (it is for another crate). */
MUST_CHECK struct crateld_error *carried_adopt(struct process *process, struct loaded_crate *crate, int fd);

#endif

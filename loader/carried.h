/* Patches that crates' files carry (crate/carried.h): loaded with their crates, and put into effect before code of
 * theirs runs. */
#ifndef LOADER_CARRIED_H
#define LOADER_CARRIED_H

#include "loader/process.h"

/* process_load(), with the patches that the new crates carry, which are mapped and not in effect yet. Called under the
 * process's lock, or before there are threads. Errors: those of process_load() and patch_load(). */
MUST_CHECK struct crateld_error *carried_load(struct process *process, const char *path, struct loaded_crate **ret);

/* Puts those into effect that carried_load() has mapped since the last time. Called under the process's lock. Errors:
 * those of patch_commit(); the patches are not tried again then. */
MUST_CHECK struct crateld_error *carried_commit(struct process *process);

#endif

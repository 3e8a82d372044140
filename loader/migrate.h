/* Values of variables whose type has changed, which the crate's own function makes: include/crateld/reload.h. Called
 * under the process's lock. */
#ifndef LOADER_MIGRATE_H
#define LOADER_MIGRATE_H

#include "loader/initial.h"

/* Whether the patch, or its base, has a function that can do it, for the variable `name`, whose type is another as
 * `difference` says. Error: MISMATCH. */
MUST_CHECK struct crateld_error *migrate_check(const struct loaded_crate *patch, const char *name,
                                               const char *difference);

/* Has the values made, in the new storage, of copies of the old ones as they are now, while threads run. Patches are
 * activated, and known to have the function. Errors: MISMATCH (it refuses, or faults), MEMORY. */
MUST_CHECK struct crateld_error *migrate_values(struct initial_values *values);

/* Whether all old values still are what the new ones were made of. */
bool migrate_is_current(const struct initial_values *values);

#endif

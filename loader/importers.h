/* Which crates import something of another. Called under the process's lock. */
#ifndef LOADER_IMPORTERS_H
#define LOADER_IMPORTERS_H

#include "loader/loaded.h"

/* Sets *ret to a crate of the process that imports `name` from `provider`, whether it has been bound or not; NULL:
 * there is none. Patches of the provider do not count. Error: IO. */
MUST_CHECK struct crateld_error *importers_find(const struct loaded_crate *provider, const char *name,
                                                const struct loaded_crate **ret);

/* Nobody imports what the patch's modules do not have any more. Errors: MISMATCH (somebody does), FORMAT. */
MUST_CHECK struct crateld_error *importers_check_vanished(const struct loaded_crate *patch);

#endif

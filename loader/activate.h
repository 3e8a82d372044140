/* Making mapped crates ready to run: segments, relocations, TOC, eager imports. No code of theirs runs but the
 * resolvers of their ifuncs. */
#ifndef LOADER_ACTIVATE_H
#define LOADER_ACTIVATE_H

#include "base/error.h"
#include "loader/loaded.h"

/* Activates the crate, and with it those whose variables' addresses it imports, directly or not (its calls bind later
 * and activate theirs; functions whose addresses it imports have gates, see gate.h). A crate that is active, or being
 * activated by this thread, is left as it is. Called under the process's lock. After an error it and those that came
 * with it can not be used. Errors: UNDEFINED, NOT_FOUND, FORMAT, RANGE, IO, MEMORY. */
MUST_CHECK struct crateld_error *activate_crate(struct loaded_crate *crate);

/* Sees to it that the crate's headers and tables are undamaged, once. Under the process's lock. Error: FORMAT. */
MUST_CHECK struct crateld_error *activate_check_meta(struct loaded_crate *crate);

/* The index of the first import whose kind is `kind` or comes after it in the table's order: CALL_*, IFUNC, the rest.
 */
uint32_t activate_first_import(const struct loaded_crate *crate, enum crate_import_kind kind);

#endif

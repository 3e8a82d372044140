/* The words of a crate that depend on where it and its imports lie. */
#ifndef LOADER_RELOCATE_H
#define LOADER_RELOCATE_H

#include "base/error.h"
#include "loader/loaded.h"

/* Moves the position-dependent words of the data by the distance from the preferred base; nothing is written there.
 * Error: FORMAT. */
MUST_CHECK struct crateld_error *relocate_relr(struct loaded_crate *crate);

/* Fills the global slots of an eager import (checked). The crates that provide it are active or being activated, with
 * their vague imports filled first. Called under the process's lock. Errors: UNDEFINED, MISMATCH, RANGE, ... */
MUST_CHECK struct crateld_error *relocate_import(struct loaded_crate *crate, const struct crate_import *import);

/* Writes imported addresses into data. The global slots are filled. Error: FORMAT. */
MUST_CHECK struct crateld_error *relocate_data(struct loaded_crate *crate);

/* Applies the 32-bit fixups. The text is writable if any lies in it; places that are right already are not written.
 * Errors: FORMAT, RANGE. */
MUST_CHECK struct crateld_error *relocate_fixups(struct loaded_crate *crate);

/* Whether the value of a fixup of kind `kind` (enum crate_fixup_kind) fits its place. */
bool relocate_fits(uint32_t kind, uint64_t value);

#endif

/* Entry stubs of functions that the base does not have.
 *
 * A function that came with a patch has one address, whichever version of it runs: that of its entry stub in the first
 * patch that had it. Later patches with a function of that name take this address for it, and each commit leads the
 * stub to the version that is in effect; where none is, it goes on leading to the one that was. Called under the
 * process's lock. */
#ifndef LOADER_ENTRY_STUBS_H
#define LOADER_ENTRY_STUBS_H

#include "loader/change.h"
#include "loader/loaded.h"
#include "loader/versions.h"

/* Enters the patch's new functions, those that are not there yet; the patch was checked as a whole. `is_running`: code
 * of the program may have their addresses. Errors: UNSUPPORTED (the stub that an earlier patch has can not lead to the
 * function), MEMORY. */
MUST_CHECK struct crateld_error *entry_stubs_add(struct loaded_crate *patch, bool is_running);

/* Whether the place `rva` of the patch is an entry stub of a function that was entered. *ret is the function's address
 * then, and somebody has it from now on. */
bool entry_stubs_find(const struct loaded_crate *patch, uint32_t rva, uint64_t *ret);

/* Notes the writes that lead the stubs of all patches of the base to the versions in effect. Errors: those of
 * change_fix(). */
MUST_CHECK struct crateld_error *entry_stubs_lead(struct change *change, struct loaded_crate *base);

/* Whether somebody may have the address of a stub in the patch, or such a stub leads to it. */
bool entry_stubs_need(const struct loaded_crate *patch);

/* The patch is out of the record: of functions whose first one it was, and whose address nobody has, another becomes
 * the first. */
void entry_stubs_forget(struct versions *versions, const struct loaded_crate *patch);

#endif

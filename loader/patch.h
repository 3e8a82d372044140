/* Patches: new versions of modules of a loaded crate (linker/patch.h). A patch is a crate of its own, mapped within the
 * reach of its base, and bound to it.
 *
 * Putting patches into effect is planned as a whole and then done at once: everything that can fail is behind it when
 * the first byte of the program changes. Threads that run do not notice: text changes by whole pages, and words of data
 * by single stores, so that each thread enters either the old version or the new one. */
#ifndef LOADER_PATCH_H
#define LOADER_PATCH_H

#include "loader/process.h"

/* What was done. */
struct patch_report {
    uint32_t modules;
    uint32_t functions;          /* that have a new version */
    uint32_t functions_in_place; /* of which lie where they did before, or others that nobody is in any more */
    uint32_t variables_set;      /* that got a new initial value, in part at least */
    uint32_t variables_kept;     /* that have a new initial value, but keep what the program made of them */
    uint32_t variables_grown;    /* that are elsewhere now */
    uint32_t relocations;        /* places of the base that were changed, and those in the new modules */
    uint32_t users;              /* other crates that were informed */
    uint32_t pages;              /* of text that were replaced */
    uint64_t pause_ns; /* for which threads were held; if they were not, for which one that came to a page that was
                          being replaced had to wait */
};

/* Maps the patch at `path` near its base, which is loaded, and finds all that it needs; nothing of it takes effect.
 * *ret is an earlier one if that is the same. Called under the process's lock. Errors: those of process_load();
 * MISMATCH, when the base is another build or is not loaded; RANGE (no room within the base's reach). */
MUST_CHECK struct crateld_error *patch_load(struct process *process, const char *path, struct loaded_crate **ret);

/* Forgets a patch that was loaded, and never took effect. Called under the process's lock. */
void patch_drop(struct loaded_crate *patch);

/* Puts the patches into effect together: each of their modules takes the place of the version that was active; with
 * `is_trial` only finds out whether that is possible. On error the program is as it was. Called under the process's
 * lock. Errors: those of activate_crate(); UNDEFINED (of modules that came together, and need each other, not all are
 * replaced); FORMAT (places that are not within the base); MISMATCH (state that can not
 * be kept); IO, MEMORY. */
MUST_CHECK struct crateld_error *patch_commit(struct loaded_crate *const *patches, size_t count, bool is_trial,
                                              struct patch_report *ret);

/* Makes those versions active that were before the last commit that was not taken back. Variables keep their values,
 * and larger storage. Called under the process's lock. Errors: as patch_commit(); NOT_FOUND (there was none). */
MUST_CHECK struct crateld_error *patch_rollback(struct process *process, struct patch_report *ret);

#endif

/* The members of bundles, which are mapped, activated and patched as one crate: the bundle.
 *
 * A record is made of a member when somebody asks for it by its name, or when it has initialisers to be run. It says
 * what the member exports, needs and initialises; whatever concerns the image is asked of its bundle (loaded_image()).
 * Records of members are in no list but their bundle's, and stay as long as the process. Called under the process's
 * lock. */
#ifndef LOADER_BUNDLE_H
#define LOADER_BUNDLE_H

#include "crate/members.h"
#include "loader/loaded.h"

struct process;

/* Sets *ret to the record of member `i` of the bundle, which is the bundle itself for the first one. Errors: FORMAT,
 * MEMORY. */
MUST_CHECK struct crateld_error *bundle_member(struct loaded_crate *bundle, uint32_t i, struct loaded_crate **ret);

/* Sets *ret to the member called `name` of a bundle that was loaded; NULL if there is none. With `by_file`, to the one
 * whose file was called so. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *bundle_find(struct process *process, const char *name, bool by_file,
                                             struct loaded_crate **ret);

/* Looks for an export among the members of the bundle from number `first`, at least 1, on, in the order in which they
 * would have been loaded; those that are opened later do not count. *ret is the member that has it, *ret_export its
 * index there; NULL: none has. `bundle` may be any crate. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *bundle_find_export(struct loaded_crate *bundle, uint32_t first, uint64_t hash,
                                                    const char *name, struct loaded_crate **ret, uint32_t *ret_export);

/* Sets *crate or *library to what `member`, or the bundle itself, needs, as number `k`, and the other one to NULL;
 * *is_eager says whether a library is to be opened when the member is started. *crate and *library NULL: it needs no
 * more. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *bundle_member_need(const struct loaded_crate *member, uint32_t k,
                                                    struct loaded_crate **crate, struct elf_library **library,
                                                    bool *is_eager);

/* Sets *ret to the number of the member that code at `address` is of; of any crate: 0 if it is no bundle. Error:
 * FORMAT. */
MUST_CHECK struct crateld_error *bundle_member_at(struct loaded_crate *bundle, uint64_t address, uint32_t *ret);

/* Whether a handle is the record of a member of the bundle; of any crate. */
bool bundle_has_record(const struct loaded_crate *bundle, const void *handle);

/* Forgets which of the bundle's members an ongoing search has visited; of any crate. */
void bundle_forget_order(struct loaded_crate *bundle);

#endif

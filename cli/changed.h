/* Which of a crate's modules are to be replaced: those whose objects are others than it was linked from. */
#ifndef CLI_CHANGED_H
#define CLI_CHANGED_H

#include "base/vec.h"
#include "linker/archive.h"
#include "linker/options.h"
#include "linker/patch.h"

/* Objects, with the files that they are in. Zeroed at first; changed_deinit() in any case. */
struct changed {
    VEC(struct link_argument) modules; /* new versions; their names are those of the modules */
    VEC(struct file) files;            /* owned */
    VEC(struct archive *) archives;    /* owned */
    struct arena arena;
};

void changed_init(struct changed *changed);
void changed_deinit(struct changed *changed);

/* Adds the modules of the crate whose objects, where it was linked from, seen from here, have other contents now; and
 * all of which it carries patches, so that those are made up for. Objects that are gone have not changed. Errors:
 * FORMAT, IO, MEMORY. */
MUST_CHECK struct crateld_error *changed_find(struct changed *changed, const struct link_base *base);

/* Adds the modules that `next`, a later build of the crate, was linked from with other contents; and likewise those of
 * which the crate carries patches, or all, if `is_all`. Errors: UNSUPPORTED (modules came or went, or the crates differ
 * in what they need or begin with), MISMATCH (an object is not the one that `next` was linked from), NOT_FOUND (it is
 * gone), and as above.
 */
MUST_CHECK struct crateld_error *changed_between(struct changed *changed, const struct link_base *base,
                                                 const struct link_base *next, bool is_all);

#endif

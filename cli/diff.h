/* Making patches. */
#ifndef CLI_DIFF_H
#define CLI_DIFF_H

#include "linker/link.h"

/* Makes the patch that `link` says (base, output) of `modules`, a list that ends with NULL: each "new.o", or
 * "old.o=new.o" where the name does not say of which module it is a new version. Errors: those of link_run(). */
MUST_CHECK struct crateld_error *diff_modules(struct link_options *link, char *const *modules);

/* Makes the patch that `link` says (output) for the crate at `base_path`, which is called `name`, of the modules that
 * have changed: since it was linked, or in `next_path`, a later build, unless that is NULL. *ret tells whether any
 * have; if not, nothing is made. Errors: those of opening crates, of changed_find(), changed_between() and link_run().
 */
MUST_CHECK struct crateld_error *diff_changed(struct link_options *link, const char *base_path, const char *name,
                                              const char *next_path, bool *ret);

#endif

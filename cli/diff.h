/* Making patches. */
#ifndef CLI_DIFF_H
#define CLI_DIFF_H

#include "linker/link.h"

/* Makes the patch that `link` says (base, output) of `modules`, a list that ends with NULL: each "new.o", or
 * "old.o=new.o" where the name does not say of which module it is a new version. Errors: those of link_run(). */
MUST_CHECK struct crateld_error *diff_modules(struct link_options *link, char *const *modules);

#endif

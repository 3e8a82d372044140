/* Making patches. */
#ifndef CLI_DIFF_H
#define CLI_DIFF_H

#include "linker/link.h"

/* A new version of a module. */
struct diff_module {
    const char *name;     /* "new.o", or "old.o=new.o" where the file's name does not say which module it is */
    struct span contents; /* borrowed; of the file, where they are at hand; else empty */
};

/* Makes the patch that `link` says (base, output) of `count` modules. Errors: those of link_run(). */
MUST_CHECK struct crateld_error *diff_modules(struct link_options *link, const struct diff_module *modules,
                                              size_t count);

/* Modules called as the command line says; malloc'ed, NULL without memory. */
struct diff_module *diff_name_modules(char *const *names, size_t count);

/* Makes the patch that `link` says (opened_base, output) of the modules that have changed: since the crate was linked,
 * or in `next`, a later build of it, unless that is NULL; of that one all, if `is_all`. *ret tells whether there are
 * any; if not, nothing is made. Errors: those of changed_find(), changed_between() and link_run(). */
MUST_CHECK struct crateld_error *diff_opened(struct link_options *link, const struct link_base *next, bool is_all,
                                             bool *ret);

/* The same for the crate at `base_path`, which is called `name`, and the one at `next_path`, which may be NULL. Errors
 * also: those of link_base_open(). */
MUST_CHECK struct crateld_error *diff_changed(struct link_options *link, const char *base_path, const char *name,
                                              const char *next_path, bool *ret);

#endif

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

#endif

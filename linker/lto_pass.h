/* GCC's link-time optimisation within a link.
 *
 * Objects with intermediate code take part in resolution by the symbols that they list. When all that are needed are
 * known, the compiler makes ordinary objects of them, and the link starts again with these in their place.
 */
#ifndef LINKER_LTO_PASS_H
#define LINKER_LTO_PASS_H

#include "linker/link.h"

/* What one run of the passes hands to the next. */
struct link_lto {
    VEC(char *) compiled_paths; /* owned strings: the objects that `files` stand for */
    VEC(struct file) files;     /* owned: what the compiler made */
    char *const *compiler;      /* borrowed; command of the compiler for TOC code, NULL-terminated */
};

void link_lto_deinit(struct link_lto *lto);

/* Takes an object with intermediate code into the resolution, unless it has been compiled already. */
MUST_CHECK struct crateld_error *link_add_lto_object(struct link *link, struct link_object *object);

/* Takes what the compiler made in earlier runs into the link. */
MUST_CHECK struct crateld_error *link_add_compiled_objects(struct link *link);

/* Compiles the objects with intermediate code that resolution has found to be needed; *ret says whether there were any,
 * and then the link starts again. */
MUST_CHECK struct crateld_error *link_compile_lto(struct link *link, bool *ret);

#endif

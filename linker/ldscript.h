/* The text linker scripts that stand in for libraries: libc.so, libm.so, libncurses.so, libgcc_s.so.
 *
 * Understood are OUTPUT_FORMAT, OUTPUT_ARCH, SEARCH_DIR, INPUT, GROUP and AS_NEEDED; comments, quotes,
 * `-lname`, and the sysroot prefixes `=` and `$SYSROOT` (there is no sysroot: they are dropped). Any other
 * command is an error. Syntax: the manual of GNU ld, "Commands Dealing with Files".
 */
#ifndef LINKER_LDSCRIPT_H
#define LINKER_LDSCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/span.h"

struct ldscript_input {
    const char *name; /* borrowed from the script's arena; a path, or what follows -l */
    bool is_library;  /* `-lname`: to be searched for; name may be ":file" */
    bool as_needed;   /* within AS_NEEDED */
    bool in_group;    /* within GROUP: its archives are searched until nothing new is found */
};

struct ldscript {
    struct ldscript_input *inputs; /* owned; in file order */
    size_t input_count;
    const char **search_dirs; /* owned; SEARCH_DIR's, in file order; the strings are the arena's */
    size_t search_dir_count;
    struct arena arena; /* owned */
};

/* Parses `text`; `path` is for messages; `output_format` is what OUTPUT_FORMAT must name if it is there, such
 * as "elf64-x86-64". Errors: FORMAT with line and column ("libx.so:3:7: ..."), MISMATCH for another
 * OUTPUT_FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *ldscript_parse(struct span text, const char *path, const char *output_format,
                                                struct ldscript *ret);

/* Releases; a zeroed script is allowed. */
void ldscript_deinit(struct ldscript *script);

#endif

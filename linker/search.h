/* Where libraries are looked for: the folders of -L, and then the compiler driver's own.
 *
 * The defaults are found by looking at folders, as `gcc -print-search-dirs` would name them on this machine:
 * asking gcc costs milliseconds.
 */
#ifndef LINKER_SEARCH_H
#define LINKER_SEARCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/vec.h"
#include "linker/journal.h"

enum search_kind {
    SEARCH_ANY,    /* -Bdynamic: in each folder a crate, then lib<name>.so, then lib<name>.a */
    SEARCH_STATIC, /* -Bstatic: lib<name>.a only */
};

struct search {
    struct journal *journal; /* borrowed; what was looked for is entered there; NULL: nowhere */
    VEC(const char *) dirs;  /* owned array; the strings are the arena's */
    struct arena arena;      /* owned */
};

void search_init(struct search *search);

/* Releases; a zeroed search is allowed. */
void search_deinit(struct search *search);

/* Adds `dir` behind those there are; a folder that does not exist is allowed. A leading `=` or `$SYSROOT` is
 * dropped: there is no sysroot. Errors: MEMORY. */
MUST_CHECK struct crateld_error *search_add_dir(struct search *search, const char *dir);

/* Adds the defaults that exist for `triplet`, such as "x86_64-linux-gnu": the folder of the newest gcc whose
 * libgcc.a is installed, and the system's; each folder once, whatever names it has. Errors: MEMORY. */
MUST_CHECK struct crateld_error *search_add_defaults(struct search *search, const char *triplet);

/* Sets *ret to the path (malloc'ed, the caller's) of the library that `-l<name>` means: lib<name>.so or
 * lib<name>.a, or the crate lib<name>.crate or <name>.crate; ":file" means that very file name. Errors:
 * NOT_FOUND, naming what was looked for, and where; MEMORY. */
MUST_CHECK struct crateld_error *search_library(const struct search *search, const char *name, enum search_kind kind,
                                                char **ret);

/* Sets *ret to the path (malloc'ed) of the file `name` that the linker script `script_path` lists: as it
 * stands if it exists or is absolute, else beside the script, else in the folders. Errors as
 * search_library's. */
MUST_CHECK struct crateld_error *search_script_input(const struct search *search, const char *script_path,
                                                     const char *name, char **ret);

/* Sets *ret to the path (malloc'ed) of the file `name` in the first folder that has it, NULL if none has.
 * Errors: MEMORY. */
MUST_CHECK struct crateld_error *search_file(const struct search *search, const char *name, char **ret);

#endif

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

enum search_kind {
    SEARCH_ANY,    /* -Bdynamic: lib<name>.so, else lib<name>.a, folder by folder */
    SEARCH_STATIC, /* -Bstatic: lib<name>.a only */
};

struct search {
    VEC(const char *) dirs; /* owned array; the strings are the arena's */
    struct arena arena;     /* owned */
};

void search_init(struct search *search);

/* Releases; a zeroed search is allowed. */
void search_deinit(struct search *search);

/* Adds `dir` behind those there are; a folder that does not exist is allowed. A leading `=` or `$SYSROOT` is
 * dropped: there is no sysroot. Errors: MEMORY. */
MUST_CHECK struct crateld_error *search_add_dir(struct search *search, const char *dir);

/* Adds the defaults that exist: the newest gcc's folder and the system's, for this machine. Errors: MEMORY.
 */
MUST_CHECK struct crateld_error *search_add_defaults(struct search *search);

/* Sets *ret to the path (malloc'ed, the caller's) of the library that `-l<name>` means; ":file" means that
 * very file name. In each folder a crate, lib<name>.crate or <name>.crate, is taken before an archive and
 * after a shared library; SEARCH_STATIC takes crates too. Errors: NOT_FOUND, naming what was looked for, and
 * where; MEMORY. */
MUST_CHECK struct crateld_error *search_library(const struct search *search, const char *name,
                                                enum search_kind kind, char **ret);

/* Sets *ret to the path (malloc'ed) of the file that a linker script in the file `script_path` names: as it
 * stands if it exists, else beside the script, else in the folders. Errors as search_library's. */
MUST_CHECK struct crateld_error *search_script_input(const struct search *search, const char *script_path,
                                                     const char *name, char **ret);

/* Sets *ret to the path (malloc'ed) of the file `name` in the first folder that has it, NULL if none has.
 * Errors: MEMORY. */
MUST_CHECK struct crateld_error *search_file(const struct search *search, const char *name, char **ret);

#endif

/* An input file, opened and read as far as that needs nothing else of the link: files are opened by several threads. */
#ifndef LINKER_INPUT_H
#define LINKER_INPUT_H

#include "linker/input_kind.h"
#include "linker/link.h"

struct link_input {
    enum input_kind kind;
    struct file file;               /* owned; zero for a crate, and for contents that were given */
    struct file_stamp stamp;        /* taken when it was opened; zero for contents that were given */
    const char *path;               /* lasts as long as what it is given by */
    struct span contents;           /* borrowed; empty for a crate */
    struct link_object *object;     /* OBJECT; in the arena */
    struct link_provider *provider; /* CRATE; in the arena */
};

/* Opens the file `path`, with what is allocated from `arena`. Errors: those of what it is. */
MUST_CHECK struct crateld_error *link_input_open(const struct link *link, struct arena *arena, const char *path,
                                                 struct link_input *ret);

/* The same for a file of which the contents are there; both are borrowed. */
MUST_CHECK struct crateld_error *link_input_open_contents(const struct link *link, struct arena *arena,
                                                          const char *path, struct span contents,
                                                          struct link_input *ret);

#endif

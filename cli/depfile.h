/* The rules for make that compilers write (-MD): which files an object is made of. */
#ifndef CLI_DEPFILE_H
#define CLI_DEPFILE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/span.h"
#include "base/vec.h"

struct depfile {
    VEC(char *) names; /* owned array; the strings are the arena's */
};

/* Sets *ret to the prerequisites of the first rule in the file at `path`. Release it in any case. Errors: IO, MEMORY.
 */
MUST_CHECK struct crateld_error *depfile_read(const char *path, struct arena *arena, struct depfile *ret);

/* The same for the file's bytes. Error: MEMORY. */
MUST_CHECK struct crateld_error *depfile_parse(struct span bytes, struct arena *arena, struct depfile *ret);

void depfile_deinit(struct depfile *depfile);

#endif

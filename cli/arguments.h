/* Arguments with @file replaced by what the file holds, as GNU tools do (libiberty's expandargv): words
 * separated by blanks, with quotes and backslashes. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/vec.h"

struct arguments {
    char **at; /* NULL-terminated; owned array, the strings are the arena's or the caller's */
    int count;
    size_t capacity;
    struct arena arena; /* owned */
};

/* Sets *ret to `argv` expanded. A file that can not be opened leaves its argument as it is. Errors: IO,
 * FORMAT (files that name each other too deeply), MEMORY. */
MUST_CHECK struct crateld_error *arguments_expand(int argc, char **argv, struct arguments *ret);

void arguments_deinit(struct arguments *arguments);

#endif

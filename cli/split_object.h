/* Objects of compilers that know no -ffunction-sections -fdata-sections (tcc): each function and variable gets a
 * section of its own, as in the object that another compiler made of the same source, so that they can be replaced one
 * by one. */
#ifndef CLI_SPLIT_OBJECT_H
#define CLI_SPLIT_OBJECT_H

#include "base/error.h"
#include "base/span.h"

/* Writes the object at `path`, split, to `output`. What is constant is read-only where it is in the object at `model`,
 * in which each variable has a section. Errors: IO; FORMAT (damaged objects); UNSUPPORTED (what belongs to which
 * function or variable can not be told); MEMORY. */
MUST_CHECK struct crateld_error *split_object(const char *path, const char *model, const char *output);

/* The same for the objects' bytes; the paths are for messages. */
struct split_bytes {
    uint8_t *at; /* owned; free() */
    size_t size;
};
MUST_CHECK struct crateld_error *split_object_bytes(const char *path, struct span file, const char *model,
                                                    struct span model_file, struct split_bytes *ret);

#endif

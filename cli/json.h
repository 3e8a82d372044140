/* Reading JSON (RFC 8259), value by value, for who knows what to expect. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/span.h"

struct json {
    const char *path;    /* borrowed; for messages */
    struct arena *arena; /* borrowed; strings are made there */
    struct span text;    /* borrowed */
    size_t at;
};

/* Takes the next character, which must be `wanted`, after white space. Error: FORMAT, with the line. */
MUST_CHECK struct crateld_error *json_take(struct json *json, char wanted);

/* The next character after white space; 0 at the end. */
char json_peek(struct json *json);

/* Within a list or an object: goes on to its next element, or behind its end, which is `close`; *ret tells which.
 * *is_first begins as true. Error: FORMAT. */
MUST_CHECK struct crateld_error *json_next(struct json *json, char close, bool *is_first, bool *ret);

/* Sets *ret to a string without NUL, in the arena. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *json_string(struct json *json, char **ret);

/* Goes over a value of any kind. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *json_skip(struct json *json);

/* A FORMAT error at the place that has been reached. */
struct crateld_error *json_error(const struct json *json, const char *text);

#endif

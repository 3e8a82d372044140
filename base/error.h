/* Making and combining errors. See include/crateld/error.h for what an error is. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

#include "crateld/error.h"

/* Every function that returns an error wants it looked at. */
#define MUST_CHECK __attribute__((warn_unused_result))
/* One that always returns an error. */
#define ALWAYS_FAILS __attribute__((warn_unused_result, returns_nonnull))

/* Returns from the calling function when `expr` yields an error. */
#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        struct crateld_error *try_error = (expr);                                                                      \
        if (__builtin_expect(try_error != NULL, 0))                                                                    \
            return try_error;                                                                                          \
    } while (0)

/* A new error with a printf-formatted message; the static out-of-memory error if there is no memory for it.
 * Never returns NULL. */
ALWAYS_FAILS struct crateld_error *error_create(enum crateld_error_code code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The static out-of-memory error. */
ALWAYS_FAILS struct crateld_error *error_memory(void);

/* An IO error: "<formatted>: <strerror(errnum)>". */
ALWAYS_FAILS struct crateld_error *error_errno(int errnum, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts "<formatted>: " before the message of `error`, which it takes over; returns what replaces it. */
ALWAYS_FAILS struct crateld_error *error_prefix(struct crateld_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Static analysis sees one file at a time, and has to be told that these always make an error. */
static inline struct crateld_error *error_made(struct crateld_error *error)
{
    if (!error)
        __builtin_unreachable();
    return error;
}
#define error_create(...) error_made(error_create(__VA_ARGS__))
#define error_memory()    error_made(error_memory())
#define error_errno(...)  error_made(error_errno(__VA_ARGS__))
#define error_prefix(...) error_made(error_prefix(__VA_ARGS__))

/* Collects faults: the result carries the code of `first` and the lines of both. Takes over both, either may be
 * NULL; returns NULL if both are. */
MUST_CHECK struct crateld_error *error_join(struct crateld_error *first, struct crateld_error *second);

#endif

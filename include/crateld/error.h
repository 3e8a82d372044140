/* crateld: errors as values.
 *
 * A function that can fail returns a `struct crateld_error *`: NULL means success, anything else is owned by
 * the caller and is released with crateld_error_destroy(). Out of memory is a static object, so reporting an
 * error can not itself fail.
 */
#ifndef CRATELD_ERROR_H
#define CRATELD_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define CRATELD_API __attribute__((visibility("default")))

enum crateld_error_code {
    CRATELD_ERROR_MEMORY = 1,  /* an allocation failed */
    CRATELD_ERROR_IO,          /* a system call on a file failed; the message carries its reason */
    CRATELD_ERROR_FORMAT,      /* a file is not what it claims to be, or is truncated */
    CRATELD_ERROR_UNSUPPORTED, /* a file is well-formed and asks for something crateld does not do */
    CRATELD_ERROR_NOT_FOUND,   /* a file, library or symbol that is needed does not exist */
    CRATELD_ERROR_UNDEFINED,   /* symbols are referred to and nowhere defined */
    CRATELD_ERROR_DUPLICATE,   /* symbols or names are defined more than once */
    CRATELD_ERROR_RANGE,       /* a value does not fit the place it is written to */
    CRATELD_ERROR_MISMATCH,    /* versions, build ids, CPUs or kinds do not agree */
    CRATELD_ERROR_USAGE,       /* the arguments make no sense */
};

struct crateld_error;

/* The kind of `error`, which is not NULL. */
CRATELD_API enum crateld_error_code crateld_error_code(const struct crateld_error *error);

/* The text: path, place, what was found, what was wanted; one line for each fault, without a newline at the
 * end. Valid until the error is destroyed. */
CRATELD_API const char *crateld_error_message(const struct crateld_error *error);

/* Releases `error`; NULL is allowed. */
CRATELD_API void crateld_error_destroy(struct crateld_error *error);

#ifdef __cplusplus
}
#endif

#endif

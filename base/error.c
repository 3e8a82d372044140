#define _GNU_SOURCE /* strerror_r() that returns the text */
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct crateld_error {
    enum crateld_error_code code;
    char message[];
};

/* A flexible array member can not be initialised in a static object in standard C; gcc and clang allow it. */
static struct crateld_error memory_error = {CRATELD_ERROR_MEMORY, "out of memory"};

enum crateld_error_code crateld_error_code(const struct crateld_error *error)
{
    return error->code;
}

const char *crateld_error_message(const struct crateld_error *error)
{
    return error->message;
}

void crateld_error_destroy(struct crateld_error *error)
{
    if (error != &memory_error)
        free(error);
}

struct crateld_error *(error_memory)(void)
{
    return &memory_error;
}

/* "<before><formatted><after>" as an error of its own. */
static struct crateld_error *format_error(enum crateld_error_code code, const char *after, const char *format,
                                          va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return &memory_error;
    size_t after_size = strlen(after) + 1;
    struct crateld_error *error = malloc(sizeof *error + (size_t)length + after_size);
    if (!error)
        return &memory_error;
    error->code = code;
    vsnprintf(error->message, (size_t)length + 1, format, args);
    memcpy(error->message + length, after, after_size);
    return error;
}

struct crateld_error *(error_create)(enum crateld_error_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct crateld_error *error = format_error(code, "", format, args);
    va_end(args);
    return error;
}

struct crateld_error *(error_errno)(int errnum, const char *format, ...)
{
    char after[160];
    char reason[128];
    snprintf(after, sizeof after, ": %s", strerror_r(errnum, reason, sizeof reason));
    va_list args;
    va_start(args, format);
    struct crateld_error *error = format_error(CRATELD_ERROR_IO, after, format, args);
    va_end(args);
    return error;
}

struct crateld_error *(error_prefix)(struct crateld_error *error, const char *format, ...)
{
    if (error == &memory_error)
        return error;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    size_t size = (size_t)(length < 0 ? 0 : length) + 2 + strlen(error->message) + 1;
    struct crateld_error *result = malloc(sizeof *result + size);
    if (!result)
        return error; /* less context, but the reason stays */
    result->code = error->code;
    va_start(args, format);
    vsnprintf(result->message, size, format, args);
    va_end(args);
    strcat(result->message, ": ");
    strcat(result->message, error->message);
    free(error);
    return result;
}

struct crateld_error *error_join(struct crateld_error *first, struct crateld_error *second)
{
    if (!first || first == second)
        return second;
    if (!second || first == &memory_error || second == &memory_error) {
        crateld_error_destroy(second);
        return first;
    }
    size_t first_length = strlen(first->message), second_size = strlen(second->message) + 1;
    struct crateld_error *result = realloc(first, sizeof *result + first_length + 1 + second_size);
    if (!result) {
        crateld_error_destroy(second);
        return first;
    }
    result->message[first_length] = '\n';
    memcpy(result->message + first_length + 1, second->message, second_size);
    free(second);
    return result;
}

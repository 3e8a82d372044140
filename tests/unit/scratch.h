/* A folder that lives as long as a test, and commands run in it: inputs are built, not stored. */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scratch {
    char dir[64];
};

static inline void scratch_init(struct scratch *scratch)
{
    strcpy(scratch->dir, "/tmp/crateld-test.XXXXXX");
    cr_assert_not_null(mkdtemp(scratch->dir));
}

/* Runs a shell command in the folder; it must succeed. */
__attribute__((format(printf, 2, 3))) static inline void scratch_run(const struct scratch *scratch, const char *format,
                                                                     ...)
{
    char command[8192];
    int length = snprintf(command, sizeof command, "cd %s && ", scratch->dir);
    va_list args;
    va_start(args, format);
    vsnprintf(command + length, sizeof command - (size_t)length, format, args);
    va_end(args);
    cr_assert_eq(system(command), 0, "command failed: %s", command);
}

static inline void scratch_deinit(struct scratch *scratch)
{
    scratch_run(scratch, "rm -rf %s", scratch->dir);
}

/* The path of a file in the folder; a static buffer for each of four calls in turn. */
static inline const char *scratch_path(const struct scratch *scratch, const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch->dir, name);
    return path;
}

/* Writes `size` bytes as the file `name`. */
static inline void scratch_write(const struct scratch *scratch, const char *name, const void *bytes, size_t size)
{
    FILE *stream = fopen(scratch_path(scratch, name), "w");
    cr_assert_not_null(stream);
    cr_assert_eq(fwrite(bytes, 1, size, stream), size);
    cr_assert_eq(fclose(stream), 0);
}

#endif

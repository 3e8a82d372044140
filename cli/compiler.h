/* Compiling what changes while a program is watched: a process beside the watcher.
 *
 * It watches the files that objects are made of, compiles anew what an edit concerns, by the project's own commands,
 * and puts the new objects in the old ones' place all at once: when one of them can not be compiled, none is replaced
 * until it can. */
#ifndef CLI_COMPILER_H
#define CLI_COMPILER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct compiler {
    int socket; /* owned; -1: there is none */
};

/* An object that matters. */
struct compiler_object {
    const char *path;   /* from the current folder */
    const char *module; /* "old=new", as what it is replaced: what is before the '=' counts */
};

/* All is borrowed during the call. */
struct compiler_opts {
    const char *commands_path;
    const struct compiler_object *objects;
    size_t object_count;
    bool is_tiered; /* tcc's objects are told first, where it can make them */
};

/* Starts the process, which ends when compiler_stop() is called or this process ends. Errors: those of
 * compile_commands_read(); NOT_FOUND (none of the commands makes one of the objects; there is no tcc); IO. */
MUST_CHECK struct crateld_error *compiler_start(const struct compiler_opts *opts, struct compiler *ret);
void compiler_stop(struct compiler *compiler);

/* Waits until objects that are being put in place are all there, so that they are seen together. Calls `take_quick`
 * with the names, "old=new", each with its NUL, of modules that tcc has compiled: they are to be taken at once or not
 * at all. */
void compiler_settle(struct compiler *compiler, void (*take_quick)(void *context, const char *names, size_t size),
                     void *context);

#endif

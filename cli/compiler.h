/* Compiling what changes while a program is watched: a process beside the watcher.
 *
 * It watches the files that objects are made of, compiles anew what an edit concerns, by the project's own commands,
 * and puts the new objects in the old ones' place all at once: when one of them can not be compiled, none is replaced
 * until it can. */
#ifndef CLI_COMPILER_H
#define CLI_COMPILER_H

#include "base/error.h"

struct compiler {
    int socket; /* owned; -1: there is none */
};

/* Starts the process, which ends when compiler_stop() is called or this process ends. `objects` are the paths of the
 * `count` objects that matter, from the current folder. Errors: those of compile_commands_read(); NOT_FOUND (none of
 * the commands makes one of them); IO. */
MUST_CHECK struct crateld_error *compiler_start(const char *commands_path, const char *const *objects, size_t count,
                                                struct compiler *ret);
void compiler_stop(struct compiler *compiler);

/* Waits until objects that are being put in place are all there, so that they are seen together. */
void compiler_settle(struct compiler *compiler);

#endif

/* How a project's files are compiled: compile_commands.json, as CMake, Meson, Bear and others write it
 * (clang.llvm.org/docs/JSONCompilationDatabase.html). */
#ifndef CLI_COMPILE_COMMANDS_H
#define CLI_COMPILE_COMMANDS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/span.h"
#include "base/vec.h"

/* One object's command; all paths are absolute, or from the folder that the command is run in. */
struct compile_command {
    const char *directory;
    const char *file;    /* absolute; as it was named */
    const char *output;  /* absolute */
    char **arguments;    /* what compiles the file, less "-o" and where to; NULL-terminated */
    size_t count;        /* of them */
    const char *depfile; /* absolute; where the command lists the files that it read; NULL: it does not */
    bool has_target;     /* and says what for (-MT, -MQ) */
    bool has_depfile;    /* and where to (-MF) */
};

struct compile_commands {
    struct arena arena; /* owned; of all strings */
    VEC(struct compile_command) list;
};

/* Reads the file at `path`, which may have other commands than those that compile: they are left out. Release it in any
 * case. Errors: IO; FORMAT (with the line); MEMORY. */
MUST_CHECK struct crateld_error *compile_commands_read(const char *path, struct compile_commands *ret);

/* The same for the file's bytes; `path` is for messages. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *compile_commands_parse(const char *path, struct span text,
                                                        struct compile_commands *ret);

void compile_commands_deinit(struct compile_commands *commands);

/* The path `name` as seen from `folder`, in the arena; NULL without memory. */
const char *compile_path(struct arena *arena, const char *folder, const char *name);

#endif

/* Finding and executing what belongs to the tool program. */
#ifndef CLI_TOOL_PATH_H
#define CLI_TOOL_PATH_H

#include "base/error.h"

/* Sets *ret to the path of `name` in the folder of this program: what belongs to it stands there, in the
 * build folder as well as where it is installed. The caller frees it. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *tool_path(const char *name, char **ret);

/* Executes `path` with `argv`, and `environ`; returns only on failure. With a path without slash $PATH is
 * searched. Error: NOT_FOUND, IO. */
MUST_CHECK struct crateld_error *tool_execute(const char *path, char *const *argv);

/* Sets *ret to the path (malloc'ed) of the first program `name` in $PATH that is not this one under another name: the
 * one that would be used without us. Errors: NOT_FOUND, MEMORY. */
MUST_CHECK struct crateld_error *tool_find_other(const char *name, char **ret);

#endif

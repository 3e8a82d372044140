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

#endif

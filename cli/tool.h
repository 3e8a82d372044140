/* crateld-tool: the commands that make and look at crates. `crateld` executes it for every command but `run`,
 * so that the libraries which these commands need are not loaded where crates run.
 */
#ifndef CLI_TOOL_H
#define CLI_TOOL_H

#include "base/error.h"

/* Each command gets its arguments with its own name as argv[0], and returns the exit status
 * (cli/exit_status.h). */
int cc_command(int argc, char **argv);  /* cc.c: `crateld cc` */
int cxx_command(int argc, char **argv); /* cc.c: `crateld c++` */
int as_command(int argc, char **argv);  /* as.c: the assembler of `crateld cc`, never called by users */

/* Prints the message of `error`, which is released, on standard error; returns the exit status that goes with
 * it. */
int tool_report(struct crateld_error *error);

/* Sets *ret to the path of `name` in the folder of this program: what belongs to it stands there, in the
 * build folder as well as where it is installed. The caller frees it. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *tool_path(const char *name, char **ret);

/* Executes `path` with `argv`, and `environ`; returns only on failure. With a path without slash $PATH is
 * searched. Error: NOT_FOUND, IO. */
MUST_CHECK struct crateld_error *tool_execute(const char *path, char *const *argv);

#endif

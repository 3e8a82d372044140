/* The commands of the tool program, and how they end. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "base/error.h"
#include "cli/exit_status.h"

/* Prints `error` (taken over) as "crateld: message", each line of it, and returns the exit status for it:
 * EXIT_STATUS_USAGE for faults of the arguments, else EXIT_STATUS_FAILED. */
int command_failed(struct crateld_error *error);

/* Each gets argv[0] = its own name, and returns the exit status. */
int cmd_cc(int argc, char **argv);
int cmd_cxx(int argc, char **argv);
int cmd_as(int argc, char **argv); /* the assembler of cc and c++, never called by users */
int cmd_ld(int argc, char **argv); /* the linker of compilers, also by the name ld */
int cmd_link(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_refresh(int argc, char **argv); /* what `run --fresh` calls, never users */
int cmd_apply(int argc, char **argv);
int cmd_reload(int argc, char **argv); /* and check */
int cmd_rollback(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_where(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_stub(int argc, char **argv);
int cmd_strip(int argc, char **argv);

#endif

/* The commands of the tool program, and how they end. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "base/error.h"

/* Exit statuses of every command. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_MISSING = 127, /* a file, library, symbol or program that is needed does not exist */
};

/* Prints `error` (taken over) as "crateld: message", each line of it, and returns the exit status for it: EXIT_USAGE for
 * faults of the arguments, else EXIT_FAILED. */
int command_failed(struct crateld_error *error);

/* Each gets argv[0] = its own name, and returns the exit status. */
int cmd_link(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_strip(int argc, char **argv);

#endif

/* `crateld run`: the one command that works in this process. It needs nothing but libc. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

/* Runs the command with `argv`, whose argv[index] is "run"; does not return if the program starts. Returns the exit
 * status: 2 usage, 127 something is missing, 1 anything else. */
int run_command(int argc, char **argv, int index, char **envp);

#endif

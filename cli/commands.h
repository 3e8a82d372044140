/* The commands of the tool program, one file each. Each gets its own name as argv[0], prints its results on
 * stdout and all else on stderr, and returns the program's exit status: 0 done, 1 failed, 2 used wrongly. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

int cmd_inspect(int argc, char **argv);
int cmd_strip(int argc, char **argv);

#endif

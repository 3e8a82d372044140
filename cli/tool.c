/* crateld-tool: the commands that need more than libc. `crateld` executes it for every command but `run`; the compiler calls it
 * as its assembler. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"

/* One row a command. */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"cc", cmd_cc},
    {"c++", cmd_cxx},
    {"inspect", cmd_inspect},
    {"link", cmd_link},
    {"strip", cmd_strip},
};

int main(int argc, char **argv)
{
    if (argc < 1)
        return EXIT_STATUS_USAGE;
    /* The compiler calls its assembler by name: a link to this program. */
    if (!strcmp(basename(argv[0]), "as"))
        return cmd_as(argc, argv);
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "crateld: no command '%s'; see 'crateld --help'\n", argc > 1 ? argv[1] : "");
    return EXIT_STATUS_USAGE;
}

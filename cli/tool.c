/* crateld-tool: the commands that need more than libc. `crateld` runs it. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"inspect", cmd_inspect},
    {"link", cmd_link},
    {"strip", cmd_strip},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "crateld: unknown command '%s' (see crateld --help)\n", argc > 1 ? argv[1] : "");
    return EXIT_USAGE;
}

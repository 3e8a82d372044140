/* crateld: the command. `run` works in this process; the tools, which need libelf and more, are another
 * program. */
#include <stdio.h>
#include <string.h>

#include "cli/run.h"

int main(int argc, char **argv, char **envp)
{
    if (argc > 1 && strcmp(argv[1], "run") == 0)
        return run_command(argc, argv, 1, envp);
    puts("crateld 0.1.0");
    return 0;
}

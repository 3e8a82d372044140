/* crateld-tool: the commands that need more than libc. `crateld` executes it for every command but `run`; the compiler
 * calls it as its assembler. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/bus_error.h"
#include "cli/commands.h"

/* One row a command. */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    bool is_wrapper; /* ends as another program */
} commands[] = {
    {"apply", cmd_apply, false},
    {"cc", cmd_cc, true},
    {"c++", cmd_cxx, true},
    {"check", cmd_reload, false},
    {"diff", cmd_diff, false},
    {"export", cmd_export, false},
    {"inspect", cmd_inspect, false},
    {"ld", cmd_ld, false},
    {"link", cmd_link, false},
    {"ps", cmd_ps, false},
    {"refresh", cmd_refresh, false},
    {"reload", cmd_reload, false},
    {"rollback", cmd_rollback, false},
    {"strip", cmd_strip, false},
    {"stub", cmd_stub, false},
    {"trace", cmd_trace, false},
    {"watch", cmd_watch, false},
    {"where", cmd_where, false},
};

/* Standard files that are closed are opened as /dev/null, lest an output file take their place and messages go there.
 */
static bool open_standard_files(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Lets faults of files become errors: SIGBUS from mapped ones, and SIGXFSZ from those that grow beyond a limit. */
static void prepare_signals(void)
{
    bus_error_install();
    signal(SIGXFSZ, SIG_IGN);
}

/* Results that could not be written are a failure. */
static int finish(int status)
{
    if (status != EXIT_STATUS_DONE || (!fflush(stdout) && !ferror(stdout)))
        return status;
    fprintf(stderr, "crateld: standard output: %s\n", errno ? strerror(errno) : "cannot write");
    return EXIT_STATUS_FAILED;
}

int main(int argc, char **argv)
{
    if (argc < 1 || !open_standard_files())
        return EXIT_STATUS_USAGE;
    /* Compilers call their assembler and linker by name: links to this program. */
    if (!strcmp(basename(argv[0]), "ld")) {
        prepare_signals();
        return finish(cmd_ld(argc, argv));
    }
    if (!strcmp(basename(argv[0]), "as"))
        return cmd_as(argc, argv);
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (!commands[i].is_wrapper)
            prepare_signals();
        return finish(commands[i].run(argc - 1, argv + 1));
    }
    fprintf(stderr, "crateld: no command '%s'; see 'crateld --help'\n", argc > 1 ? argv[1] : "");
    return EXIT_STATUS_USAGE;
}

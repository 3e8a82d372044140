/* crateld trace: what happens to a process's crates, as it happens. */
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/client.h"
#include "cli/commands.h"

static const char usage[] =
    "usage: crateld trace PID\n"
    "Shows what happens in the running process, until it ends: crates that are loaded, become active or are unloaded; "
    "imported "
    "functions that\n"
    "are bound, which is on their first call; versions of modules that come into effect or no longer are.\n"
    "  -h, --help  show this\n";

static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};

enum { PERIOD_MS = 20 };

static void print_line(void *context, const char *line, size_t size)
{
    (void)context;
    printf("%.*s\n", (int)size, line);
    fflush(stdout);
}

static struct crateld_error *trace(struct client *client)
{
    struct timespec period = {.tv_nsec = PERIOD_MS * 1000000L};
    bool is_continued = false;
    TRY(client_trace(client, print_line, &is_continued));
    fprintf(stderr, "crateld: tracing process %d\n", (int)client->id);
    for (;;) {
        nanosleep(&period, NULL);
        if (ferror(stdout))
            return error_create(CRATELD_ERROR_IO, "standard output: cannot write");
        struct crateld_error *error = client_trace(client, print_line, &is_continued);
        if (error && kill(client->id, 0) != 0) {
            crateld_error_destroy(error);
            return NULL; /* it has ended */
        }
        TRY(error);
        if (!is_continued)
            fprintf(stderr, "crateld: process %d: what happened while the connection was interrupted is not shown\n",
                    (int)client->id);
    }
}

int cmd_trace(int argc, char **argv)
{
    struct client client = {.fd = -1};
    int option = getopt_long(argc, argv, "h", options, NULL);
    char *end = NULL;
    long id = option < 0 && argc - optind == 1 ? strtol(argv[optind], &end, 10) : 0;
    if (option == 'h' || id <= 0 || id > INT_MAX || *end) {
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
    }
    struct crateld_error *error = client_open((pid_t)id, &client);
    if (!error)
        error = trace(&client);
    client_close(&client);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}

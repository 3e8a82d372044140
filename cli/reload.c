/* crateld reload, check, rollback, ps: what is done with running processes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/replace.h"

static const char reload_usage[] =
    "usage: crateld reload [options] PID MODULE.o|FIX.patch|NEW.crate...\n"
    "       crateld check [options] PID MODULE.o|FIX.patch|NEW.crate...\n"
    "Has the running process take the modules, all at once, in place of those that it has; `check` only tells whether "
    "it "
    "would. A module\n"
    "is known by the path from which it was linked, or else by its file's name; OLD=MODULE.o says of which it is a new "
    "version.\n"
    "A patch (crateld diff) is taken as it is; of a later build of a crate, the modules that it was linked from and "
    "the "
    "process's was not. A module that no crate has is a new one of the crate that the others are of.\n"
    "  --on-change VARIABLE=POLICY  what becomes of its value if its type changes: refuse (the reload), init (it gets\n"
    "                               the new initial value) or migrate (crate_migrate() makes the new value)\n"
    "  --force                      variables move even if the program has pointers to them\n"
    "  -h, --help                   show this\n";

static const char rollback_usage[] = "usage: crateld rollback PID\n"
                                     "Takes back the last reload of the process. Variables keep their values.\n"
                                     "  -h, --help  show this\n";

static const char ps_usage[] = "usage: crateld ps\n"
                               "Lists the processes that run crates.\n"
                               "  -h, --help  show this\n";

static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};

static const struct option reload_options[] = {
    {"on-change", required_argument, NULL, 'c'},
    {"force", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* Parses options; whether the command is to go on, with *status if not. */
static bool parse(int argc, char **argv, const char *usage, int operands, int *status)
{
    int option = getopt_long(argc, argv, "+h", options, NULL);
    if (option == 'h') {
        fputs(usage, stdout);
        *status = EXIT_STATUS_DONE;
        return false;
    }
    if (option >= 0 || argc - optind < operands) {
        if (option < 0)
            fprintf(stderr, "crateld: %s: too few arguments\n", argv[0]);
        fputs(usage, stderr);
        *status = EXIT_STATUS_USAGE;
        return false;
    }
    return true;
}

/* A process's number; 0 if `text` is none. */
static pid_t parse_id(const char *text)
{
    char *end;
    long id = strtol(text, &end, 10);
    return *text && !*end && id > 0 && id <= INT_MAX ? (pid_t)id : 0;
}

static int bad_id(const char *command, const char *text)
{
    fprintf(stderr, "crateld: %s: '%s' is no process number\n", command, text);
    return EXIT_STATUS_USAGE;
}

/* Takes over `changes`. */
static struct crateld_error *run_reload(pid_t id, char *const *names, size_t count, bool is_trial,
                                        const struct on_change *changes)
{
    struct diff_module *modules AUTO_FREE = diff_name_modules(names, count);
    if (!modules)
        return error_memory();
    struct replace_target target;
    struct control_report report;
    uint64_t start = clock_nanoseconds();
    struct crateld_error *error = replace_open(id, &target);
    target.changes = *changes;
    if (!error)
        error = replace_modules(&target, modules, count, is_trial, &report);
    if (!error) {
        replace_print(is_trial ? "would be reloaded" : "reloaded", &report, clock_nanoseconds() - start);
        on_change_print(&target.changes);
        replace_clean(&target.client);
    }
    replace_close(&target);
    return error;
}

/* Parses the options of reload and check; whether the command is to go on, with *status if not. */
static bool parse_reload(int argc, char **argv, struct on_change *changes, int *status)
{
    struct crateld_error *error = NULL;
    *status = EXIT_STATUS_USAGE;
    for (int option; (option = getopt_long(argc, argv, "h", reload_options, NULL)) >= 0 && !error;) {
        if (option == 'c') {
            error = on_change_add(changes, optarg);
        } else if (option == 'f') {
            changes->is_forced = true;
        } else {
            *status = option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
            fputs(reload_usage, option == 'h' ? stdout : stderr);
            return false;
        }
    }
    if (error) {
        (void)command_failed(error);
        return false;
    }
    if (argc - optind >= 2)
        return true;
    fprintf(stderr, "crateld: %s: too few arguments\n%s", argv[0], reload_usage);
    return false;
}

int cmd_reload(int argc, char **argv)
{
    int status;
    struct on_change changes = {0};
    if (!parse_reload(argc, argv, &changes, &status)) {
        on_change_deinit(&changes);
        return status;
    }
    pid_t id = parse_id(argv[optind]);
    if (!id) {
        on_change_deinit(&changes);
        return bad_id(argv[0], argv[optind]);
    }
    struct crateld_error *error =
        run_reload(id, argv + optind + 1, (size_t)(argc - optind - 1), !strcmp(argv[0], "check"), &changes);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}

int cmd_rollback(int argc, char **argv)
{
    int status;
    struct control_report report;
    if (!parse(argc, argv, rollback_usage, 1, &status))
        return status;
    pid_t id = parse_id(argv[optind]);
    if (!id)
        return bad_id(argv[0], argv[optind]);
    uint64_t start = clock_nanoseconds();
    struct client client;
    struct crateld_error *error = client_open(id, &client);
    if (!error)
        error = client_request(&client, CONTROL_ROLLBACK, NULL, 0, &report);
    client_close(&client);
    if (error)
        return command_failed(error);
    replace_print("rolled back", &report, clock_nanoseconds() - start);
    return EXIT_STATUS_DONE;
}

/* Prints the process's number and what it was started as. */
static void print_process(pid_t id)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)id);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    for (size_t i = 0; i + 1 < size; i++)
        text[i] = text[i] ? text[i] : ' ';
    text[size] = 0;
    printf("%7d  %s\n", (int)id, text);
}

int cmd_ps(int argc, char **argv)
{
    int status;
    if (!parse(argc, argv, ps_usage, 0, &status))
        return status;
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        pid_t id = parse_id(entry->d_name);
        if (id && client_is_crateld(id))
            print_process(id);
    }
    if (processes)
        closedir(processes);
    return EXIT_STATUS_DONE;
}

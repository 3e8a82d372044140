/* crateld diff: makes a patch for a crate of recompiled modules. */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "cli/diff.h"
#include "cli/on_change.h"

static const char usage[] = "usage: crateld diff -o FIX.patch [options] APP.crate MODULE.o...\n"
                            "Makes a patch: what changes in the crate when the modules are these. A module is known by "
                            "the path from which it was\n"
                            "linked, or else by its file's name; OLD=MODULE.o says of which it is a new version.\n"
                            "`crateld run --patch FIX.patch APP.crate` runs the crate with the patch in effect.\n"
                            "  -o, --output FILE  the patch to be written\n"
                            "  -S, --strip-debug  leave out debug information\n"
                            "  --on-change VARIABLE=POLICY, --force  as for crateld reload\n"
                            "  --time-passes      say how long each pass took\n"
                            "  -h, --help         show this\n";

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"strip-debug", no_argument, NULL, 'S'},
    {"on-change", required_argument, NULL, 'c'},
    {"force", no_argument, NULL, 'f'},
    {"time-passes", no_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct diff_module *diff_name_modules(char *const *names, size_t count)
{
    struct diff_module *modules = calloc(count + 1, sizeof *modules);
    for (size_t i = 0; modules && i < count; i++)
        modules[i].name = names[i];
    return modules;
}

struct crateld_error *diff_modules(struct link_options *link, const struct diff_module *modules, size_t count)
{
    VEC(struct link_argument) arguments = {0};
    VEC(const char *) renames = {0};
    struct crateld_error *error = NULL;
    for (size_t i = 0; i < count && !error; i++) {
        const char *name = modules[i].name, *equals = strchr(name, '=');
        struct link_argument argument = {.value = equals ? equals + 1 : name, .contents = modules[i].contents};
        if (!VEC_PUSH(&arguments, argument) || (equals && !VEC_PUSH(&renames, name)))
            error = error_memory();
    }
    link->arguments = arguments.at;
    link->argument_count = arguments.count;
    link->renames = renames.at;
    link->rename_count = renames.count;
    if (!error)
        error = link_run(link);
    free(arguments.at);
    free(renames.at);
    return error;
}

/* Makes the patch that the command line asks for. */
static struct crateld_error *run_diff(struct link_options *link, char *const *names, size_t count,
                                      struct on_change *changes)
{
    struct diff_module *modules AUTO_FREE = diff_name_modules(names, count);
    if (!modules)
        return error_memory();
    on_change_apply(changes, link);
    TRY(diff_modules(link, modules, count));
    struct crateld_error *error = on_change_check(changes);
    if (error)
        (void)unlink(link->output);
    else
        on_change_print(changes);
    return error;
}

/* Parses the options; whether the command is to go on, with *status if not. */
static bool parse(int argc, char **argv, struct link_options *link, struct on_change *changes, int *status)
{
    struct crateld_error *error = NULL;
    *status = EXIT_STATUS_USAGE;
    for (int option; (option = getopt_long(argc, argv, "o:Sh", options, NULL)) >= 0 && !error;) {
        if (option == 'o') {
            link->output = optarg;
        } else if (option == 'S') {
            link->is_strip_debug = true;
        } else if (option == 't') {
            link->show_times = true;
        } else if (option == 'c') {
            error = on_change_add(changes, optarg);
        } else if (option == 'f') {
            changes->is_forced = true;
        } else {
            *status = option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
            fputs(usage, option == 'h' ? stdout : stderr);
            return false;
        }
    }
    if (error) {
        (void)command_failed(error);
        return false;
    }
    if (link->output && argc - optind >= 2)
        return true;
    fprintf(stderr, "crateld: diff: %s\n%s",
            link->output ? "wanted a crate and modules" : "no output file: -o fix.patch", usage);
    return false;
}

int cmd_diff(int argc, char **argv)
{
    struct link_options link = {.collect_garbage = true};
    struct on_change changes = {0};
    int status;
    if (parse(argc, argv, &link, &changes, &status)) {
        link.base = argv[optind];
        struct crateld_error *error = run_diff(&link, argv + optind + 1, (size_t)(argc - optind - 1), &changes);
        status = error ? command_failed(error) : EXIT_STATUS_DONE;
    }
    on_change_deinit(&changes);
    return status;
}

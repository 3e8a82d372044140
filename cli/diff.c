/* crateld diff: makes a patch for a crate of recompiled modules. */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "cli/changed.h"
#include "cli/commands.h"
#include "cli/diff.h"
#include "cli/on_change.h"
#include "cli/operand.h"

static const char usage[] = "usage: crateld diff -o FIX.patch [options] APP.crate MODULE.o...\n"
                            "       crateld diff -o FIX.patch [options] APP.crate NEW.crate\n"
                            "       crateld diff -o FIX.patch [options] --changed APP.crate\n"
                            "Makes a patch: what changes in the crate when the modules are these; or those from which "
                            "NEW.crate, a later build of it, was\n"
                            "linked; or those whose objects are not what the crate was linked from any more. A module "
                            "is known by the path from which it\n"
                            "was linked, or else by its file's name; OLD=MODULE.o says of which it is a new version.\n"
                            "One that the crate does not have is new, if others are named that use it.\n"
                            "`crateld run --patch FIX.patch APP.crate` runs the crate with the patch in effect, "
                            "`crateld apply` puts it into its file.\n"
                            "  -o, --output FILE  the patch to be written\n"
                            "  --changed          take the modules whose objects have changed\n"
                            "  -S, --strip-debug  leave out debug information\n"
                            "  --on-change VARIABLE=POLICY, --force  as for crateld reload\n"
                            "  --time-passes      say how long each pass took\n"
                            "  -h, --help         show this\n";

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'}, {"changed", no_argument, NULL, 'n'},
    {"strip-debug", no_argument, NULL, 'S'},  {"on-change", required_argument, NULL, 'c'},
    {"force", no_argument, NULL, 'f'},        {"time-passes", no_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},         {0},
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

struct crateld_error *diff_opened(struct link_options *link, const struct link_base *next, bool is_all, bool *ret)
{
    struct changed changed;
    changed_init(&changed);
    struct crateld_error *error =
        next ? changed_between(&changed, link->opened_base, next, is_all) : changed_find(&changed, link->opened_base);
    *ret = changed.modules.count;
    link->arguments = changed.modules.at;
    link->argument_count = changed.modules.count;
    link->adds_modules = next;
    if (!error && *ret)
        error = link_run(link);
    changed_deinit(&changed);
    return error;
}

struct crateld_error *diff_changed(struct link_options *link, const char *base_path, const char *name,
                                   const char *next_path, bool *ret)
{
    struct link_base base = {0}, next = {0};
    link->opened_base = &base;
    struct crateld_error *error = link_base_open(base_path, name, &base);
    if (!error && next_path)
        error = link_base_open(next_path, next_path, &next);
    if (!error)
        error = diff_opened(link, next_path ? &next : NULL, false, ret);
    link->opened_base = NULL;
    link_base_close(&base);
    link_base_close(&next);
    return error;
}

/* What the command line asks for. */
struct diff {
    struct link_options link;
    struct on_change changes;
    bool is_changed; /* --changed */
};

/* Makes the patch of whole crates, or of what changed: there must be something. */
static struct crateld_error *diff_whole(struct link_options *link, const char *base, const char *next)
{
    bool is_any = false;
    struct crateld_error *error = diff_changed(link, base, base, next, &is_any);
    if (error || is_any)
        return error;
    return next ? error_create(CRATELD_ERROR_NOT_FOUND, "%s: was linked from the same modules as %s", next, base)
                : error_create(CRATELD_ERROR_NOT_FOUND, "%s: no object that it was linked from has changed", base);
}

/* Makes the patch for the crate operands[0] of the modules behind it. */
static struct crateld_error *diff_named(struct link_options *link, char *const *operands, size_t count)
{
    struct diff_module *modules AUTO_FREE = diff_name_modules(operands + 1, count - 1);
    link->base = operands[0];
    return modules ? diff_modules(link, modules, count - 1) : error_memory();
}

/* Makes the patch that the command line asks for. */
static struct crateld_error *run_diff(struct diff *diff, char *const *operands, size_t count)
{
    bool is_whole = diff->is_changed || (count == 2 && operand_kind_of(operands[1]) != OPERAND_MODULE);
    on_change_apply(&diff->changes, &diff->link);
    if (is_whole)
        TRY(diff_whole(&diff->link, operands[0], diff->is_changed ? NULL : operands[1]));
    else
        TRY(diff_named(&diff->link, operands, count));
    struct crateld_error *error = on_change_check(&diff->changes);
    if (error)
        (void)unlink(diff->link.output);
    else
        on_change_print(&diff->changes);
    return error;
}

/* Parses the options; whether the command is to go on, with *status if not. */
static bool parse(int argc, char **argv, struct diff *diff, int *status)
{
    struct crateld_error *error = NULL;
    *status = EXIT_STATUS_USAGE;
    for (int option; (option = getopt_long(argc, argv, "o:Sh", options, NULL)) >= 0 && !error;) {
        if (option == 'o') {
            diff->link.output = optarg;
        } else if (option == 'n') {
            diff->is_changed = true;
        } else if (option == 'S') {
            diff->link.is_strip_debug = true;
        } else if (option == 't') {
            diff->link.show_times = true;
        } else if (option == 'c') {
            error = on_change_add(&diff->changes, optarg);
        } else if (option == 'f') {
            diff->changes.is_forced = true;
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
    int count = argc - optind;
    if (diff->link.output && (diff->is_changed ? count == 1 : count >= 2))
        return true;
    const char *wanted = diff->is_changed ? "wanted a crate, and nothing else" : "wanted a crate and modules";
    fprintf(stderr, "crateld: diff: %s\n%s", diff->link.output ? wanted : "no output file: -o fix.patch", usage);
    return false;
}

int cmd_diff(int argc, char **argv)
{
    struct diff diff = {.link.collect_garbage = true};
    int status;
    if (parse(argc, argv, &diff, &status)) {
        struct crateld_error *error = run_diff(&diff, argv + optind, (size_t)(argc - optind));
        status = error ? command_failed(error) : EXIT_STATUS_DONE;
    }
    on_change_deinit(&diff.changes);
    return status;
}

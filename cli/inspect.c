/* crateld inspect: what is in crate files, and in a live process's crates. */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory_stream.h"
#include "base/vec.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/crate_graph.h"
#include "cli/graph_draw.h"
#include "cli/inspect_crate.h"
#include "cli/process_crates.h"
#include "cli/report.h"

static const char usage[] = "usage: crateld inspect [options] FILE.crate... | PID\n"
                            "Shows what is in crate files, or in the crates of a running process.\n"
                            "  --header --segments --needed --imports --exports --toc --stubs --modules --fixups\n"
                            "  --functions --members --patch\n"
                            "                 show only this; several may be given\n"
                            "  --all          show everything\n"
                            "  --json         write JSON, of everything unless less was asked for\n"
                            "  --dot, --svg   write the graph of the crates and what they need, for Graphviz or as a\n"
                            "                 picture\n"
                            "  -h, --help     show this\n";

struct inspect_opts {
    unsigned parts; /* enum inspect_part; 0: what is usual */
    bool is_json;
    bool has_check;
    bool is_dot, is_svg;
};

enum { OPTION_JSON = 1 << 16, OPTION_CHECK, OPTION_DOT, OPTION_SVG }; /* above all parts */

static const struct option options[] = {
    {"header", no_argument, NULL, INSPECT_HEADER},
    {"segments", no_argument, NULL, INSPECT_SEGMENTS},
    {"needed", no_argument, NULL, INSPECT_NEEDED},
    {"imports", no_argument, NULL, INSPECT_IMPORTS},
    {"exports", no_argument, NULL, INSPECT_EXPORTS},
    {"toc", no_argument, NULL, INSPECT_TOC},
    {"stubs", no_argument, NULL, INSPECT_STUBS},
    {"modules", no_argument, NULL, INSPECT_MODULES},
    {"fixups", no_argument, NULL, INSPECT_FIXUPS},
    {"functions", no_argument, NULL, INSPECT_FUNCTIONS},
    {"members", no_argument, NULL, INSPECT_MEMBERS},
    {"patch", no_argument, NULL, INSPECT_PATCH},
    {"all", no_argument, NULL, INSPECT_ALL},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"json", no_argument, NULL, OPTION_JSON},
    {"dot", no_argument, NULL, OPTION_DOT},
    {"svg", no_argument, NULL, OPTION_SVG},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static struct crateld_error *report_crate(struct report *report, const struct inspected_crate *crate, unsigned parts)
{
    report_begin_object(report, NULL, crate->path);
    report_string(report, "path", crate->path);
    TRY(inspect_crate(report, crate, parts));
    report_end_object(report);
    return NULL;
}

static struct crateld_error *report_file(struct report *report, const char *path, const struct inspect_opts *opts,
                                         unsigned parts)
{
    struct inspected_crate crate = {0};
    TRY(inspected_crate_open(path, &crate));
    struct crateld_error *error = opts->has_check ? inspected_crate_check(&crate) : NULL;
    if (!error)
        error = report_crate(report, &crate, parts);
    inspected_crate_close(&crate);
    return error;
}

static void report_line(void *context, const char *line, size_t size)
{
    struct report *report = context;
    char text[512];
    snprintf(text, sizeof text, "%.*s", (int)size, line);
    report_row(report);
    report_string(report, "what", text);
}

/* What of superseded versions the process keeps, and why. */
static struct crateld_error *report_retained(struct report *report, pid_t pid)
{
    struct client client;
    struct crateld_error *error = client_open(pid, &client);
    report_begin_object(report, NULL, NULL);
    report_number(report, "process", (uint64_t)pid);
    report_begin_table(report, "retained", "Superseded versions");
    if (!error)
        error = client_retained(&client, report_line, report);
    report_end_table(report);
    report_end_object(report);
    client_close(&client);
    return error;
}

/* Processes in which modules were replaced. */
struct patched {
    VEC(pid_t) list;
};

static struct crateld_error *report_process(struct report *report, pid_t pid, unsigned parts, struct patched *patched)
{
    bool has_patches = false;
    struct process_crates *crates = NULL;
    TRY(process_crates_create(pid, &crates));
    struct crateld_error *error = NULL;
    const struct inspected_crate *crate;
    for (size_t i = 0; !error && (crate = process_crates_at(crates, i)); i++) {
        error = report_crate(report, crate, parts);
        has_patches |= !!(crate->view.header.flags & CRATE_FLAG_PATCH);
    }
    process_crates_destroy(crates);
    return error || !has_patches || VEC_PUSH(&patched->list, pid) ? error : error_memory();
}

/* Whether `argument` names a process: a number, and no file of that name is meant (./12 is one). Sets *ret.
 */
static bool is_pid(const char *argument, pid_t *ret)
{
    char *end;
    long number = strtol(argument, &end, 10);
    if (*argument < '0' || *argument > '9' || *end || number < 1 || number > INT_MAX)
        return false;
    *ret = (pid_t)number;
    return true;
}

static struct crateld_error *report_crates(struct report *report, char *const *arguments,
                                           const struct inspect_opts *opts, unsigned parts, struct patched *patched)
{
    report_begin_list(report, "crates");
    for (; *arguments; arguments++) {
        pid_t pid;
        if (is_pid(*arguments, &pid))
            TRY(report_process(report, pid, parts, patched));
        else
            TRY(report_file(report, *arguments, opts, parts));
    }
    report_end_list(report);
    return NULL;
}

static struct crateld_error *report_patched(struct report *report, const struct patched *patched)
{
    report_begin_list(report, "processes");
    for (size_t i = 0; i < patched->list.count; i++)
        TRY(report_retained(report, patched->list.at[i]));
    report_end_list(report);
    return NULL;
}

static struct crateld_error *inspect_all(struct report *report, char *const *arguments, const struct inspect_opts *opts)
{
    unsigned usual = opts->is_json ? INSPECT_ALL : INSPECT_USUAL, parts = opts->parts ? opts->parts : usual;
    struct patched patched = {0};
    report_begin_object(report, NULL, NULL);
    struct crateld_error *error = report_crates(report, arguments, opts, parts, &patched);
    if (!error && parts & INSPECT_PATCH)
        error = report_patched(report, &patched);
    free(patched.list.at);
    if (error)
        return error;
    report_end_object(report);
    return report_finish(report);
}

static struct crateld_error *write_report(char *const *arguments, const struct inspect_opts *opts, FILE *stream)
{
    struct report *report = NULL;
    TRY(report_create(stream, opts->is_json, &report));
    struct crateld_error *error = inspect_all(report, arguments, opts);
    report_destroy(report);
    return error;
}

static struct crateld_error *write_graph(char *const *arguments, const struct inspect_opts *opts, FILE *stream)
{
    size_t count = 0;
    while (arguments[count])
        count++;
    pid_t *pids AUTO_FREE = calloc(count + 1, sizeof *pids);
    if (!pids)
        return error_memory();
    for (size_t i = 0; i < count; i++)
        if (!is_pid(arguments[i], &pids[i]))
            pids[i] = 0;
    struct crate_graph graph = {0};
    TRY(crate_graph_make(arguments, pids, count, &graph));
    struct crateld_error *error = NULL;
    if (opts->is_dot)
        graph_write_dot(&graph, stream);
    else
        error = graph_write_svg(&graph, stream);
    crate_graph_deinit(&graph);
    return error;
}

/* Writes what is wanted of `arguments` to stdout, once it is complete: an error leaves no half of it. */
static struct crateld_error *inspect(char *const *arguments, const struct inspect_opts *opts)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return error_memory();
    bool is_graph = opts->is_dot || opts->is_svg;
    struct crateld_error *error =
        is_graph ? write_graph(arguments, opts, stream) : write_report(arguments, opts, stream);
    if (!memory_stream_close(stream, &text) && !error)
        error = error_memory();
    if (!error && (fwrite(text, 1, size, stdout) != size || fflush(stdout)))
        error = error_create(CRATELD_ERROR_IO, "cannot write to stdout");
    free(text);
    return error;
}

int cmd_inspect(int argc, char **argv)
{
    struct inspect_opts opts = {0};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) >= 0;) {
        if (option == '?') {
            fputs(usage, stderr);
            return EXIT_STATUS_USAGE;
        }
        if (option == 'h') {
            fputs(usage, stdout);
            return EXIT_STATUS_DONE;
        }
        if (option == OPTION_JSON)
            opts.is_json = true;
        else if (option == OPTION_CHECK)
            opts.has_check = true;
        else if (option == OPTION_DOT)
            opts.is_dot = true;
        else if (option == OPTION_SVG)
            opts.is_svg = true;
        else
            opts.parts |= (unsigned)option;
    }
    if (optind == argc) {
        fputs(usage, stderr);
        return EXIT_STATUS_USAGE;
    }
    if (opts.is_dot + opts.is_svg + (opts.is_json || opts.has_check || opts.parts) > 1) {
        fputs("crateld: --dot and --svg stand alone: wanted one of them, or what to show\n", stderr);
        return EXIT_STATUS_USAGE;
    }
    struct crateld_error *error = inspect(argv + optind, &opts);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}

/* crateld bundle: many crates in one. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/tool_path.h"
#include "linker/link.h"

static const char usage[] =
    "usage: crateld bundle [options] -o FILE CRATE...\n"
    "\n"
    "Makes one crate of many, laid out anew. The first one is what the bundle is for those who run it or need it; the "
    "order\n"
    "of the others does not matter, and crates that are not named are looked for when the bundle is run.\n"
    "\n"
    "  -o, --output FILE     the bundle to be written (required)\n"
    "      --order FILE      functions in the order of their first calls, as `crateld run --trace FILE` writes it\n"
    "      --interpreter PATH\n"
    "                        what the kernel runs the bundle with (default: the crateld-exec beside this program)\n"
    "      --strip-debug     leave out which lines of source the code is of\n"
    "      --map FILE        write what went where (- is standard output)\n"
    "      --fatal-warnings  treat warnings as errors\n"
    "      --time-passes     say how long each pass took\n"
    "  -h, --help            show this\n";

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'},
    {"order", required_argument, NULL, 'O'},
    {"interpreter", required_argument, NULL, 'I'},
    {"strip-debug", no_argument, NULL, 'S'},
    {"map", required_argument, NULL, 'M'},
    {"fatal-warnings", no_argument, NULL, 'F'},
    {"time-passes", no_argument, NULL, 'T'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* 0, or the exit status + 1. */
static int parse(int argc, char **argv, struct link_options *ret)
{
    for (int option; (option = getopt_long(argc, argv, "o:h", options, NULL)) >= 0;) {
        switch (option) {
        case 'o':
            ret->output = optarg;
            break;
        case 'O':
            ret->order = optarg;
            break;
        case 'I':
            ret->interpreter = optarg;
            break;
        case 'S':
            ret->is_strip_debug = true;
            break;
        case 'M':
            ret->map_path = optarg;
            break;
        case 'F':
            ret->is_fatal_warnings = true;
            break;
        case 'T':
            ret->show_times = true;
            break;
        default:
            fputs(usage, option == 'h' ? stdout : stderr);
            return 1 + (option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE);
        }
    }
    if (!ret->output || optind == argc) {
        fprintf(stderr, "crateld: bundle: %s\n%s", ret->output ? "no crates are named" : "no output file: -o app.crate",
                usage);
        return 1 + EXIT_STATUS_USAGE;
    }
    ret->bundled = (const char *const *)argv + optind;
    ret->bundled_count = (size_t)(argc - optind);
    return 0;
}

int cmd_bundle(int argc, char **argv)
{
    struct link_options link = {.entry = "main", .keep_relink = true, .allow_undefined = true};
    int status = parse(argc, argv, &link);
    if (status)
        return status - 1;
    char *interpreter = NULL;
    struct crateld_error *error = link.interpreter ? NULL : tool_path("crateld-exec", &interpreter);
    if (!link.interpreter)
        link.interpreter = interpreter;
    if (!error)
        error = link_run(&link);
    free(interpreter);
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}

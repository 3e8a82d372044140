#define _GNU_SOURCE
#include "cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/log.h"
#include "loader/process.h"
#include "loader/start.h"

enum {
    EXIT_STATUS_FAILED = 1,
    EXIT_STATUS_USAGE = 2,
    EXIT_NOT_FOUND = 127,
};

static const char usage[] =
    "usage: crateld run [--path FOLDER]... [--as NAME=FILE]... [--patch FILE]... [--fresh]\n"
    "                   [--watch [--compile COMPILE_COMMANDS.json [--tiered]]] [--bind-now] [--aslr] "
    "[--argv0 NAME] CRATE [ARGUMENT]...\n";

static int usage_error(const char *message, const char *option)
{
    fprintf(stderr, "crateld: run: %s '%s'\n%s", message, option, usage);
    return EXIT_STATUS_USAGE;
}

/* What the command line says. */
struct run_options {
    struct process_opts process;
    const char **paths;   /* owned; the process's */
    const char **aliases; /* likewise */
    const char **patches; /* likewise */
    const char *argv0;    /* NULL: the crate's path */
    int crate;            /* index of the crate in argv */
};

/* The value of the option at *i, which is `name`: "--name VALUE" or "--name=VALUE"; NULL if it is not that option. An
 * option without a value yields "". */
static const char *option_value(int argc, char **argv, int *i, const char *name)
{
    size_t length = strlen(name);
    if (strncmp(argv[*i], name, length) != 0)
        return NULL;
    if (argv[*i][length] == '=')
        return argv[*i] + length + 1;
    if (argv[*i][length])
        return NULL;
    return *i + 1 < argc ? argv[++*i] : "";
}

/* Parses up to the crate; 0, or the exit status. */
static int parse(int argc, char **argv, int first, struct run_options *ret)
{
    const char *value;
    int i;
    for (i = first; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (strcmp(argv[i], "--bind-now") == 0) {
            ret->process.binds_now = true;
        } else if (strcmp(argv[i], "--fresh") == 0) {
            ret->process.is_fresh = true;
        } else if (strcmp(argv[i], "--watch") == 0) {
            ret->process.is_watched = true;
        } else if (strcmp(argv[i], "--aslr") == 0) {
            ret->process.has_aslr = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if ((value = option_value(argc, argv, &i, "--path"))) {
            if (!*value)
                return usage_error("no folder follows", "--path");
            ret->paths[ret->process.path_count++] = value;
        } else if ((value = option_value(argc, argv, &i, "--as"))) {
            if (!strchr(value, '=') || *value == '=')
                return usage_error("wanted NAME=FILE behind --as, found", value);
            ret->aliases[ret->process.alias_count++] = value;
        } else if ((value = option_value(argc, argv, &i, "--patch"))) {
            if (!*value)
                return usage_error("no file follows", "--patch");
            ret->patches[ret->process.patch_count++] = value;
        } else if (strcmp(argv[i], "--tiered") == 0) {
            ret->process.is_tiered = true;
        } else if ((value = option_value(argc, argv, &i, "--compile"))) {
            if (!*value)
                return usage_error("no file follows", "--compile");
            ret->process.compile_commands = value;
        } else if ((value = option_value(argc, argv, &i, "--argv0"))) {
            ret->argv0 = value;
        } else {
            return usage_error("unknown option", argv[i]);
        }
    }
    if (i >= argc)
        return usage_error("no crate is named behind", argv[argc - 1]);
    if (ret->process.compile_commands && !ret->process.is_watched)
        return usage_error("only with --watch:", "--compile");
    if (ret->process.is_tiered && !ret->process.compile_commands)
        return usage_error("only with --compile:", "--tiered");
    ret->crate = i;
    ret->process.paths = ret->paths;
    ret->process.aliases = ret->aliases;
    ret->process.patches = ret->patches;
    return 0;
}

/* Prints the error; the exit status that fits it. */
static int report(struct crateld_error *error)
{
    enum crateld_error_code code = crateld_error_code(error);
    fprintf(stderr, "crateld: %s\n", crateld_error_message(error));
    crateld_error_destroy(error);
    return code == CRATELD_ERROR_NOT_FOUND || code == CRATELD_ERROR_UNDEFINED ? EXIT_NOT_FOUND : EXIT_STATUS_FAILED;
}

int run_command(int argc, char **argv, int index, char **envp)
{
    static struct process process; /* lives as long as the program that is run */
    struct run_options options = {0};
    options.paths = calloc((size_t)argc, sizeof *options.paths);
    options.aliases = calloc((size_t)argc, sizeof *options.aliases);
    options.patches = calloc((size_t)argc, sizeof *options.patches);
    if (!options.paths || !options.aliases || !options.patches)
        return report(error_memory());
    int status = parse(argc, argv, index + 1, &options);
    if (status) {
        free(options.paths);
        free(options.aliases);
        free(options.patches);
        return status;
    }
    log_init();
    options.process.env_path = secure_getenv("CRATELD_PATH");
    options.process.env_library_path = secure_getenv("LD_LIBRARY_PATH");
    process_init(&process, &options.process);
    struct start_args args = {
        .argc = argc - options.crate,
        .argv = argv + options.crate,
        .envp = envp,
        .own_argv = argv,
    };
    args.name = options.argv0 ? options.argv0 : args.argv[0];
    return report(start_program(&process, args.argv[0], &args));
}

/* crateld strip: makes crate files smaller. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/commands.h"
#include "crate/strip.h"

static const char usage[] =
    "usage: crateld strip [options] FILE.crate...\n"
    "Removes what running a crate does not need: the relink section, symbols, debug information.\n"
    "A crate without its relink section can not be reloaded. Its build id stays.\n"
    "  --relink-only    remove only the relink section\n"
    "  --debug-only     remove only debug information\n"
    "  -o, --output OUT write OUT and leave the file as it is; for one file\n"
    "  -h, --help       show this\n";

static const struct option options[] = {
    {"relink-only", no_argument, NULL, 'r'},
    {"debug-only", no_argument, NULL, 'd'},
    {"output", required_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* Says what was saved in `path`. */
static void report_saved(const char *path, uint64_t size, const struct crate_stripped *stripped)
{
    int64_t saved = (int64_t)(size - stripped->size);
    printf("%s: %zu bytes, %" PRId64 " saved (%.1f %%): relink section %" PRIu64 ", symbols %" PRIu64
           ", debug information %" PRIu64 "\n",
           path, stripped->size, saved, size ? 100.0 * (double)saved / (double)size : 0.0, stripped->relink_size,
           stripped->symbols_size, stripped->debug_size);
}

/* Writes the stripped `file` to `output`, with the permissions that `file` has. */
static struct crateld_error *write_stripped(const struct file *file, const char *output, unsigned what)
{
    struct crate_stripped stripped = {0};
    struct stat status;
    if (stat(file->path, &status) < 0)
        return error_errno(errno, "%s: cannot stat", file->path);
    TRY(crate_strip(file->path, file->data, what, &stripped));
    struct crateld_error *error = file_write(output, stripped.bytes, stripped.size, status.st_mode & 0777);
    if (!error)
        report_saved(output, file->data.size, &stripped);
    free(stripped.bytes);
    return error;
}

static struct crateld_error *strip_path(const char *path, const char *output, unsigned what)
{
    struct file file = {0};
    TRY(file_open(path, &file));
    struct crateld_error *error = write_stripped(&file, output ? output : path, what);
    file_close(&file);
    return error;
}

int cmd_strip(int argc, char **argv)
{
    unsigned what = 0;
    const char *output = NULL;
    for (int option; (option = getopt_long(argc, argv, "o:h", options, NULL)) >= 0;) {
        if (option == 'r')
            what |= CRATE_STRIP_RELINK;
        else if (option == 'd')
            what |= CRATE_STRIP_DEBUG;
        else if (option == 'o')
            output = optarg;
        else {
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? EXIT_STATUS_DONE : EXIT_STATUS_USAGE;
        }
    }
    if (optind == argc || (output && optind + 1 != argc)) {
        fputs(usage, stderr);
        return EXIT_STATUS_USAGE;
    }
    struct crateld_error *error = NULL;
    for (; optind < argc; optind++)
        error = error_join(error, strip_path(argv[optind], output, what ? what : CRATE_STRIP_ALL));
    return error ? command_failed(error) : EXIT_STATUS_DONE;
}

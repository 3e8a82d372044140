#define _GNU_SOURCE
#include "cli/tool.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit_status.h"

/* One row a command. */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"cc", cc_command},
    {"c++", cxx_command},
};

int tool_report(struct crateld_error *error)
{
    bool is_usage = crateld_error_code(error) == CRATELD_ERROR_USAGE;
    fprintf(stderr, "crateld: %s\n", crateld_error_message(error));
    crateld_error_destroy(error);
    return is_usage ? EXIT_STATUS_USAGE : EXIT_STATUS_FAILED;
}

struct crateld_error *tool_path(const char *name, char **ret)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return error_errno(errno, "/proc/self/exe: cannot read");
    self[length] = 0;
    char *slash = strrchr(self, '/');
    char *path;
    if (asprintf(&path, "%.*s/%s", slash ? (int)(slash - self) : 0, self, name) < 0)
        return error_memory();
    *ret = path;
    return NULL;
}

struct crateld_error *tool_execute(const char *path, char *const *argv)
{
    execvp(path, argv);
    if (errno == ENOENT)
        return error_create(CRATELD_ERROR_NOT_FOUND, "%s: not found", path);
    return error_errno(errno, "%s: cannot execute", path);
}

int main(int argc, char **argv)
{
    if (argc < 1)
        return EXIT_STATUS_USAGE;
    /* The compiler calls its assembler by name: a link to this program. */
    if (!strcmp(basename(argv[0]), "as"))
        return as_command(argc, argv);
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "crateld: no command '%s'; see 'crateld --help'\n", argc > 1 ? argv[1] : "");
    return EXIT_STATUS_USAGE;
}

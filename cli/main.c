/* crateld: the command. `run` works in this process; every other command is executed from another program,
 * crateld-tool, so that the libraries which it needs are not loaded where crates run. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/exit_status.h"
#include "cli/run.h"

/* Commands of crateld-tool, for --help. */
static const struct {
    const char *name, *summary;
} tool_commands[] = {
    {"cc", "compile C: gcc, making TOC code; use it as CC"},
    {"c++", "compile C++: g++, making TOC code; use it as CXX"},
    {"ld", "link with the command line of ld; compilers and build systems use it"},
    {"link", "link objects, archives and libraries into a crate"},
    {"diff", "make a patch for a crate of recompiled modules"},
    {"apply", "bring a crate's file up to date by patches"},
    {"reload", "replace modules of a running process"},
    {"watch", "replace modules of a running process as they are compiled"},
    {"check", "tell whether a reload would be possible"},
    {"rollback", "take back a running process's last reload"},
    {"trace", "show what happens to a running process's crates"},
    {"ps", "list the processes that run crates"},
    {"where", "tell functions and source lines of addresses"},
    {"export", "make an ELF library of what a crate exports"},
    {"inspect", "print what a crate, or a running process, holds"},
    {"stub", "make a crate that stands for an ELF library"},
    {"strip", "remove a crate's relink section and symbols"},
};

static void print_help(void)
{
    puts("usage: crateld COMMAND [ARGUMENT]...\n"
         "       crateld --help | --version\n"
         "\n"
         "commands:\n"
         "  run      run a crate");
    for (size_t i = 0; i < sizeof tool_commands / sizeof *tool_commands; i++)
        printf("  %-8s %s\n", tool_commands[i].name, tool_commands[i].summary);
}

/* Executes crateld-tool from `folder`, which is relative to that of this program: "" or ends with a slash.
 * Returns only if that is not possible. */
static void execute_tool(const char *folder, char **argv)
{
    char self[PATH_MAX], path[2 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return;
    self[length] = 0;
    char *slash = strrchr(self, '/');
    snprintf(path, sizeof path, "%.*s/%scrateld-tool", slash ? (int)(slash - self) : 0, self, folder);
    execv(path, argv);
}

int main(int argc, char **argv, char **envp)
{
    if (argc < 2) {
        fprintf(stderr, "crateld: no command; see 'crateld --help'\n");
        return EXIT_STATUS_USAGE;
    }
    if (!strcmp(argv[1], "run"))
        return run_command(argc, argv, 1, envp);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "--version")) {
        if (!strcmp(argv[1], "--version"))
            puts("crateld " VERSION);
        else
            print_help();
        return fflush(stdout) || ferror(stdout) ? EXIT_STATUS_FAILED : EXIT_STATUS_DONE;
    }
    if (argv[1][0] == '-') {
        fprintf(stderr, "crateld: no option '%s'; see 'crateld --help'\n", argv[1]);
        return EXIT_STATUS_USAGE;
    }
    /* In the build folder it stands beside this program. */
    execute_tool("", argv);
    if (errno == ENOENT)
        execute_tool(TOOL_FOLDER "/", argv);
    fprintf(stderr, "crateld: crateld-tool: %s\n", errno == ENOENT ? "not found" : strerror(errno));
    return EXIT_STATUS_NOT_FOUND;
}

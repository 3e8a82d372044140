/* `crateld cc` and `crateld c++`: the user's compiler, making TOC code.
 *
 * What has to be different is said in a specs file for gcc (toc.specs), so that the compiler's own driver
 * decides what it applies to: every input, option and temporary file is treated as ever, and this program is
 * gone once the compiler runs. gcc's manual, "Specifying Subprocesses and the Switches to Pass to Them".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "cli/tool_path.h"

/* Arguments for a program; strings are borrowed. */
struct arguments {
    VEC(char *) list;
};

/* Splits `words` at blanks, in place, and appends them. */
static bool append_words(struct arguments *arguments, char *words)
{
    char *rest = words, *word;
    while ((word = strsep(&rest, " \t")))
        if (*word && !VEC_PUSH(&arguments->list, word))
            return false;
    return true;
}

/* Whether a compiler's name, or the first line of its `--version`, is clang's. */
static bool is_clang_text(const char *text)
{
    return strcasestr(text, "clang") != NULL;
}

/* Runs `argv` --version, and sets *ret to whether clang answers. */
static struct crateld_error *ask_compiler(const struct arguments *compiler, bool *ret)
{
    struct arguments question AUTO_FREE = {0};
    static char version[] = "--version";
    for (size_t i = 0; i < compiler->list.count; i++)
        if (!VEC_PUSH(&question.list, compiler->list.at[i]))
            return error_memory();
    if (!VEC_PUSH(&question.list, version) || !VEC_PUSH(&question.list, NULL))
        return error_memory();
    int ends[2];
    if (pipe(ends) < 0)
        return error_errno(errno, "pipe");
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return error_errno(errno, "fork");
    }
    if (!child) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(question.list.at[0], question.list.at);
        _exit(127);
    }
    close(ends[1]);
    char answer[4096];
    size_t size = 0;
    ssize_t count;
    while (size < sizeof answer - 1 && (count = read(ends[0], answer + size, sizeof answer - 1 - size)) > 0)
        size += (size_t)count;
    answer[size] = 0;
    close(ends[0]);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
    *ret = is_clang_text(answer);
    return NULL;
}

/* Sets *ret to whether the compiler is clang, by its name or, where that says nothing, by asking it. */
static struct crateld_error *is_clang(const struct arguments *compiler, bool *ret)
{
    const char *name = basename(compiler->list.at[compiler->list.count - 1]);
    *ret = is_clang_text(name);
    if (*ret || strstr(name, "gcc") || strstr(name, "g++"))
        return NULL;
    return ask_compiler(compiler, ret);
}

/* Puts gcc's options for TOC code into `arguments`; their strings go to *folder and *specs, which the caller
 * frees. */
static struct crateld_error *append_toc_options(struct arguments *arguments, char **folder, char **specs)
{
    char *path AUTO_FREE = NULL;
    TRY(tool_path("", &path));
    if (asprintf(folder, "-B%s", path) < 0) {
        *folder = NULL;
        return error_memory();
    }
    if (asprintf(specs, "-specs=%stoc.specs", path) < 0) {
        *specs = NULL;
        return error_memory();
    }
    if (!VEC_PUSH(&arguments->list, *folder) || !VEC_PUSH(&arguments->list, *specs))
        return error_memory();
    return NULL;
}

/* Appends the user's arguments; -fuse-ld=crateld is our own, and becomes a folder in which gcc finds its linker. */
static struct crateld_error *append_user_arguments(struct arguments *arguments, int argc, char **argv, char **folder)
{
    for (int i = 1; i < argc; i++) {
        char *argument = argv[i];
        if (!strcmp(argument, "-fuse-ld=crateld")) {
            char *path AUTO_FREE = NULL;
            TRY(tool_path("gcc-ld/", &path));
            free(STEAL_PTR(*folder));
            if (asprintf(folder, "-B%s", path) < 0) {
                *folder = NULL;
                return error_memory();
            }
            argument = *folder;
        }
        if (!VEC_PUSH(&arguments->list, argument))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *compile(const char *variable, const char *usual, int argc, char **argv)
{
    const char *chosen = getenv(variable);
    char *words AUTO_FREE = strdup(chosen && *chosen ? chosen : usual);
    char *folder AUTO_FREE = NULL;
    char *specs AUTO_FREE = NULL;
    char *ld_folder AUTO_FREE = NULL;
    struct arguments command = {0};
    if (!words || !append_words(&command, words))
        return error_memory();
    if (!command.list.count)
        return error_create(CRATELD_ERROR_USAGE, "%s names no compiler", variable);
    bool is_plain;
    TRY(is_clang(&command, &is_plain));
    if (is_plain)
        fprintf(stderr, "crateld: note: clang can not reserve %%r15: making plain code\n");
    else
        TRY(append_toc_options(&command, &folder, &specs));
    TRY(append_user_arguments(&command, argc, argv, &ld_folder));
    if (!VEC_PUSH(&command.list, NULL))
        return error_memory();
    return tool_execute(command.list.at[0], command.list.at);
}

int cmd_cc(int argc, char **argv)
{
    return command_failed(compile("CRATELD_CC", "gcc", argc, argv));
}

int cmd_cxx(int argc, char **argv)
{
    return command_failed(compile("CRATELD_CXX", "g++", argc, argv));
}

#define _GNU_SOURCE
#include "loader/fresh.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "loader/carried.h"

/* One crate of which a patch is made. */
struct refreshed {
    struct loaded_crate *crate;
    int fd; /* of the patch's file; owned until it is adopted */
};

struct refreshing {
    VEC(struct refreshed) crates;
    char **arguments; /* owned, as are those behind the first two; NULL-terminated */
};

static struct crateld_error *add_crate(struct refreshing *refreshing, struct loaded_crate *crate)
{
    struct refreshed refreshed = {.crate = crate};
    size_t count = refreshing->crates.count;
    if (!image_reopen_file(crate))
        return error_create(CRATELD_ERROR_IO, "%s: was replaced while it was being loaded", crate->path);
    TRY(carried_make_file(crate, &refreshed.fd));
    if (!VEC_PUSH(&refreshing->crates, refreshed)) {
        close(refreshed.fd);
        return error_memory();
    }
    char **place = &refreshing->arguments[2 + count];
    if (asprintf(place, "%d:%d:%s", crate->fd, refreshed.fd, crate->path) >= 0)
        return NULL;
    *place = NULL;
    return error_memory();
}

/* Crates without a relink section are as they were linked, but for the program itself that is an error. */
static struct crateld_error *add_crates(struct refreshing *refreshing, struct process *process)
{
    static char program[] = "crateld", command[] = "refresh";
    size_t count = process->crates.count;
    refreshing->arguments = calloc(count + 3, sizeof *refreshing->arguments);
    if (!refreshing->arguments)
        return error_memory();
    refreshing->arguments[0] = program;
    refreshing->arguments[1] = command;
    for (size_t i = 0; i < count; i++) {
        struct loaded_crate *crate = process->crates.at[i];
        bool has_relink = crate->view.header.flags & CRATE_FLAG_HAS_RELINK;
        if (!i && !has_relink)
            return error_create(
                CRATELD_ERROR_UNSUPPORTED,
                "%s: has no relink section (it was stripped, or linked with --no-relink): what has changed "
                "can not be told",
                crate->path);
        if (has_relink)
            TRY(add_crate(refreshing, crate));
    }
    return NULL;
}

/* In the child: the descriptors go on to the command, and what it says to standard error, for the output is the
 * program's. */
static _Noreturn void run_command(const struct refreshing *refreshing)
{
    for (size_t i = 0; i < refreshing->crates.count; i++) {
        (void)fcntl(refreshing->crates.at[i].fd, F_SETFD, 0);
        (void)fcntl(refreshing->crates.at[i].crate->fd, F_SETFD, 0);
    }
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execv("/proc/self/exe", refreshing->arguments); /* which knows where the tool is */
    _exit(127);
}

static struct crateld_error *make_patches(const struct refreshing *refreshing, const char *program)
{
    int status = 0;
    pid_t child = fork();
    if (!child)
        run_command(refreshing);
    while (child >= 0 && waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            child = -1;
    if (child < 0)
        return error_errno(errno, "cannot start crateld refresh");
    return WIFEXITED(status) && !WEXITSTATUS(status)
               ? NULL
               : error_create(CRATELD_ERROR_MISMATCH, "%s: can not be brought up to date", program);
}

static struct crateld_error *adopt_patches(struct refreshing *refreshing, struct process *process)
{
    for (size_t i = 0; i < refreshing->crates.count; i++) {
        struct refreshed *refreshed = &refreshing->crates.at[i];
        struct stat status;
        int fd = refreshed->fd;
        if (fstat(fd, &status) != 0 || !status.st_size)
            continue;
        refreshed->fd = -1;
        struct crateld_error *error = carried_adopt(process, refreshed->crate, fd);
        if (error)
            return error_prefix(error, "%s", refreshed->crate->path);
    }
    return NULL;
}

struct crateld_error *fresh_load(struct process *process)
{
    struct refreshing refreshing = {0};
    struct crateld_error *error = add_crates(&refreshing, process);
    if (!error)
        error = make_patches(&refreshing, process->crates.at[0]->path);
    if (!error)
        error = adopt_patches(&refreshing, process);
    for (size_t i = 0; i < refreshing.crates.count; i++) {
        if (refreshing.crates.at[i].fd >= 0)
            close(refreshing.crates.at[i].fd);
        free(refreshing.arguments[2 + i]);
    }
    free(refreshing.arguments);
    free(refreshing.crates.at);
    return error;
}

#define _GNU_SOURCE
#include "cli/tool_path.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

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

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Whether the program at `path`, in the folder of `folder_length` bytes, is this one, or another build of it: two that
 * took each other for the real one would never end. */
static struct crateld_error *is_own(const char *path, int folder_length, bool *ret)
{
    static const char *const folders[] = {"", "/.."};
    *ret = is_same_file(path, "/proc/self/exe");
    for (size_t i = 0; i < sizeof folders / sizeof *folders && !*ret; i++) {
        char *tool;
        if (asprintf(&tool, "%.*s%s/crateld-tool", folder_length, path, folders[i]) < 0)
            return error_memory();
        *ret = is_same_file(path, tool);
        free(tool);
    }
    return NULL;
}

static bool is_program(const char *path)
{
    struct stat status;
    return !stat(path, &status) && S_ISREG(status.st_mode) && !access(path, X_OK);
}

struct crateld_error *tool_find_other(const char *name, char **ret)
{
    const char *at = getenv("PATH");
    while (at && *at) {
        size_t length = strcspn(at, ":");
        char *path AUTO_FREE = NULL;
        bool is_ours = false;
        if (asprintf(&path, "%.*s/%s", (int)length, at, name) < 0) {
            path = NULL;
            return error_memory();
        }
        TRY(is_own(path, (int)length, &is_ours));
        if (!is_ours && is_program(path)) {
            *ret = STEAL_PTR(path);
            return NULL;
        }
        at += length + (at[length] == ':');
    }
    return error_create(CRATELD_ERROR_NOT_FOUND, "%s: there is no other program of this name in $PATH", name);
}

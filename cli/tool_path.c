#define _GNU_SOURCE
#include "cli/tool_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

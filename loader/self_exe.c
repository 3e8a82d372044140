#define _GNU_SOURCE
#include "loader/self_exe.h"

#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/current.h"

#define SELF_EXE "/proc/self/exe"

/* Whether the path is one of the names of this process's program. */
static bool is_self(const char *path)
{
    char own[32];
    if (!path || strncmp(path, "/proc/", 6) != 0 || !current_entry())
        return false;
    snprintf(own, sizeof own, "/proc/%d/exe", (int)getpid());
    return strcmp(path, SELF_EXE) == 0 || strcmp(path, "/proc/thread-self/exe") == 0 || strcmp(path, own) == 0;
}

/* Finds the path in a line of /proc/self/maps that begins with our base: "base-end perms offset device inode  path". */
static char *path_of_line(char *line, uint64_t base)
{
    char *end, *path = strchr(line, '/');
    if (strtoull(line, &end, 16) != base || *end != '-' || !path)
        return NULL;
    path[strcspn(path, "\n")] = 0;
    return path;
}

/* The absolute path of the entry crate, as the kernel knows it, wherever the file went; in `path`, of PATH_MAX bytes.
 * Nothing but system calls and the stack: this may be called between fork and exec. */
static bool find_own_path(char *path)
{
    const uint64_t base = (uint64_t)(uintptr_t)current_entry()->base;
    char buffer[PATH_MAX + 256];
    size_t have = 0;
    bool is_found = false;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (;;) {
        ssize_t got = read(fd, buffer + have, sizeof buffer - 1 - have);
        if (got <= 0 && !(got < 0 && errno == EINTR))
            break;
        have += got > 0 ? (size_t)got : 0;
        buffer[have] = 0;
        char *line = buffer, *next;
        while (!is_found && (next = strchr(line, '\n'))) {
            char *found = path_of_line(line, base);
            if (found) {
                snprintf(path, PATH_MAX, "%s", found);
                is_found = true;
            }
            line = next + 1;
        }
        if (is_found || (line == buffer && have == sizeof buffer - 1))
            break;
        have -= (size_t)(line - buffer);
        memmove(buffer, line, have + 1);
    }
    close(fd);
    return is_found;
}

ssize_t self_readlinkat(int folder, const char *path, char *at, size_t size)
{
    char own[PATH_MAX];
    if (!is_self(path) || !find_own_path(own))
        return readlinkat(folder, path, at, size);
    size_t length = strlen(own);
    if (length > size)
        length = size;
    memcpy(at, own, length);
    return (ssize_t)length;
}

ssize_t self_readlink(const char *path, char *at, size_t size)
{
    return self_readlinkat(AT_FDCWD, path, at, size);
}

extern void __chk_fail(void) __attribute__((noreturn)); /* libc's, of _FORTIFY_SOURCE */

ssize_t self_readlinkat_chk(int folder, const char *path, char *at, size_t size, size_t room)
{
    if (room < size)
        __chk_fail();
    return self_readlinkat(folder, path, at, size);
}

ssize_t self_readlink_chk(const char *path, char *at, size_t size, size_t room)
{
    return self_readlinkat_chk(AT_FDCWD, path, at, size, room);
}

char *self_realpath(const char *path, char *at)
{
    char own[PATH_MAX];
    return realpath(is_self(path) && find_own_path(own) ? own : path, at);
}

char *self_realpath_chk(const char *path, char *at, size_t room)
{
    if (at && room < PATH_MAX)
        __chk_fail();
    return self_realpath(path, at);
}

char *self_canonicalize(const char *path)
{
    return self_realpath(path, NULL);
}

/* Whether the path leads to the entry crate's file. */
static bool is_own_file(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && status.st_dev == current_entry()->device &&
           status.st_ino == current_entry()->inode;
}

/* Whether executing `path` means the entry crate: by the kernel's name, by the name that `crateld run` got, or as a
 * path of the same file. */
static bool means_self(const char *path)
{
    if (!path || !current_entry())
        return false;
    return is_self(path) || strcmp(path, current_entry()->path) == 0 || (strchr(path, '/') && is_own_file(path));
}

static size_t count_args(char *const argv[])
{
    size_t count = 0;
    while (argv && argv[count])
        count++;
    return count;
}

/* What `crateld run` was given, again: room for this many arguments besides the program's own. */
enum { RUN_ARGS = 10 };

/* Writes the argument vector of `crateld run` for the program's `argv` to `ret`. `own` is the crate's path. */
static void make_run_args(char **ret, const char *own, char *const argv[])
{
    const struct process_opts *opts = &current_process()->opts;
    size_t n = 0, count = count_args(argv);
    ret[n++] = (char *)"crateld";
    ret[n++] = (char *)"run";
    if (opts->binds_now)
        ret[n++] = (char *)"--bind-now";
    if (opts->has_aslr)
        ret[n++] = (char *)"--aslr";
    for (size_t i = 0; i < opts->path_count; i++) {
        ret[n++] = (char *)"--path";
        ret[n++] = (char *)opts->paths[i];
    }
    if (count) {
        ret[n++] = (char *)"--argv0";
        ret[n++] = argv[0];
    }
    ret[n++] = (char *)own;
    for (size_t i = 1; i < count; i++)
        ret[n++] = argv[i];
    ret[n] = NULL;
}

/* Declares `args`, on the stack: nothing is allocated, because this may run in a child that shares our memory. */
#define RUN_ARGS_OF(args, own, argv)                                                                                   \
    char **args = alloca((RUN_ARGS + 2 * current_process()->opts.path_count + count_args(argv)) * sizeof *args);       \
    make_run_args(args, own, argv)

/* Executes `crateld run` of the crate at `own`. */
static int execute_crate(const char *own, char *const argv[], char *const envp[])
{
    RUN_ARGS_OF(args, own, argv);
    return execve(SELF_EXE, args, envp);
}

/* The same where the crate's path is not known. Apart from its caller, because it needs much stack. */
static __attribute__((noinline)) int execute_found(const char *path, char *const argv[], char *const envp[])
{
    char own[PATH_MAX];
    return find_own_path(own) ? execute_crate(own, argv, envp) : execve(path, argv, envp);
}

/* Children that share our memory may have no more stack than GoogleTest gives to those of its death tests: 8 KiB. */
int self_execve(const char *path, char *const argv[], char *const envp[])
{
    if (!means_self(path))
        return execve(path, argv, envp);
    if (!is_self(path) && is_own_file(path))
        return execute_crate(path, argv, envp);
    if (is_own_file(current_entry()->path))
        return execute_crate(current_entry()->path, argv, envp);
    return execute_found(path, argv, envp);
}

int self_execv(const char *path, char *const argv[])
{
    return self_execve(path, argv, environ);
}

int self_execvpe(const char *file, char *const argv[], char *const envp[])
{
    return means_self(file) ? self_execve(file, argv, envp) : execvpe(file, argv, envp);
}

int self_execvp(const char *file, char *const argv[])
{
    return self_execvpe(file, argv, environ);
}

/* Declares `argv`: `first` and the variable arguments up to and with NULL; `args` is left behind them. */
#define ARGV_OF(argv, args, first)                                                                                     \
    va_list args;                                                                                                      \
    size_t argv##_count = 1;                                                                                           \
    va_start(args, first);                                                                                             \
    for (const char *arg_ = first; arg_; arg_ = va_arg(args, const char *))                                            \
        argv##_count++;                                                                                                \
    va_end(args);                                                                                                      \
    char **argv = alloca(argv##_count * sizeof *argv);                                                                 \
    va_start(args, first);                                                                                             \
    argv[0] = (char *)first;                                                                                           \
    for (size_t i_ = 1; i_ < argv##_count; i_++)                                                                       \
    argv[i_] = va_arg(args, char *)

int self_execl(const char *path, const char *arg, ...)
{
    ARGV_OF(argv, args, arg);
    va_end(args);
    return self_execve(path, argv, environ);
}

int self_execlp(const char *file, const char *arg, ...)
{
    ARGV_OF(argv, args, arg);
    va_end(args);
    return self_execvpe(file, argv, environ);
}

int self_execle(const char *path, const char *arg, ...)
{
    ARGV_OF(argv, args, arg);
    char *const *envp = va_arg(args, char *const *);
    va_end(args);
    return self_execve(path, argv, envp);
}

int self_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
               const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    char own[PATH_MAX];
    /* A relative path is looked up in the folder that the child is in by then: the kernel's business. */
    bool may_mean_another = actions && path && path[0] != '/';
    if (may_mean_another || !means_self(path) || !find_own_path(own))
        return posix_spawn(pid, path, actions, attributes, argv, envp);
    RUN_ARGS_OF(args, own, argv);
    return posix_spawn(pid, SELF_EXE, actions, attributes, args, envp);
}

int self_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    if (means_self(file))
        return self_spawn(pid, file, actions, attributes, argv, envp);
    return posix_spawnp(pid, file, actions, attributes, argv, envp);
}

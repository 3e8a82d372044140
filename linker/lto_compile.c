/* The run of the compiler over LTO objects: temporary files, the process, and signals. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/signals.h"
#include "base/vec.h"
#include "linker/lto.h"

static const char *const default_compiler[] = {"gcc", NULL};
static const char *const no_flags[] = {NULL};
static const char *const merge_flags[] = {"-r", "-flto", "-flinker-output=nolto-rel", "-nostdlib", NULL};

/* One run: its folder holds all temporary files, the compiler's own among them. */
struct run {
    char *dir;                   /* owned; malloc'ed name of an existing folder, or NULL */
    char *output;                /* owned; in `dir` */
    char *response;              /* owned; "@" and the file in `dir` that lists the objects */
    VEC(const char *) argv;      /* owned array; strings are borrowed */
    VEC(char *) environment;     /* owned array; strings are borrowed, but for the first */
    struct held_signals signals; /* that wait until the folder is gone */
};

/* Empties and removes the folder; what can not be removed stays. */
static void remove_dir(const char *path)
{
    DIR *stream = opendir(path);
    if (!stream)
        return;
    for (struct dirent *entry; (entry = readdir(stream));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(stream), entry->d_name, 0);
    closedir(stream);
    rmdir(path);
}

static struct crateld_error *create_dir(struct run *run)
{
    const char *parent = secure_getenv("TMPDIR");
    char *dir AUTO_FREE = NULL;
    if (asprintf(&dir, "%s/crateld-lto.XXXXXX", parent && parent[0] ? parent : "/tmp") < 0)
        return error_memory();
    if (!mkdtemp(dir))
        return error_errno(errno, "%s: cannot create", dir);
    run->dir = STEAL_PTR(dir);
    if (asprintf(&run->output, "%s/output.o", run->dir) < 0) {
        run->output = NULL;
        return error_memory();
    }
    if (asprintf(&run->response, "@%s/objects", run->dir) < 0) {
        run->response = NULL;
        return error_memory();
    }
    return NULL;
}

static struct crateld_error *write_member(const char *path, struct span data)
{
    FILE *stream = fopen(path, "wxe");
    if (!stream)
        return error_errno(errno, "%s: cannot create", path);
    size_t written = data.size ? fwrite(data.data, 1, data.size, stream) : 0;
    int reason = errno;
    if (fclose(stream) != 0 || written != data.size)
        return error_errno(written == data.size ? errno : reason, "%s: cannot write %zu bytes", path, data.size);
    return NULL;
}

/* Writes `path` as a word of a response file, in which blanks, quotes and backslashes are escaped. A name is
 * made a path, lest it be taken for an option. */
static void write_word(FILE *stream, const char *path)
{
    if (path[0] != '/')
        fputs("./", stream);
    for (; *path; path++) {
        if (strchr(" \t\n\r\v\f'\"\\", *path))
            fputc('\\', stream);
        fputc(*path, stream);
    }
    fputc('\n', stream);
}

/* Lists the objects for the compiler; those of archives become files, whose names tell which they are. */
static struct crateld_error *write_inputs(struct run *run, const struct lto_input *inputs, size_t count)
{
    FILE *stream = fopen(run->response + 1, "wxe");
    if (!stream)
        return error_errno(errno, "%s: cannot create", run->response + 1);
    struct crateld_error *error = NULL;
    for (size_t i = 0; !error && i < count; i++) {
        if (inputs[i].path) {
            write_word(stream, inputs[i].path);
            continue;
        }
        const char *slash = strrchr(inputs[i].name, '/');
        const char *name = slash ? slash + 1 : inputs[i].name;
        char *path AUTO_FREE = NULL;
        if (asprintf(&path, "%s/%zu-%.200s.o", run->dir, i, name) < 0)
            error = error_memory();
        else
            error = write_member(path, inputs[i].data);
        if (!error)
            write_word(stream, path);
    }
    if (fclose(stream) != 0 && !error)
        error = error_errno(errno, "%s: cannot write", run->response + 1);
    return error;
}

static bool push_all(struct run *run, const char *const *words)
{
    for (; *words; words++)
        if (!VEC_PUSH(&run->argv, *words))
            return false;
    return true;
}

/* The command line, and an environment in which the compiler's temporary files are in the run's folder. */
static struct crateld_error *build_command(struct run *run, const struct lto_opts *opts)
{
    const char *const *compiler = opts && opts->compiler ? opts->compiler : default_compiler;
    const char *const *flags = opts && opts->flags ? opts->flags : no_flags;
    const char *const tail[] = {"-o", run->output, run->response, NULL};
    if (!push_all(run, compiler) || !push_all(run, flags) || !push_all(run, merge_flags) || !push_all(run, tail) ||
        !VEC_PUSH(&run->argv, NULL))
        return error_memory();
    char *folder;
    if (asprintf(&folder, "TMPDIR=%s", run->dir) < 0)
        return error_memory();
    if (!VEC_PUSH(&run->environment, folder)) {
        free(folder);
        return error_memory();
    }
    for (char **variable = environ; *variable; variable++)
        if (strncmp(*variable, "TMPDIR=", strlen("TMPDIR=")) != 0 && !VEC_PUSH(&run->environment, *variable))
            return error_memory();
    return VEC_PUSH(&run->environment, NULL) ? NULL : error_memory();
}

/* Starts the compiler in a process group of its own, so that it can be stopped with all that it starts; what
 * it prints goes to stderr. */
static struct crateld_error *spawn(struct run *run, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t own; /* what the caller may ignore to get errors instead */
    sigemptyset(&own);
    sigaddset(&own, SIGXFSZ);
    int reason = posix_spawn_file_actions_init(&actions);
    if (reason)
        return error_errno(reason, "cannot start a process");
    reason = posix_spawnattr_init(&attributes);
    if (reason) {
        posix_spawn_file_actions_destroy(&actions);
        return error_errno(reason, "cannot start a process");
    }
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    posix_spawnattr_setsigmask(&attributes, &run->signals.old_mask);
    posix_spawnattr_setsigdefault(&attributes, &own);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    reason = posix_spawnp(ret, run->argv.at[0], &actions, &attributes, (char **)run->argv.at, run->environment.at);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (!reason)
        return NULL;
    if (reason == ENOENT)
        return error_create(CRATELD_ERROR_NOT_FOUND, "%s: not found: the compiler that LTO objects need",
                            run->argv.at[0]);
    return error_errno(reason, "%s: cannot start", run->argv.at[0]);
}

/* Waits for process `pid`; a held signal stops it first, and sets *is_stopped. The signal itself stays
 * pending. */
static struct crateld_error *wait_for(struct run *run, pid_t pid, int *status, bool *is_stopped)
{
    int signals AUTO_CLOSE = signalfd(-1, &run->signals.held, SFD_CLOEXEC);
    int process AUTO_CLOSE = pidfd_open(pid, 0);
    struct crateld_error *error = NULL;
    if (signals < 0 || process < 0)
        error = error_errno(errno, "%s: cannot wait for it", run->argv.at[0]);
    *is_stopped = false;
    while (!error) {
        struct pollfd polled[] = {{.fd = process, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        if (poll(polled, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            error = error_errno(errno, "%s: cannot wait for it", run->argv.at[0]);
        } else if (polled[0].revents) {
            break;
        } else {
            *is_stopped = true;
            break;
        }
    }
    if (error || *is_stopped)
        kill(-pid, SIGTERM);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        continue;
    return error;
}

static struct crateld_error *run_compiler(struct run *run, size_t count)
{
    pid_t pid;
    int status = 0;
    bool is_stopped;
    TRY(spawn(run, &pid));
    TRY(wait_for(run, pid, &status, &is_stopped));
    if (is_stopped)
        return error_create(CRATELD_ERROR_IO, "%s: stopped by a signal", run->argv.at[0]);
    if (WIFSIGNALED(status))
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: killed by signal %d while it compiled %zu LTO objects",
                            run->argv.at[0], WTERMSIG(status), count);
    if (WEXITSTATUS(status) != 0)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: exit status %d; it could not compile %zu LTO objects",
                            run->argv.at[0], WEXITSTATUS(status), count);
    return NULL;
}

/* Maps the compiler's output, under a name that outlives the file. */
static struct crateld_error *open_output(const struct run *run, struct file *ret)
{
    char *name AUTO_FREE = strdup("output of link-time optimisation");
    if (!name)
        return error_memory();
    TRY(file_open(run->output, ret));
    free(ret->path);
    ret->path = STEAL_PTR(name);
    return NULL;
}

/* What happens while signals are held. */
static struct crateld_error *compile(struct run *run, const struct lto_input *inputs, size_t count,
                                     const struct lto_opts *opts, struct file *ret)
{
    TRY(create_dir(run));
    TRY(write_inputs(run, inputs, count));
    TRY(build_command(run, opts));
    TRY(run_compiler(run, count));
    return open_output(run, ret);
}

struct crateld_error *lto_compile(const struct lto_input *inputs, size_t count, const struct lto_opts *opts,
                                  struct file *ret)
{
    struct run run = {0};
    TRY(signals_hold(&run.signals));
    struct crateld_error *error = compile(&run, inputs, count, opts, ret);
    if (run.dir)
        remove_dir(run.dir);
    if (run.environment.count)
        free(run.environment.at[0]);
    free(run.environment.at);
    free(run.argv.at);
    free(run.response);
    free(run.output);
    free(run.dir);
    signals_release(&run.signals);
    return error;
}

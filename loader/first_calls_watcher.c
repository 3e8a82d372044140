/* The watcher of a traced program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory_stream.h"
#include "base/vec.h"
#include "crate/members.h"
#include "loader/first_calls.h"
#include "loader/first_calls_area.h"
#include "reloc/relink_reader.h"

struct watching {
    struct first_calls *trace;
    pid_t program;
    int status;      /* of the program, as wait(2) gives it */
    uint32_t called; /* functions */
    bool has_gone;   /* another program took its place (exec): what that does is not ours */
};

/* Waiting. */

/* The function whose trap is at `address`; NULL if none is. */
static struct trace_function *function_at(struct first_calls *trace, uint64_t address)
{
    uint32_t crates = atomic_load(&trace->crate_count);
    for (uint32_t i = 0; i < crates && i < TRACE_MAX_CRATES; i++) {
        const struct trace_crate *crate = &trace->crates[i];
        if (!atomic_load_explicit(&crate->is_published, memory_order_acquire))
            continue;
        uint32_t low = crate->first, high = crate->first + crate->count;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (trace->functions[middle].address == address)
                return &trace->functions[middle];
            if (trace->functions[middle].address < address)
                low = middle + 1;
            else
                high = middle;
        }
    }
    return NULL;
}

/* Takes the trap away, in the thread's process. */
static bool remove_trap(pid_t thread, const struct trace_function *function)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)thread);
    int fd AUTO_CLOSE = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && pwrite(fd, &function->original, 1, (off_t)function->address) == 1;
}

/* A thread has run into a trap: whether it was one of ours, and the thread can go on as if there were none. */
static bool enter_function(struct watching *w, pid_t thread)
{
    uint64_t address;
    if (!first_calls_trap_address(thread, &address))
        return false;
    struct trace_function *function = function_at(w->trace, address);
    if (!function || !remove_trap(thread, function))
        return false;
    if (!function->order)
        function->order = ++w->called;
    return first_calls_resume_at(thread, address);
}

/* Lets a thread that has stopped go on. */
static void go_on(struct watching *w, pid_t thread, int status)
{
    int signal_number = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_EXEC) {
        w->has_gone |= thread == w->program;
        ptrace(PTRACE_DETACH, thread, NULL, NULL);
    } else if (event == PTRACE_EVENT_STOP && signal_number != SIGTRAP) {
        ptrace(PTRACE_LISTEN, thread, NULL, NULL); /* it was stopped by a signal, and stays so */
    } else {
        bool is_ours = event || (signal_number == SIGTRAP && enter_function(w, thread));
        ptrace(PTRACE_CONT, thread, NULL, is_ours ? 0 : (void *)(intptr_t)signal_number);
    }
}

/* Until the program and all that it has started have ended. */
static void watch(struct watching *w)
{
    for (;;) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0 && errno == EINTR)
            continue;
        if (thread < 0)
            return;
        if (WIFSTOPPED(status))
            go_on(w, thread, status);
        else if (thread == w->program)
            w->status = status;
    }
}

/* Writing. */

/* What is known of one crate's file. */
struct traced_file {
    struct file file; /* owned */
    struct crate_view view;
    struct relink_view relink;
};

static struct crateld_error *open_traced(const struct trace_crate *crate, struct traced_file *ret)
{
    struct span relink;
    TRY(file_open(crate->path, &ret->file));
    TRY(crate_view_open(crate->path, ret->file.data, &ret->view));
    TRY(crate_view_relink(&ret->view, ret->file.data, &relink));
    return relink_view_open(crate->path, relink, &ret->relink);
}

/* The crate that the module is of: in a bundle, the member. */
static const char *crate_of(const struct trace_crate *crate, const struct crate_view *view, uint32_t module)
{
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MEMBERS); i++) {
        struct crate_member member;
        struct crateld_error *error = crate_view_member(view, i, &member);
        bool is_in = !error && module - member.modules.first < member.modules.count;
        crateld_error_destroy(error);
        if (is_in)
            return crate_member_string(view, member.name);
    }
    return crate->name;
}

/* A line for each of its functions that were called, in the place that is the order of its call. */
static struct crateld_error *name_functions(const struct first_calls *trace, const struct trace_crate *crate,
                                            char **lines)
{
    struct traced_file file = {0};
    struct crateld_error *error = open_traced(crate, &file);
    for (uint32_t i = crate->first; i < crate->first + crate->count && !error; i++) {
        const struct trace_function *function = &trace->functions[i];
        struct relink_symbol symbol;
        struct relink_module module;
        if (!function->order)
            continue;
        error = relink_view_symbol(&file.relink, function->symbol, &symbol);
        if (!error)
            error = relink_view_module(&file.relink, symbol.module, &module);
        if (!error && asprintf(&lines[function->order - 1], "%s\t%s%s%s%s\t%s\n",
                               crate_of(crate, &file.view, symbol.module), module.path, *module.member ? "(" : "",
                               module.member, *module.member ? ")" : "", symbol.name) < 0) {
            lines[function->order - 1] = NULL;
            error = error_memory();
        }
    }
    file_close(&file.file);
    return error;
}

static struct crateld_error *name_all(const struct watching *w, char **lines)
{
    uint32_t crates = atomic_load(&w->trace->crate_count);
    for (uint32_t i = 0; i < crates && i < TRACE_MAX_CRATES; i++)
        if (w->trace->crates[i].is_published)
            TRY(name_functions(w->trace, &w->trace->crates[i], lines));
    return NULL;
}

static struct crateld_error *write_lines(const char *path, char *const *lines, uint32_t count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return error_memory();
    for (uint32_t i = 0; i < count; i++)
        fputs(lines[i] ? lines[i] : "", stream);
    struct crateld_error *error =
        memory_stream_close(stream, &text) ? file_write(path, text, size, 0666) : error_memory();
    free(text);
    return error;
}

static struct crateld_error *write_trace(const struct watching *w, const char *path)
{
    if (!w->called)
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: nothing was traced: no function was called of a crate with a relink section", path);
    char **lines = calloc(w->called, sizeof *lines);
    struct crateld_error *error = lines ? name_all(w, lines) : error_memory();
    if (!error)
        error = write_lines(path, lines, w->called);
    for (uint32_t i = 0; lines && i < w->called; i++)
        free(lines[i]);
    free(lines);
    return error;
}

/* Ends as the program did. */
_Noreturn static void end_like(int status)
{
    if (WIFSIGNALED(status)) {
        const struct rlimit none = {0};
        (void)setrlimit(RLIMIT_CORE, &none);
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Starting. */

static pid_t watched_program;

static void hand_on(int signal_number)
{
    kill(watched_program, signal_number);
}

/* Signals that the terminal sends reach the program as well; others are handed on. */
static void prepare_signals(pid_t program)
{
    static const int handed_on[] = {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = hand_on};
    watched_program = program;
    for (size_t i = 0; i < sizeof handed_on / sizeof *handed_on; i++)
        sigaction(handed_on[i], &action, NULL);
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
}

static struct crateld_error *seize(pid_t program)
{
    intptr_t wanted = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
    if (ptrace(PTRACE_SEIZE, program, NULL, (void *)wanted) == 0)
        return NULL;
    struct crateld_error *error = error_errno(errno, "cannot trace: ptrace");
    kill(program, SIGKILL);
    (void)waitpid(program, NULL, 0);
    return error;
}

/* The parent's part, from here on. */
static struct crateld_error *watch_program(const char *path, struct first_calls *trace, pid_t program, int go)
{
    struct watching watching = {.trace = trace, .program = program};
    prepare_signals(program);
    TRY(seize(program));
    close(go); /* what it waits for */
    watch(&watching);
    if (!watching.has_gone && (watching.called || !watching.status)) /* else it has said what is wrong */
        TRY(write_trace(&watching, path));
    end_like(watching.status);
}

struct crateld_error *first_calls_fork(const char *path, struct first_calls **ret)
{
    int go[2];
    struct first_calls *trace =
        mmap(NULL, sizeof *trace, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (trace == MAP_FAILED)
        return error_errno(errno, "cannot map 0x%zx bytes for a trace", sizeof *trace);
    if (pipe2(go, O_CLOEXEC) != 0)
        return error_errno(errno, "cannot make a pipe");
    pid_t program = fork();
    if (program < 0)
        return error_errno(errno, "cannot fork");
    if (program) {
        close(go[0]);
        return watch_program(path, trace, program, go[1]);
    }
    char nothing;
    close(go[1]);
    while (read(go[0], &nothing, 1) < 0 && errno == EINTR)
        ;
    close(go[0]);
    *ret = trace;
    return NULL;
}

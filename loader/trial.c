#define _GNU_SOURCE
#include "loader/trial.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "loader/address_index.h"
#include "loader/context.h"
#include "loader/kept_socket.h"
#include "loader/log.h"
#include "loader/patch.h"
#include "loader/versions.h"

enum {
    DEFAULT_S = 10,
    WAIT_S = 5, /* for crateld's thread */
    PATCHES_MAX = 64,
    FRAMES_MAX = 48,
    ADDRESS_SIZE = 20, /* "0x", 16 digits */
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
enum { SIGNAL_COUNT = sizeof signals / sizeof *signals };

/* A patch on trial. */
struct candidate {
    struct loaded_crate *patch;
    uint64_t start, end; /* of its image */
    uint64_t begin_ns, end_ns;
};

/* What a thread met. */
struct fault {
    int number;
    const void *address;
    void *frames[FRAMES_MAX]; /* the faulting instruction, then return addresses */
    int count;
};

static struct {
    pid_t process;
    struct candidate candidates[PATCHES_MAX];
    _Atomic uint32_t count;
    bool is_ours[SIGNAL_COUNT]; /* the signal's handler is */
    struct kept_socket sockets[2];
    struct fault fault;
    atomic_bool is_claimed;   /* a thread fills `fault`, or waits for what becomes of it */
    atomic_bool is_posted;    /* it is filled */
    _Atomic uint32_t back;    /* faults whose version was taken back */
    _Atomic uint32_t settled; /* faults of which all has been done */
} trial = {.sockets = {{.fd = -1}, {.fd = -1}}};

static __thread struct {
    sigjmp_buf place;
    const void *frame; /* of who declared it; NULL: nobody did */
} safe_point;

void *trial_safe_point(const void *frame)
{
    safe_point.frame = frame;
    return safe_point.place;
}

/* The thread that faulted. Only functions that signal handlers may call. */

static bool is_new_code(const void *address)
{
    uint64_t now = clock_nanoseconds();
    for (uint32_t i = 0; i < trial.count; i++)
        if (now < trial.candidates[i].end_ns && (uint64_t)(uintptr_t)address - trial.candidates[i].start <
                                                    trial.candidates[i].end - trial.candidates[i].start)
            return true;
    return false;
}

/* The return addresses above the interrupted instruction. */
static int collect_callers(const ucontext_t *context, void **frames)
{
    void *found[FRAMES_MAX + 8];
    int count = backtrace(found, FRAMES_MAX + 8), first = 0, ret = 0;
    while (first < count && (uint64_t)(uintptr_t)found[first] != context_pc(context))
        first++;
    for (int i = first + 1; i < count && ret < FRAMES_MAX - 2; i++)
        frames[ret++] = found[i];
    return ret;
}

/* Where the thread is and where it came from. A jump to nowhere has no frame: the word on the stack says who called. */
static int collect(ucontext_t *context, void **frames)
{
    uint64_t caller = 0;
    struct iovec here = {&caller, sizeof caller}, there = {(void *)(uintptr_t)context_sp(context), sizeof caller};
    frames[0] = (void *)(uintptr_t)context_pc(context);
    int count = collect_callers(context, frames + 1);
    if (count || process_vm_readv(trial.process, &here, 1, &there, 1, 0) != sizeof caller)
        return 1 + count;
    const ucontext_t before = *context;
    frames[1] = (void *)(uintptr_t)caller;
    context_leave_call(context, caller);
    count = collect_callers(context, frames + 2);
    *context = before;
    return 2 + count;
}

static bool has_new_code(void *const *frames, int count)
{
    for (int i = 0; i < count; i++)
        if (is_new_code(frames[i]))
            return true;
    return false;
}

static void pause_shortly(void)
{
    struct timespec time = {.tv_nsec = 100000};
    (void)nanosleep(&time, NULL);
}

/* Waits until one of the counters is not what it was any more. */
static void wait_for(uint32_t back, uint32_t settled)
{
    uint64_t end = clock_nanoseconds() + (uint64_t)WAIT_S * 1000000000;
    while (trial.back == back && trial.settled == settled && clock_nanoseconds() < end)
        pause_shortly();
}

/* Tells crateld's thread, unless another thread has its attention: then that one's fault takes the version back. */
static bool post(int number, const siginfo_t *info, void *const *frames, int count)
{
    bool is_claimed = false;
    if (!atomic_compare_exchange_strong(&trial.is_claimed, &is_claimed, true))
        return true;
    trial.fault.number = number;
    trial.fault.address = number == SIGABRT ? NULL : info->si_addr;
    trial.fault.count = count;
    memcpy(trial.fault.frames, frames, (size_t)count * sizeof *frames);
    trial.is_posted = true;
    return kept_socket_is_ours(&trial.sockets[1]) && write(trial.sockets[1].fd, "", 1) == 1;
}

/* Whether the thread's safe point is of a function that it is still in, as far as that can be told. */
static bool has_safe_point(const ucontext_t *context)
{
    return safe_point.frame && (uint64_t)(uintptr_t)safe_point.frame > context_sp(context);
}

/* Lets the signal do what it does to a program without a handler. */
static void give_up(int number, const siginfo_t *info)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigaction(number, &action, NULL);
    if (info->si_code <= 0) /* somebody sent it: it does not come again by itself */
        (void)syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}

static void handle(int number, siginfo_t *info, void *argument)
{
    int saved_errno = errno;
    void *frames[FRAMES_MAX];
    bool is_fault = info->si_code > 0 || (number == SIGABRT && info->si_code == SI_TKILL);
    int count = is_fault && trial.count && getpid() == trial.process ? collect(argument, frames) : 0;
    if (has_new_code(frames, count)) {
        uint32_t back = trial.back, settled = trial.settled;
        if (post(number, info, frames, count))
            wait_for(back, settled);
        if (trial.back != back && has_safe_point(argument))
            siglongjmp(safe_point.place, 1);
        if (trial.back != back)
            wait_for(trial.back, settled);
    }
    errno = saved_errno;
    give_up(number, info);
}

/* crateld's own thread. */

static bool open_sockets(void)
{
    int fds[2];
    if (kept_socket_is_ours(&trial.sockets[0]) && kept_socket_is_ours(&trial.sockets[1]))
        return true;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
        return false;
    bool is_kept = kept_socket_take(fds[0], &trial.sockets[0]);
    return kept_socket_take(fds[1], &trial.sockets[1]) && is_kept;
}

/* Handles the signals for which the program does nothing. */
static void take_signals(void)
{
    struct sigaction ours = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK}, theirs;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (trial.is_ours[i] || sigaction(signals[i], NULL, &theirs) != 0 || theirs.sa_flags & SA_SIGINFO ||
            theirs.sa_handler != SIG_DFL)
            continue;
        trial.is_ours[i] = sigaction(signals[i], &ours, NULL) == 0;
    }
}

static void give_signals_back(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL}, now;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (trial.is_ours[i] && sigaction(signals[i], NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
            now.sa_sigaction == handle)
            (void)sigaction(signals[i], &action, NULL);
        trial.is_ours[i] = false;
    }
}

/* How long new code is on trial. */
static uint64_t trial_ns(void)
{
    const char *text = secure_getenv("CRATELD_TRIAL");
    char *end;
    double seconds = text ? strtod(text, &end) : DEFAULT_S;
    if (text && (end == text || *end || !(seconds >= 0 && seconds < 1e9)))
        seconds = DEFAULT_S;
    return (uint64_t)(seconds * 1e9);
}

/* Drops those whose time is over, and those that are not in effect any more. */
static void drop_candidates(void)
{
    uint64_t now = clock_nanoseconds();
    uint32_t kept = 0, count = trial.count;
    bool is_kept[PATCHES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        is_kept[i] = now < trial.candidates[i].end_ns && versions_is_active(trial.candidates[i].patch);
        kept += is_kept[i];
    }
    if (kept == count)
        return;
    trial.count = 0; /* who faults at this moment is not looked at, as if the time was over */
    for (uint32_t i = kept = 0; i < count; i++)
        if (is_kept[i])
            trial.candidates[kept++] = trial.candidates[i];
    trial.count = kept;
}

void trial_begin(struct loaded_crate *const *patches, size_t count)
{
    void *frame;
    uint64_t now = clock_nanoseconds(), time = trial_ns();
    if (!time || !open_sockets())
        return;
    (void)backtrace(&frame, 1); /* loads what it needs, which a handler could not do */
    trial.process = getpid();
    drop_candidates();
    for (size_t i = 0; i < count && trial.count < PATCHES_MAX; i++) {
        uint64_t start = loaded_address(patches[i], 0);
        trial.candidates[trial.count] =
            (struct candidate){patches[i], start, start + patches[i]->view.header.image_size, now, now + time};
        trial.count++;
    }
    take_signals();
}

int trial_descriptor(void)
{
    return trial.count && kept_socket_is_ours(&trial.sockets[0]) ? trial.sockets[0].fd : -1;
}

/* The latest patch on trial that is on the thread's stack and in effect; NULL if none is. */
static struct candidate *find_guilty(void)
{
    for (int i = 0; i < trial.fault.count; i++)
        for (uint32_t k = 0; k < trial.count; k++) {
            struct candidate *candidate = &trial.candidates[k];
            if ((uint64_t)(uintptr_t)trial.fault.frames[i] - candidate->start < candidate->end - candidate->start &&
                versions_is_active(candidate->patch))
                return candidate;
        }
    return NULL;
}

/* Takes back what is to blame, and whatever came later. */
static struct crateld_error *take_back(struct process *process, double *seconds)
{
    struct crateld_error *error = NULL;
    struct candidate *guilty;
    struct patch_report report;
    process_lock(process);
    while (!error && (guilty = find_guilty())) {
        guilty->patch->has_faulted = true;
        *seconds = (double)(clock_nanoseconds() - guilty->begin_ns) / 1e9;
        while (!error && versions_is_active(guilty->patch))
            error = patch_rollback(process, &report);
    }
    process_unlock(process);
    return error;
}

/* The file that the address is in, and where that file says it is. */
static const char *locate(const void *address, bool is_return, uint64_t *ret)
{
    uint64_t at = (uint64_t)(uintptr_t)address - is_return; /* the call, not what is behind it */
    const struct loaded_crate *crate = address_index_find(at);
    Dl_info info;
    if (crate) {
        *ret = at - loaded_address(crate, 0) + crate->view.header.preferred_base;
        return crate->path;
    }
    if (!dladdr((const void *)(uintptr_t)at, &info) || !info.dli_fname)
        return NULL;
    *ret = at - (uint64_t)(uintptr_t)info.dli_fbase;
    return info.dli_fname;
}

/* What the processes below share with this one, as they do its memory, until they run another program. */
struct printing {
    char *arguments[2 * FRAMES_MAX + 3];
    int done; /* closed when that has ended */
};

static _Alignas(16) char child_stack[8 << 10], grandchild_stack[8 << 10];

static int run_where(void *argument)
{
    struct printing *printing = argument;
    (void)dup2(STDERR_FILENO, STDOUT_FILENO);
    (void)fcntl(printing->done, F_SETFD, 0);
    execv("/proc/self/exe", printing->arguments); /* which knows where the tool is */
    _exit(127);
}

static int start_where(void *argument)
{
    (void)clone(run_where, grandchild_stack + sizeof grandchild_stack, CLONE_VM | CLONE_VFORK, argument);
    _exit(0);
}

/* Has `crateld where` print the frames, with source lines. The program does not find it among its children, and no
 * signal tells of it. */
static void print_frames(void)
{
    char addresses[FRAMES_MAX][ADDRESS_SIZE];
    struct printing printing = {.arguments = {"crateld", "where"}};
    int count = 2, ends[2];
    for (int i = 0; i < trial.fault.count; i++) {
        uint64_t at;
        const char *file = locate(trial.fault.frames[i], i > 0, &at);
        if (!file)
            continue;
        snprintf(addresses[i], sizeof addresses[i], "0x%" PRIx64, at);
        printing.arguments[count++] = (char *)file;
        printing.arguments[count++] = addresses[i];
    }
    if (count == 2 || pipe2(ends, O_CLOEXEC) != 0)
        return;
    printing.done = ends[1];
    pid_t child = clone(start_where, child_stack + sizeof child_stack, CLONE_VM | CLONE_VFORK, &printing);
    close(ends[1]);
    struct pollfd ended = {.fd = ends[0], .events = POLLIN};
    if (child >= 0 && waitpid(child, NULL, __WALL) >= 0)
        (void)poll(&ended, 1, WAIT_S * 1000);
    close(ends[0]);
}

void trial_serve(struct process *process, bool is_called)
{
    char byte;
    if (!trial.count)
        return;
    if (is_called && kept_socket_is_ours(&trial.sockets[0]))
        (void)!read(trial.sockets[0].fd, &byte, 1);
    if (trial.is_posted) {
        double seconds = 0;
        trial.is_posted = false;
        struct crateld_error *error = take_back(process, &seconds);
        if (!error)
            trial.back++;
        log_print("SIG%s at %p, in code that was reloaded %.3f s before: %s", sigabbrev_np(trial.fault.number),
                  trial.fault.address, seconds,
                  error ? crateld_error_message(error) : "the version before is in effect again");
        crateld_error_destroy(error);
        print_frames();
        trial.settled++;
        trial.is_claimed = false;
    }
    drop_candidates();
    if (!trial.count)
        give_signals_back();
}

void trial_forget(void)
{
    trial.count = 0;
    for (size_t i = 0; i < 2; i++)
        kept_socket_close(&trial.sockets[i]);
    give_signals_back();
}

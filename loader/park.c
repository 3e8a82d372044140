#define _GNU_SOURCE
#include "loader/park.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/latency.h"
#include "base/vec.h"
#include "loader/context.h"

enum {
    TIMEOUT_MS = 1000,
    YIELDS = 16,        /* before a thread is waited for by the clock */
    TRY_US = 50,        /* then */
    LIFTED_TRIES = 400, /* for which it is lifted: 20 ms */
    SPARE = 64,         /* threads that may be made while others are being held */
};

enum park_state {
    PARK_ASKED,
    PARK_HELD,
    PARK_ENDED,
};

/* The kernel's structure of rt_sigaction(2). */
struct kernel_sigaction {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    const char *restorer;
    uint64_t mask;
};
enum { KERNEL_SA_RESTORER = 0x04000000 };

static void (*on_poke)(const ucontext_t *context);
static void (*_Atomic next_handler)(int, siginfo_t *, void *); /* glibc's */

/* Those that are being held; the list does not move while `is_open`. */
static struct parked_thread *threads;
static _Atomic size_t thread_count;
static size_t thread_capacity;
static struct parked_thread holder; /* the thread that holds them */
static _Atomic bool is_open;
static _Atomic uint32_t round_number; /* threads wait for it to change */

static struct parked_thread *find_asked(pid_t id)
{
    size_t count = thread_count;
    for (size_t i = 0; is_open && i < count; i++)
        if (threads[i].id == id && threads[i].state == PARK_ASKED)
            return &threads[i];
    return NULL;
}

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
    (void)syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void park_resume(ucontext_t *context)
{
    long number = context_is_interrupted(context) ? context_system_call(context) : -1;
    /* A file that was closed may be another by now; Linux has closed it in any case. */
    if (number >= 0 && number != SYS_close)
        context_restart(context, number);
}

static void hold(struct parked_thread *thread, ucontext_t *context, uint32_t now)
{
    thread->context = context;
    thread->pointer = context_thread_pointer();
    thread->state = PARK_HELD; /* with release order */
    while (round_number == now)
        futex(&round_number, FUTEX_WAIT, now);
}

static void handle(int number, siginfo_t *info, void *argument)
{
    int saved_errno = errno;
    uint32_t now = round_number; /* before is_open is looked at, which is closed before the round ends */
    if (info->si_code == SI_TKILL) {
        if (next_handler)
            next_handler(number, info, argument);
        return;
    }
    struct parked_thread *thread = info->si_pid == getpid() ? find_asked((pid_t)syscall(SYS_gettid)) : NULL;
    if (thread)
        hold(thread, argument, now);
    else if (info->si_pid != getpid())
        on_poke(argument);
    park_resume(argument);
    errno = saved_errno;
}

void park_install(void (*poke)(const ucontext_t *context))
{
    struct kernel_sigaction ours = {
        .handler = handle,
        .flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | KERNEL_SA_RESTORER,
        .restorer = context_restorer,
        .mask = UINT64_MAX & ~(UINT64_C(1) << (SIGSEGV - 1)) & ~(UINT64_C(1) << (SIGBUS - 1)),
    };
    struct kernel_sigaction before = {0};
    on_poke = poke;
    if (syscall(SYS_rt_sigaction, PARK_SIGNAL, &ours, &before, sizeof ours.mask) == 0 && before.handler != handle &&
        before.flags & SA_SIGINFO)
        next_handler = before.handler;
}

/* Sends the signal as glibc does not. */
static bool ask(pid_t process, pid_t id)
{
    siginfo_t info = {.si_code = SI_QUEUE};
    info.si_pid = process;
    info.si_uid = getuid();
    return syscall(SYS_rt_tgsigqueueinfo, process, id, PARK_SIGNAL, &info) == 0;
}

static uint64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool is_known(pid_t id)
{
    for (size_t i = 0; i < thread_count; i++)
        if (threads[i].id == id && threads[i].state != PARK_ENDED)
            return true;
    return false;
}

/* Why threads could not be held. Errors are made of it when they have been let go: they may hold any lock. */
struct failure {
    int errnum;       /* of reading the list of threads */
    bool is_too_many; /* threads are made faster than they can be held */
    pid_t id;         /* of one that did not stop */
};

/* Asks the threads that are not in the list yet; *is_new: there were any. */
static bool ask_new(int folder, bool *is_new, struct failure *failure)
{
    static _Alignas(8) char buffer[4096];
    pid_t process = getpid(), self = (pid_t)syscall(SYS_gettid);
    long size = lseek(folder, 0, SEEK_SET);
    *is_new = false;
    while (size >= 0 && (size = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < size; at += ((const struct dirent64 *)(buffer + at))->d_reclen) {
            pid_t id = (pid_t)strtol(((const struct dirent64 *)(buffer + at))->d_name, NULL, 10);
            if (id <= 0 || id == self || is_known(id))
                continue;
            failure->is_too_many = thread_count == thread_capacity;
            if (failure->is_too_many)
                return false;
            struct parked_thread *thread = &threads[thread_count];
            thread->id = id;
            thread->context = NULL;
            thread->is_lifted = false;
            thread->state = PARK_ASKED;
            thread_count++;
            *is_new = true;
            if (!ask(process, id))
                thread->state = PARK_ENDED;
        }
    }
    failure->errnum = size < 0 ? errno : 0;
    return size == 0;
}

/* Others' slices of time may be long: threads that do not get a processor at once are lifted above them. */
static void lift_asked(void)
{
    for (size_t i = 0; i < thread_count; i++)
        if (threads[i].state == PARK_ASKED && !threads[i].is_lifted)
            threads[i].is_lifted = latency_lift(threads[i].id, &threads[i].before);
}

/* Before they go on: they know nothing of it. */
static void lower_lifted(void)
{
    for (size_t i = 0; i < thread_count; i++) {
        if (threads[i].is_lifted)
            latency_lower(threads[i].id, &threads[i].before);
        threads[i].is_lifted = false;
    }
}

/* Gives the thread, which was asked, time to stop. One that does not, though it is lifted, would keep a processor from
 * all others. */
static void wait_for(unsigned tries)
{
    if (tries < YIELDS) {
        sched_yield();
        return;
    }
    if (tries == YIELDS)
        lift_asked();
    else if (tries == YIELDS + LIFTED_TRIES)
        lower_lifted();
    usleep(TRY_US);
}

/* Waits until all that were asked are held or have ended. */
static bool wait_for_all(uint64_t end, struct failure *failure)
{
    for (size_t i = 0; i < thread_count; i++) {
        for (unsigned tries = 0; threads[i].state == PARK_ASKED; tries++) {
            if (syscall(SYS_tgkill, getpid(), threads[i].id, 0) != 0) {
                threads[i].state = PARK_ENDED;
            } else if (milliseconds() > end) {
                failure->id = threads[i].id;
                return false;
            } else {
                wait_for(tries);
            }
        }
    }
    return true;
}

static bool hold_all(int folder, struct failure *failure)
{
    uint64_t end = milliseconds() + TIMEOUT_MS;
    bool is_new = true;
    while (is_new)
        if (!ask_new(folder, &is_new, failure) || !wait_for_all(end, failure))
            return false;
    return true;
}

static struct crateld_error *failed(const struct failure *failure)
{
    if (failure->id)
        return error_create(CRATELD_ERROR_IO, "thread %d did not stop within %d ms", (int)failure->id, TIMEOUT_MS);
    if (failure->is_too_many)
        return error_create(CRATELD_ERROR_IO, "threads are made faster than they can be held");
    return error_errno(failure->errnum, "/proc/self/task: cannot read");
}

/* Makes room for as many threads as there are, and some. */
static struct crateld_error *make_room(void)
{
    size_t count = SPARE;
    DIR *folder = opendir("/proc/self/task");
    if (!folder)
        return error_errno(errno, "/proc/self/task: cannot open");
    while (readdir(folder))
        count++;
    closedir(folder);
    if (count <= thread_capacity)
        return NULL;
    struct parked_thread *larger = calloc(count, sizeof *larger);
    if (!larger)
        return error_memory();
    free(threads);
    threads = larger;
    thread_capacity = count;
    return NULL;
}

struct crateld_error *park_threads(void)
{
    thread_count = 0;
    park_install(on_poke); /* a library may have made the first thread past our pthread_create() */
    TRY(make_room());
    int folder = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_errno(errno, "/proc/self/task: cannot open");
    holder.id = (pid_t)syscall(SYS_gettid);
    holder.is_lifted = latency_lift(holder.id, &holder.before);
    is_open = true;
    struct failure failure = {0};
    bool is_held = hold_all(folder, &failure);
    if (!is_held)
        park_release();
    close(folder);
    return is_held ? NULL : failed(&failure);
}

void park_release(void)
{
    lower_lifted();
    is_open = false;
    round_number++;
    futex(&round_number, FUTEX_WAKE, INT32_MAX);
    if (holder.is_lifted)
        latency_lower(holder.id, &holder.before);
    holder.is_lifted = false;
}

const struct parked_thread *park_list(size_t *count)
{
    *count = thread_count;
    return threads;
}

const struct parked_thread *park_find(uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < thread_count; i++)
        if (threads[i].context && context_sp(threads[i].context) >= start && context_sp(threads[i].context) < end)
            return &threads[i];
    return NULL;
}

bool park_own_stack(uint64_t *start, uint64_t *end)
{
    pthread_attr_t attributes;
    void *at;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return false;
    bool is_known = pthread_attr_getstack(&attributes, &at, &size) == 0;
    pthread_attr_destroy(&attributes);
    *start = (uint64_t)(uintptr_t)at;
    *end = *start + size;
    return is_known;
}

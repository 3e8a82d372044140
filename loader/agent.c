#define _GNU_SOURCE
#include "loader/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/latency.h"
#include "loader/address_index.h"
#include "loader/context.h"
#include "loader/control.h"
#include "loader/expected.h"
#include "loader/park.h"

enum {
    STACK_SIZE = 512 << 10,
    SCANNED = 256 << 10, /* bytes of a stack that are searched for signal frames */
};

static struct process *served;
static atomic_bool has_thread;

static void *run(void *argument)
{
    (void)prctl(PR_SET_NAME, "crateld");
    latency_prefer();
    control_serve(argument);
    return NULL;
}

/* The thread is the parent's; its socket as well. */
static void forget_in_child(void)
{
    has_thread = false;
    expected_close(&served->region);
    control_forget();
}

void agent_start(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    static bool is_registered;
    if (!served || atomic_exchange(&has_thread, true))
        return;
    if (!is_registered)
        (void)pthread_atfork(NULL, NULL, forget_in_child);
    is_registered = true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    if (pthread_create(&thread, &attributes, run, served) != 0)
        has_thread = false;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A child's child has no parent but init: the program does not find it among its own children. */
static _Noreturn void run_watcher(int id, const char *compile, bool is_tiered)
{
    char text[16];
    if (fork() != 0)
        _exit(0);
    snprintf(text, sizeof text, "%d", id);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDIN_FILENO); /* that is the program's */
    dup2(STDERR_FILENO, STDOUT_FILENO);
    char *arguments[7] = {"crateld", "watch"}, **next = arguments + 2;
    if (compile) {
        *next++ = "--compile";
        *next++ = (char *)compile;
    }
    if (is_tiered)
        *next++ = "--tiered";
    *next = text;
    execv("/proc/self/exe", arguments); /* which knows where the tool is */
    _exit(127);
}

struct crateld_error *agent_watch(const char *compile, bool is_tiered)
{
    int id = getpid(), status;
    pid_t child = fork();
    if (!child)
        run_watcher(id, compile, is_tiered);
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return error_errno(errno, "cannot start crateld watch");
    agent_start();
    return NULL;
}

/* Whether a thread that is blocked in the system call may hold a lock of libc's that making a thread needs: those of
 * its allocator and of its list of threads are held in calls for memory, and waited for by plain futexes. */
static bool is_harmless(long number, const ucontext_t *context)
{
    static const short calls[] = {SYS_read,         SYS_write,    SYS_poll,     SYS_readv,       SYS_writev,
                                  SYS_select,       SYS_pause,    SYS_accept,   SYS_accept4,     SYS_nanosleep,
                                  SYS_recvfrom,     SYS_recvmsg,  SYS_sendto,   SYS_sendmsg,     SYS_connect,
                                  SYS_wait4,        SYS_waitid,   SYS_semop,    SYS_msgrcv,      SYS_msgsnd,
                                  SYS_fcntl,        SYS_flock,    SYS_pread64,  SYS_pwrite64,    SYS_rt_sigtimedwait,
                                  SYS_epoll_wait,   SYS_ppoll,    SYS_pselect6, SYS_epoll_pwait, SYS_rt_sigsuspend,
                                  SYS_semtimedop,   SYS_recvmmsg, SYS_openat,   SYS_fsync,       SYS_clock_nanosleep,
                                  SYS_epoll_pwait2, SYS_getrandom};
    if (number == SYS_futex) {
        uint32_t operation = (uint32_t)context_system_call_argument(context, 1) & FUTEX_CMD_MASK;
        return operation == FUTEX_WAIT_BITSET || operation == FUTEX_WAIT_REQUEUE_PI;
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i] == number)
            return true;
    return false;
}

/* What signal handlers of the program return to, which is libc's; 0: it has none. */
static uint64_t find_restorer(void)
{
    struct {
        uint64_t handler, flags, restorer, mask;
    } action;
    for (int number = 1; number < _NSIG; number++)
        if (number != PARK_SIGNAL && syscall(SYS_rt_sigaction, number, NULL, &action, sizeof action.mask) == 0 &&
            action.handler > (uint64_t)(uintptr_t)SIG_IGN && action.flags & 0x04000000)
            return action.restorer;
    return 0;
}

/* Whether the thread may be in a signal handler, that may have interrupted anything. */
static bool is_in_handler(const ucontext_t *context)
{
    uint64_t restorer = find_restorer(), sp = context_sp(context) & ~UINT64_C(7), words[512] = {0};
    for (uint64_t done = 0; restorer && done < SCANNED; done += sizeof words) {
        struct iovec here = {words, sizeof words}, there = {(void *)(uintptr_t)(sp + done), sizeof words};
        ssize_t got = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
        for (ssize_t i = 0; i < got / 8; i++)
            if (words[i] == restorer)
                return true;
        if (got < (ssize_t)sizeof words)
            break;
    }
    return false;
}

/* Called in a handler, at any instruction of the program. Whoever asks does so again until there is an answer, so an
 * unlucky moment may be left alone. */
static void answer(const ucontext_t *context)
{
    long number = context_system_call(context);
    bool is_blocked = number >= 0 && is_harmless(number, context);
    if (has_thread || (!is_blocked && !address_index_find(context_pc(context))) || is_in_handler(context))
        return;
    agent_start();
}

void agent_init(struct process *process)
{
    served = process;
    park_install(answer);
}

void agent_keep(void)
{
    if (served)
        park_install(answer);
}

#define _GNU_SOURCE
#include "loader/guard.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

static const int guarded[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
enum { GUARDED_COUNT = sizeof guarded / sizeof *guarded };

static struct sigaction programs[GUARDED_COUNT]; /* what the program has for them */
static sigjmp_buf way_out;
static pthread_t caller;

/* A signal that is not the guarded call's is handled as the program would have it. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *action = NULL;
    for (int i = 0; i < GUARDED_COUNT; i++)
        if (guarded[i] == number)
            action = &programs[i];
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(number, info, context);
    else if (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN)
        action->sa_handler(number);
    else
        (void)sigaction(number, action, NULL); /* the fault comes again */
}

static void handle(int number, siginfo_t *info, void *context)
{
    if (pthread_equal(pthread_self(), caller))
        siglongjmp(way_out, number);
    pass_on(number, info, context);
}

static void take(void)
{
    for (int i = 0; i < GUARDED_COUNT; i++) {
        (void)sigaction(guarded[i], NULL, &programs[i]);
        struct sigaction ours = programs[i];
        ours.sa_sigaction = handle;
        ours.sa_flags = (ours.sa_flags & ~SA_RESETHAND) | SA_SIGINFO;
        (void)sigaction(guarded[i], &ours, NULL);
    }
}

static void give_back(void)
{
    for (int i = 0; i < GUARDED_COUNT; i++)
        (void)sigaction(guarded[i], &programs[i], NULL);
}

bool guard_call(void (*function)(void *argument), void *argument, int *ret)
{
    sigset_t open, before;
    caller = pthread_self();
    sigemptyset(&open);
    for (int i = 0; i < GUARDED_COUNT; i++)
        sigaddset(&open, guarded[i]);
    int number = sigsetjmp(way_out, 1);
    if (!number) {
        take();
        pthread_sigmask(SIG_UNBLOCK, &open, &before);
        function(argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    give_back();
    *ret = number;
    return !number;
}

#include "base/signals.h"

struct crateld_error *signals_hold(struct held_signals *ret)
{
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t current;
    sigemptyset(&ret->held);
    pthread_sigmask(SIG_SETMASK, NULL, &current);
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++) {
        struct sigaction action;
        if (sigaction(ending[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN &&
            !sigismember(&current, ending[i]))
            sigaddset(&ret->held, ending[i]);
    }
    int reason = pthread_sigmask(SIG_BLOCK, &ret->held, &ret->old_mask);
    return reason ? error_errno(reason, "cannot hold signals back") : NULL;
}

void signals_release(const struct held_signals *signals)
{
    pthread_sigmask(SIG_SETMASK, &signals->old_mask, NULL);
}

/* Holding back the signals that end a process, while it has something to clean up. */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H

#include <signal.h>

#include "base/error.h"

struct held_signals {
    sigset_t held;     /* those that wait */
    sigset_t old_mask; /* the thread's mask before */
};

/* Holds SIGINT, SIGTERM and SIGHUP back from this thread until signals_release(), but for those that are ignored or
 * blocked already. Error: IO. */
MUST_CHECK struct crateld_error *signals_hold(struct held_signals *ret);

/* Lets them through again: one that has come in the meantime acts now. */
void signals_release(const struct held_signals *signals);

#endif

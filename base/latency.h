/* Threads that sleep until somebody wants something of them, and are to be quick then. */
#ifndef BASE_LATENCY_H
#define BASE_LATENCY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How the scheduler treats a thread: as sched_setattr(2) has it; libc does not. */
struct latency_attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime; /* of a slice, for ordinary threads */
    uint64_t deadline;
    uint64_t period;
};

/* Asks the scheduler to let the calling thread run as soon as it wakes up, in exchange for short slices of time, and
 * not to interrupt it for others where the process may ask for that (setrlimit(2): RLIMIT_NICE). Without, kernels
 * before Linux 6.12 do nothing. Threads and processes that it starts are as if it had not asked. */
void latency_prefer(void);

/* Has the thread, unless it is of a kind that is not to wait for ordinary ones anyway, come before those of all
 * processes, for a short time; *ret is how it is treated otherwise. What it starts meanwhile is as others are. False:
 * nothing has changed. Where the process may not do that (it takes CAP_SYS_NICE, RLIMIT_RTPRIO), it is as
 * latency_prefer() has it, where it may that. */
bool latency_lift(pid_t thread, struct latency_attributes *ret);

/* Has it treated as before. */
void latency_lower(pid_t thread, const struct latency_attributes *before);

#endif

#define _GNU_SOURCE
#include "base/latency.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SLICE_NS = 300000,
    NICE = -20,
    FIRST_PRIORITY = 1, /* of those that come before all ordinary threads */
    RESET_ON_FORK = 1,  /* SCHED_FLAG_RESET_ON_FORK: what the thread starts is as others are */
};

void latency_prefer(void)
{
    struct latency_attributes attributes = {.size = sizeof attributes};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 || attributes.policy != 0)
        return; /* someone has decided otherwise */
    int32_t nice = attributes.nice;
    attributes.runtime = SLICE_NS;
    attributes.flags |= RESET_ON_FORK;
    attributes.nice = NICE;
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0)
        return;
    attributes.nice = nice;
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

/* Whether threads of the policy are those that may be lifted: they have no other claim to a processor. */
static bool is_ordinary(uint32_t policy)
{
    return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

bool latency_lift(pid_t thread, struct latency_attributes *ret)
{
    struct latency_attributes before = {.size = sizeof before};
    if (syscall(SYS_sched_getattr, thread, &before, sizeof before, 0) != 0 || !is_ordinary(before.policy))
        return false;
    *ret = before;
    struct latency_attributes lifted = before;
    lifted.flags |= RESET_ON_FORK;
    lifted.policy = SCHED_FIFO;
    lifted.priority = FIRST_PRIORITY;
    if (syscall(SYS_sched_setattr, thread, &lifted, 0) == 0)
        return true;
    lifted.policy = SCHED_OTHER;
    lifted.priority = 0;
    lifted.nice = NICE;
    return syscall(SYS_sched_setattr, thread, &lifted, 0) == 0;
}

void latency_lower(pid_t thread, const struct latency_attributes *before)
{
    struct latency_attributes lowered = *before;
    if (syscall(SYS_sched_setattr, thread, &lowered, 0) == 0)
        return;
    lowered.flags |= RESET_ON_FORK; /* who may lift threads may perhaps not take that from them */
    (void)syscall(SYS_sched_setattr, thread, &lowered, 0);
}

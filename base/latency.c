#define _GNU_SOURCE
#include "base/latency.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SLICE_NS = 300000,
    NICE = -20,
    RESET_ON_FORK = 1, /* SCHED_FLAG_RESET_ON_FORK: what the thread starts is as others are */
};

/* As sched_setattr(2) has it; libc does not. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime; /* of a slice, for ordinary threads */
    uint64_t deadline;
    uint64_t period;
};

void latency_prefer(void)
{
    struct attributes attributes = {.size = sizeof attributes};
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

/* How the scheduler treats threads, as the C library tells it. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/latency.h"
#include "tests/unit/leaks.h"

TestSuite(base_latency, .fini = require_no_leaks);

/* Lifts and lowers the calling thread, which is of the policy and nice level. Where the process may not lift threads
 * nothing changes either. */
static void lift_and_lower(int policy, int nice_level)
{
    struct sched_param parameter = {0};
    struct latency_attributes before;
    cr_assert_eq(setpriority(PRIO_PROCESS, 0, nice_level), 0);
    cr_assert_eq(sched_setscheduler(0, policy, &parameter), 0);
    if (latency_lift(gettid(), &before)) {
        cr_assert(sched_getscheduler(0) == (SCHED_FIFO | SCHED_RESET_ON_FORK) || getpriority(PRIO_PROCESS, 0) == -20);
        latency_lower(gettid(), &before);
    }
    cr_assert_eq(sched_getscheduler(0), policy);
    cr_assert_eq(getpriority(PRIO_PROCESS, 0), nice_level);
}

Test(base_latency, a_thread_that_was_lifted_is_treated_as_before)
{
    lift_and_lower(SCHED_OTHER, 0);
    lift_and_lower(SCHED_OTHER, 5);
    lift_and_lower(SCHED_BATCH, 7);
    lift_and_lower(SCHED_IDLE, 7);
}

Test(base_latency, what_a_lifted_thread_starts_is_as_others_are)
{
    struct latency_attributes before;
    int status = -1;
    if (!latency_lift(gettid(), &before))
        cr_skip("threads can not be lifted here");
    pid_t child = fork();
    if (!child)
        _exit(sched_getscheduler(0) != SCHED_OTHER || getpriority(PRIO_PROCESS, 0) != 0);
    latency_lower(gettid(), &before);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
}

Test(base_latency, threads_that_have_a_claim_to_a_processor_are_left_alone)
{
    struct sched_param parameter = {.sched_priority = 2};
    struct latency_attributes before;
    if (sched_setscheduler(0, SCHED_RR, &parameter) != 0)
        cr_skip("no such threads here");
    cr_assert_not(latency_lift(gettid(), &before));
    cr_assert_eq(sched_getscheduler(0), SCHED_RR);
    cr_assert_not(latency_lift(INT32_MAX, &before)); /* there is none */
}

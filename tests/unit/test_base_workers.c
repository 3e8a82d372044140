/* Work of several threads. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/workers.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(base_workers, .fini = require_no_leaks);

enum { COUNT = 5000 };

struct tally {
    uint32_t calls[COUNT];
    uint32_t by_worker[WORKERS_MAX];
    uint32_t workers;
    size_t failing; /* every so many calls fail; 0: none does */
};

static struct crateld_error *count_call(void *context, uint32_t worker, size_t i)
{
    struct tally *tally = context;
    if (worker >= tally->workers)
        return error_create(CRATELD_ERROR_RANGE, "worker %u of %u", worker, tally->workers);
    tally->calls[i]++;
    tally->by_worker[worker]++;
    return tally->failing && i % tally->failing == tally->failing - 1
               ? error_create(CRATELD_ERROR_FORMAT, "call %zu", i)
               : NULL;
}

Test(base_workers, each_number_is_done_once)
{
    static const uint32_t numbers[] = {1, 2, 3, 8, WORKERS_MAX};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        struct tally tally = {.workers = numbers[k]};
        uint32_t sum = 0;
        require_success(workers_run(numbers[k], COUNT, count_call, &tally));
        for (size_t i = 0; i < COUNT; i++)
            cr_assert_eq(tally.calls[i], 1, "number %zu: %u calls", i, tally.calls[i]);
        for (uint32_t i = 0; i < WORKERS_MAX; i++)
            sum += tally.by_worker[i];
        cr_assert_eq(sum, COUNT);
    }
}

Test(base_workers, the_error_of_the_lowest_number_is_returned_and_all_else_is_done)
{
    for (uint32_t workers = 1; workers <= 8; workers++) {
        struct tally tally = {.workers = workers, .failing = 100};
        require_error(workers_run(workers, COUNT, count_call, &tally), CRATELD_ERROR_FORMAT, "call 99");
        for (size_t i = 0; i < COUNT; i++)
            cr_assert_eq(tally.calls[i], 1);
    }
}

Test(base_workers, there_may_be_nothing_to_do)
{
    struct tally tally = {.workers = 8};
    require_success(workers_run(8, 0, count_call, &tally));
    require_success(workers_run(8, 1, count_call, &tally));
    cr_assert_eq(tally.calls[0], 1);
}

Test(base_workers, calls_go_on_beside_the_caller_until_it_joins_in)
{
    for (uint32_t workers = 1; workers <= 8; workers++) {
        struct tally tally = {.workers = workers, .failing = 100};
        struct crew *crew;
        require_success(workers_start(workers, COUNT, count_call, &tally, &crew));
        require_error(workers_finish(crew), CRATELD_ERROR_FORMAT, "call 99");
        for (size_t i = 0; i < COUNT; i++)
            cr_assert_eq(tally.calls[i], 1, "number %zu: %u calls", i, tally.calls[i]);
    }
}

struct meeting {
    struct latch latch;
    bool is_said; /* before the latch is opened */
    uint32_t heard;
};

/* Number 0 says something that the others wait for. */
static struct crateld_error *meet(void *context, uint32_t worker, size_t i)
{
    struct meeting *meeting = context;
    (void)worker;
    if (!i) {
        meeting->is_said = true;
        latch_open(&meeting->latch);
        return NULL;
    }
    latch_wait(&meeting->latch);
    __atomic_fetch_add(&meeting->heard, meeting->is_said, __ATOMIC_RELAXED);
    return NULL;
}

Test(base_workers, who_waits_at_a_latch_sees_what_was_done_before_it_was_opened)
{
    for (uint32_t workers = 1; workers <= 8; workers++) {
        struct meeting meeting = {.latch = LATCH_INITIALIZER};
        require_success(workers_run(workers, 50, meet, &meeting));
        cr_assert_eq(meeting.heard, 49);
        latch_deinit(&meeting.latch);
    }
}

Test(base_workers, there_is_a_processor)
{
    cr_assert(workers_available() >= 1 && workers_available() <= WORKERS_MAX);
}

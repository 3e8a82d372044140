/* Work that is cut into pieces, done by a few threads at once. */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { WORKERS_MAX = 64 };

/* As many as this process has processors, up to WORKERS_MAX. */
uint32_t workers_available(void);

/* Calls `task` with each number below `count`, by up to `workers` (1 to WORKERS_MAX) threads, of which the caller is
 * one, and returns when all calls have. Calls begin in the order of numbers. `worker`, less than `workers`, is the
 * number of the calling thread, for what each has to itself. Of several errors the one of the lowest number is
 * returned: nothing depends on how many threads there were. A thread that can not be had is done without. */
MUST_CHECK struct crateld_error *workers_run(uint32_t workers, size_t count,
                                             struct crateld_error *(*task)(void *context, uint32_t worker, size_t i),
                                             void *context);

/* The same, while the caller does something else: the other threads begin, and workers_finish(), which must be called,
 * does its part of what is left and returns when all calls have. `context` is used until then. */
struct crew;
MUST_CHECK struct crateld_error *workers_start(uint32_t workers, size_t count,
                                               struct crateld_error *(*task)(void *context, uint32_t worker, size_t i),
                                               void *context, struct crew **ret);
MUST_CHECK struct crateld_error *workers_finish(struct crew *crew);

/* What one task opens and others, of higher numbers, wait for. */
struct latch {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_open; /* under the lock */
};

#define LATCH_INITIALIZER                                                                                              \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false                                                     \
    }

/* Opens it for good. */
void latch_open(struct latch *latch);

/* Returns when it is open. */
void latch_wait(struct latch *latch);

/* Releases it; nobody may be waiting. */
void latch_deinit(struct latch *latch);

#endif

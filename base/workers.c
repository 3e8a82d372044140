#define _GNU_SOURCE
#include "base/workers.h"

#include <sched.h>
#include <stdlib.h>

struct worker {
    struct crew *crew;
    pthread_t thread;
    uint32_t number;
    bool is_running;
};

struct crew {
    struct crateld_error *(*task)(void *context, uint32_t worker, size_t i);
    void *context;
    size_t count;
    size_t next; /* atomic: the first number that nobody has taken */
    pthread_mutex_t lock;
    struct crateld_error *error; /* under the lock; owned */
    size_t error_number;         /* likewise: whose it is */
    uint32_t worker_count;
    struct worker workers[WORKERS_MAX]; /* [0] is the caller */
};

uint32_t workers_available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > WORKERS_MAX ? WORKERS_MAX : (uint32_t)count;
}

static void note_error(struct crew *crew, size_t i, struct crateld_error *error)
{
    pthread_mutex_lock(&crew->lock);
    if (!crew->error || i < crew->error_number) {
        crateld_error_destroy(crew->error);
        crew->error = error;
        crew->error_number = i;
    } else {
        crateld_error_destroy(error);
    }
    pthread_mutex_unlock(&crew->lock);
}

static void *work(void *argument)
{
    const struct worker *worker = argument;
    struct crew *crew = worker->crew;
    for (;;) {
        size_t i = __atomic_fetch_add(&crew->next, 1, __ATOMIC_RELAXED);
        if (i >= crew->count)
            return NULL;
        struct crateld_error *error = crew->task(crew->context, worker->number, i);
        if (error)
            note_error(crew, i, error);
    }
}

static void start(struct crew *crew, uint32_t workers)
{
    crew->worker_count = workers <= crew->count ? workers : crew->count ? (uint32_t)crew->count : 1;
    for (uint32_t i = 0; i < crew->worker_count; i++) {
        struct worker *worker = &crew->workers[i];
        *worker = (struct worker){.crew = crew, .number = i};
        worker->is_running = i && !pthread_create(&worker->thread, NULL, work, worker);
    }
}

static struct crateld_error *finish(struct crew *crew)
{
    work(&crew->workers[0]);
    for (uint32_t i = 1; i < crew->worker_count; i++)
        if (crew->workers[i].is_running)
            pthread_join(crew->workers[i].thread, NULL);
    pthread_mutex_destroy(&crew->lock);
    return crew->error;
}

struct crateld_error *workers_run(uint32_t workers, size_t count,
                                  struct crateld_error *(*task)(void *context, uint32_t worker, size_t i),
                                  void *context)
{
    struct crew crew = {.task = task, .context = context, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER};
    start(&crew, workers);
    return finish(&crew);
}

struct crateld_error *workers_start(uint32_t workers, size_t count,
                                    struct crateld_error *(*task)(void *context, uint32_t worker, size_t i),
                                    void *context, struct crew **ret)
{
    struct crew *crew = malloc(sizeof *crew);
    if (!crew)
        return error_memory();
    *crew = (struct crew){.task = task, .context = context, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER};
    start(crew, workers);
    *ret = crew;
    return NULL;
}

struct crateld_error *workers_finish(struct crew *crew)
{
    struct crateld_error *error = finish(crew);
    free(crew);
    return error;
}

void latch_open(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    latch->is_open = true;
    pthread_cond_broadcast(&latch->changed);
    pthread_mutex_unlock(&latch->lock);
}

void latch_wait(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    while (!latch->is_open)
        pthread_cond_wait(&latch->changed, &latch->lock);
    pthread_mutex_unlock(&latch->lock);
}

void latch_deinit(struct latch *latch)
{
    pthread_cond_destroy(&latch->changed);
    pthread_mutex_destroy(&latch->lock);
}

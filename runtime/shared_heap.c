/* The heap that the crates of an OS process share. */
#define _GNU_SOURCE /* secure_getenv() */
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "crateld/gc.h"
#include "runtime/plan.h"

static struct crateld_error *create(struct crateld_gc_heap **ret)
{
    struct crateld_gc_opts opts;
    const char *text = secure_getenv("CRATELD_GC");
    struct crateld_error *error = crateld_gc_opts_parse(text ? text : "", &opts);
    if (error)
        return error_prefix(error, "CRATELD_GC=%s", text);
    opts.is_stack_scanned = !opts.plan || !gc_plan_find(opts.plan)->is_moving;
    return crateld_gc_heap_create(&opts, ret);
}

struct crateld_error *crateld_gc_shared_heap(struct crateld_gc_heap **ret)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct crateld_gc_heap *heap; /* guarded by `lock` */
    pthread_mutex_lock(&lock);
    struct crateld_error *error = heap ? NULL : create(&heap);
    if (!error)
        *ret = heap;
    pthread_mutex_unlock(&lock);
    return error;
}

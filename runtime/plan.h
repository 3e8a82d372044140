/* A plan: how a heap allocates and collects. Each is a short assembly of the spaces, in a file of its own. */
#ifndef RUNTIME_PLAN_H
#define RUNTIME_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/ref.h"

struct crateld_gc_heap;
struct gc_mutator;

struct gc_plan {
    const char *name;
    bool is_moving; /* all roots have to be precise */
    bool can_collect;
    /* Sets up what the plan needs, in an empty heap. */
    void (*init)(struct crateld_gc_heap *heap);
    /* Small objects: see gc_alloc_storage(). 0: the mutator's memory is used up, and the trigger reached unless
     * `is_forced`. */
    uintptr_t (*alloc)(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off, bool is_forced);
    /* Collects: calls gc_trace_all() and what comes before and after. False: there is no memory to do so, and nothing
     * was done. */
    bool (*collect)(struct crateld_gc_heap *heap);
    /* During a collection: keeps the object, which is not in the large space, and queues it if it is new; returns where
     * it is now. */
    struct gc_ref (*trace)(struct crateld_gc_heap *heap, struct gc_ref ref);
    /* Works the queue off. */
    void (*drain)(struct crateld_gc_heap *heap);
    /* During a collection: whether it has been kept, and where it is now. */
    bool (*is_kept)(const struct crateld_gc_heap *heap, struct gc_ref ref);
    struct gc_ref (*current)(const struct crateld_gc_heap *heap, struct gc_ref ref);
};

extern const struct gc_plan gc_plan_nogc;
extern const struct gc_plan gc_plan_semispace;
extern const struct gc_plan gc_plan_immix;

/* The plan of that name; NULL if there is none. */
const struct gc_plan *gc_plan_find(const char *name);

#endif

/* Tracing: the queue of objects to scan, and the order of a collection: roots, ephemerons, weak references, finalizers.
 */
#ifndef RUNTIME_TRACE_H
#define RUNTIME_TRACE_H

#include "base/error.h"
#include "base/vec.h"
#include "runtime/ephemerons.h"
#include "runtime/object_model.h"

struct crateld_gc_heap;

struct gc_trace {
    struct object_visitor visitor; /* of scan(); first */
    struct crateld_gc_heap *heap;
    /* Objects that are kept and not scanned yet: reserved for as many as the heap can hold, so that pushing never
     * fails. */
    uintptr_t *stack;  /* owned, mapped */
    size_t stack_size; /* bytes reserved */
    size_t count;
    VEC(struct gc_edge) weaks;
    struct gc_ephemerons ephemerons;
    uint64_t live_count, live_size, ambiguous_count;
};

MUST_CHECK struct crateld_error *gc_trace_init(struct gc_trace *trace, struct crateld_gc_heap *heap,
                                               uint64_t heap_size);
void gc_trace_deinit(struct gc_trace *trace);

static inline void gc_trace_push(struct gc_trace *trace, struct gc_ref ref)
{
    trace->stack[trace->count++] = ref.address;
}

/* Finds all that lives, clears weak references, queues finalizers. */
void gc_trace_all(struct crateld_gc_heap *heap);

/* Keeps the object, in whatever space it is; returns where it is now. */
struct gc_ref gc_trace_object(struct crateld_gc_heap *heap, struct gc_ref ref);

/* Whether the object has been kept so far; and where one that has is now. */
bool gc_trace_is_kept(const struct crateld_gc_heap *heap, struct gc_ref ref);
struct gc_ref gc_trace_current(const struct crateld_gc_heap *heap, struct gc_ref ref);

/* Scans with the model's scan() until the queue is empty. */
void gc_trace_drain(struct crateld_gc_heap *heap);

#endif

#include "runtime/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/heap.h"

enum { STACK_KEEP = 1 << 20 }; /* bytes of the stack's memory that stay */

static struct gc_trace *trace_of(struct object_visitor *visitor)
{
    return (struct gc_trace *)(void *)visitor;
}

struct gc_ref gc_trace_object(struct crateld_gc_heap *heap, struct gc_ref ref)
{
    if (ref.address < heap->large_start)
        return heap->plan->trace(heap, ref);
    if (gc_large_mark(heap, ref))
        gc_trace_push(&heap->trace, ref);
    return ref;
}

bool gc_trace_is_kept(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return ref.address < heap->large_start ? heap->plan->is_kept(heap, ref) : gc_large_is_marked(heap, ref);
}

struct gc_ref gc_trace_current(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return ref.address < heap->large_start ? heap->plan->current(heap, ref) : ref;
}

static void visit_edge(struct object_visitor *visitor, struct gc_edge edge)
{
    struct crateld_gc_heap *heap = trace_of(visitor)->heap;
    struct gc_ref ref = gc_edge_load(edge);
    if (gc_ref_is_null(ref))
        return;
    if (heap->trace.ephemerons.lists)
        gc_ephemerons_found(&heap->trace.ephemerons, ref);
    struct gc_ref now = gc_trace_object(heap, ref);
    if (now.address != ref.address)
        gc_edge_store(edge, now);
}

static void visit_ambiguous(struct object_visitor *visitor, uintptr_t word)
{
    struct gc_trace *trace = trace_of(visitor);
    struct gc_ref ref = gc_find_ambiguous(trace->heap, word);
    if (gc_ref_is_null(ref))
        return;
    trace->ambiguous_count++;
    if (trace->ephemerons.lists)
        gc_ephemerons_found(&trace->ephemerons, ref);
    gc_trace_object(trace->heap, ref);
}

/* What can not be remembered, for want of memory, is kept: no reference goes wrong by it. */
static void visit_weak(struct object_visitor *visitor, struct gc_edge edge)
{
    struct gc_trace *trace = trace_of(visitor);
    if (!gc_ref_is_null(gc_edge_load(edge)) && !VEC_PUSH(&trace->weaks, edge))
        visit_edge(visitor, edge);
}

static void visit_ephemeron(struct object_visitor *visitor, struct gc_edge key, struct gc_edge value)
{
    struct gc_trace *trace = trace_of(visitor);
    if (gc_ref_is_null(gc_edge_load(key))) {
        visit_edge(visitor, value); /* without a key it is an ordinary reference */
    } else if (!gc_ephemerons_add(trace->heap, key, value)) {
        visit_edge(visitor, key);
        visit_edge(visitor, value);
    }
}

struct crateld_error *gc_trace_init(struct gc_trace *trace, struct crateld_gc_heap *heap, uint64_t heap_size)
{
    *trace = (struct gc_trace){.visitor = {visit_edge, visit_ambiguous, visit_weak, visit_ephemeron}, .heap = heap};
    /* Each object is pushed once, and the smallest with a reference takes a granule. */
    trace->stack_size = heap_size / GC_GRANULE * sizeof *trace->stack + STACK_KEEP;
    void *stack =
        mmap(NULL, trace->stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return error_create(CRATELD_ERROR_MEMORY, "gc: cannot reserve %zu MiB of address space for marking: %s",
                            trace->stack_size >> 20, strerror(errno));
    trace->stack = stack;
    return NULL;
}

void gc_trace_deinit(struct gc_trace *trace)
{
    if (trace->stack)
        munmap(trace->stack, trace->stack_size);
    free(trace->weaks.at);
    gc_ephemerons_deinit(&trace->ephemerons);
}

void gc_trace_drain(struct crateld_gc_heap *heap)
{
    struct gc_trace *trace = &heap->trace;
    while (trace->count) {
        struct gc_ref ref = {trace->stack[--trace->count]};
        trace->live_count++;
        trace->live_size += heap->model->current_size(heap->model, ref);
        heap->model->scan(heap->model, ref, &trace->visitor);
    }
}

/* Weak references to what is not kept become null, ephemerons with such keys too; other references are brought up to
 * date. */
static void clear_weak(struct crateld_gc_heap *heap)
{
    struct gc_trace *trace = &heap->trace;
    for (size_t i = 0; i < trace->weaks.count; i++) {
        struct gc_ref ref = gc_edge_load(trace->weaks.at[i]);
        if (!gc_ref_is_null(ref))
            gc_edge_store(trace->weaks.at[i],
                          gc_trace_is_kept(heap, ref) ? gc_trace_current(heap, ref) : (struct gc_ref){0});
    }
    trace->weaks.count = 0;
    gc_ephemerons_clear(&trace->ephemerons);
}

/* Moves the finalizers of dead objects to those that are due. `due` has room for all: see crateld_gc_finalizer_add().
 */
static void queue_finalizers(struct crateld_gc_heap *heap)
{
    size_t kept = 0, first = heap->due.count;
    for (size_t i = 0; i < heap->finalizers.count; i++) {
        struct gc_finalizer finalizer = heap->finalizers.at[i];
        if (gc_trace_is_kept(heap, finalizer.ref)) {
            finalizer.ref = gc_trace_current(heap, finalizer.ref);
            heap->finalizers.at[kept++] = finalizer;
        } else {
            heap->due.at[heap->due.count++] = finalizer;
        }
    }
    heap->finalizers.count = kept;
    for (size_t i = first; i < heap->due.count; i++)
        heap->due.at[i].ref = gc_trace_object(heap, heap->due.at[i].ref);
}

void gc_trace_all(struct crateld_gc_heap *heap)
{
    struct gc_trace *trace = &heap->trace;
    trace->live_count = trace->live_size = trace->ambiguous_count = 0;
    gc_roots_trace(heap, &trace->visitor);
    heap->plan->drain(heap);
    gc_ephemerons_trace(heap);
    /* After this, what is dead is dead for weak references; finalizers may still keep it for a while. */
    clear_weak(heap);
    queue_finalizers(heap);
    heap->plan->drain(heap);
    gc_ephemerons_trace(heap);
    clear_weak(heap);
    /* A deep stack is rare: what is above its usual depth goes back. */
    madvise(trace->stack + STACK_KEEP / sizeof *trace->stack, trace->stack_size - STACK_KEEP, MADV_DONTNEED);
}

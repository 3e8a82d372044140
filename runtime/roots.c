/* Roots: ranges under keys, frames, pins, stacks. */
#include <stdlib.h>

#include "runtime/heap.h"

static struct crateld_error *check_range(const struct crateld_gc_heap *heap, const struct crateld_gc_root_range *range)
{
    if ((uintptr_t)range->start % CRATELD_GC_WORD)
        return error_create(CRATELD_ERROR_USAGE, "gc: roots at %p, wanted a multiple of %d", range->start,
                            CRATELD_GC_WORD);
    if (range->kind == CRATELD_GC_AMBIGUOUS && heap->plan->is_moving)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "gc: ambiguous roots at %p, but plan %s moves objects",
                            range->start, heap->plan->name);
    return NULL;
}

struct crateld_error *crateld_gc_roots_add(struct crateld_gc_heap *heap, const void *key,
                                           const struct crateld_gc_root_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        TRY(check_range(heap, &ranges[i]));
    pthread_mutex_lock(&heap->lock);
    bool has_room = VEC_RESERVE(&heap->roots, count);
    for (size_t i = 0; i < count && has_room; i++)
        heap->roots.at[heap->roots.count++] = (struct gc_root){key, ranges[i]};
    pthread_mutex_unlock(&heap->lock);
    return has_room ? NULL : error_memory();
}

void crateld_gc_roots_withdraw(struct crateld_gc_heap *heap, const void *key)
{
    size_t kept = 0;
    pthread_mutex_lock(&heap->lock);
    for (size_t i = 0; i < heap->roots.count; i++)
        if (heap->roots.at[i].key != key)
            heap->roots.at[kept++] = heap->roots.at[i];
    heap->roots.count = kept;
    pthread_mutex_unlock(&heap->lock);
}

struct crateld_error *crateld_gc_stack_add(struct crateld_gc_heap *heap, struct crateld_gc_stack *stack)
{
    if (heap->plan->is_moving)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "gc: a stack is ambiguous, but plan %s moves objects",
                            heap->plan->name);
    stack->next = &heap->stacks;
    stack->previous = heap->stacks.previous;
    stack->previous->next = stack;
    heap->stacks.previous = stack;
    return NULL;
}

void crateld_gc_stack_remove(struct crateld_gc_heap *heap, struct crateld_gc_stack *stack)
{
    (void)heap;
    stack->previous->next = stack->next;
    stack->next->previous = stack->previous;
}

void crateld_gc_frame_push(struct crateld_gc_heap *heap, struct crateld_gc_frame *frame)
{
    frame->next = heap->frames;
    heap->frames = frame;
}

void crateld_gc_frame_pop(struct crateld_gc_heap *heap)
{
    heap->frames = heap->frames->next;
}

struct crateld_error *crateld_gc_pin(struct crateld_gc_heap *heap, void *object)
{
    struct gc_ref ref = {(uintptr_t)object};
    TRY(gc_check_object(heap, object));
    if (heap->plan->is_moving && ref.address < heap->large_start)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "gc: %p cannot be pinned, plan %s moves it", object,
                            heap->plan->name);
    for (size_t i = 0; i < heap->pins.count; i++)
        if (heap->pins.at[i].ref.address == ref.address) {
            heap->pins.at[i].count++;
            return NULL;
        }
    if (!VEC_PUSH(&heap->pins, (struct gc_pin){ref, 1}))
        return error_memory();
    object_metadata_store(&heap->metadata, OBJECT_PINNING_BIT, ref, 1, 1, false);
    return NULL;
}

void crateld_gc_unpin(struct crateld_gc_heap *heap, void *object)
{
    for (size_t i = 0; i < heap->pins.count; i++) {
        struct gc_pin *pin = &heap->pins.at[i];
        if (pin->ref.address != (uintptr_t)object || --pin->count)
            continue;
        object_metadata_store(&heap->metadata, OBJECT_PINNING_BIT, pin->ref, 1, 0, false);
        *pin = heap->pins.at[--heap->pins.count];
        return;
    }
}

/* The words of [low, high), of other functions' frames too: which a sanitizer would object to. */
__attribute__((no_sanitize("address"))) static void trace_ambiguous(struct object_visitor *visitor, const void *low,
                                                                    const void *high)
{
    const uintptr_t *begin = (const uintptr_t *)(((uintptr_t)low + 7) & ~(uintptr_t)7);
    for (const uintptr_t *word = begin; (uintptr_t)(word + 1) <= (uintptr_t)high; word++)
        visitor->ambiguous(visitor, *word);
}

/* The live part of a stack: of the one that this runs on, from the program's frames up. */
static void trace_stack(const struct crateld_gc_heap *heap, struct object_visitor *visitor, const void *low,
                        const void *high)
{
    bool is_running = heap->stack_here >= low && heap->stack_here < high;
    trace_ambiguous(visitor, is_running ? heap->stack_here : low, high);
}

static void trace_range(struct object_visitor *visitor, const struct crateld_gc_root_range *range)
{
    uintptr_t *words = range->start;
    if (range->kind == CRATELD_GC_AMBIGUOUS) {
        trace_ambiguous(visitor, words, words + range->count);
        return;
    }
    for (size_t i = 0; i < range->count; i++)
        visitor->edge(visitor, gc_edge_plain(words + i));
}

void gc_roots_trace(struct crateld_gc_heap *heap, struct object_visitor *visitor)
{
    for (size_t i = 0; i < heap->roots.count; i++)
        trace_range(visitor, &heap->roots.at[i].range);
    for (const struct crateld_gc_frame *frame = heap->frames; frame; frame = frame->next)
        for (size_t i = 0; i < frame->count; i++)
            visitor->edge(visitor, gc_edge_plain(&frame->variables[i]));
    for (size_t i = 0; i < heap->pins.count; i++)
        visitor->edge(visitor, gc_edge_plain(&heap->pins.at[i].ref));
    for (size_t i = heap->due_done; i < heap->due.count; i++)
        visitor->edge(visitor, gc_edge_plain(&heap->due.at[i].ref));
    for (const struct crateld_gc_stack *stack = heap->stacks.next; stack != &heap->stacks; stack = stack->next)
        trace_stack(heap, visitor, stack->low, stack->high);
    /* If another one runs, that was added, and this one from where it was left. */
    if (heap->stack_here >= heap->stack_low && heap->stack_here < heap->stack_high)
        trace_stack(heap, visitor, heap->stack_low, heap->stack_high);
    gc_immortal_trace(heap, visitor);
}

void gc_roots_deinit(struct crateld_gc_heap *heap)
{
    free(heap->roots.at);
    free(heap->pins.at);
    free(heap->finalizers.at);
    free(heap->due.at);
}

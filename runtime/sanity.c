/* The sanity trace: after a collection, the heap is traced again, by a set of addresses and the model's scan() alone.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heap.h"

struct sanity {
    struct object_visitor visitor; /* first */
    struct crateld_gc_heap *heap;
    uint8_t *seen; /* owned: a bit for each granule of the heap's range */
    VEC(uintptr_t) queue;
    const char *place; /* what is being looked at, for the message */
    bool is_short;     /* there was no memory to check everything */
};

static void die(const struct sanity *sanity, struct gc_ref ref, const char *what)
{
    fprintf(stderr, "crateld: gc sanity, plan %s: %s refers to 0x%" PRIxPTR ", which %s\n", sanity->heap->plan->name,
            sanity->place, ref.address, what);
    abort();
}

/* Whether the object's lines are marked, as far as the plan marks lines. */
static bool has_lines(const struct crateld_gc_heap *heap, uintptr_t start, size_t size)
{
    if (heap->plan != &gc_plan_immix || start >= heap->large_start)
        return true;
    for (uintptr_t line = start >> GC_LINE_LOG; line <= (start + size - 1) >> GC_LINE_LOG; line++)
        if (!*(uint8_t *)(heap->line_base + line))
            return false;
    return true;
}

static void check_object(struct sanity *sanity, struct gc_ref ref)
{
    struct crateld_gc_heap *heap = sanity->heap;
    if (ref.address < heap->base || ref.address >= heap->bound)
        die(sanity, ref, "is outside of the heap");
    struct gc_ref found = gc_find(heap, ref.address);
    if (found.address != ref.address)
        die(sanity, ref, "is no object");
    if (!object_is_sane(heap->model, ref))
        die(sanity, ref, "is not sane");
    uintptr_t start = heap->model->ref_to_object_start(heap->model, ref);
    if (!has_lines(heap, start, heap->model->current_size(heap->model, ref)))
        die(sanity, ref, "is in a line that is not marked");
    if (start < heap->large_start &&
        object_metadata_load(&heap->metadata, OBJECT_MARK_BIT, ref, OBJECT_ALL_BITS, false))
        die(sanity, ref, "is still marked");
    size_t granule = (start - heap->base) >> GC_GRANULE_LOG;
    if (sanity->seen[granule / 8] >> granule % 8 & 1)
        return;
    sanity->seen[granule / 8] |= (uint8_t)(1u << granule % 8);
    if (!VEC_PUSH(&sanity->queue, ref.address))
        sanity->is_short = true;
}

static void check_edge(struct object_visitor *visitor, struct gc_edge edge)
{
    struct gc_ref ref = gc_edge_load(edge);
    if (!gc_ref_is_null(ref))
        check_object((struct sanity *)(void *)visitor, ref);
}

static void check_ambiguous(struct object_visitor *visitor, uintptr_t word)
{
    struct sanity *sanity = (struct sanity *)(void *)visitor;
    struct gc_ref ref = gc_find_ambiguous(sanity->heap, word);
    if (!gc_ref_is_null(ref))
        check_object(sanity, ref);
}

static void check_ephemeron(struct object_visitor *visitor, struct gc_edge key, struct gc_edge value)
{
    check_edge(visitor, key);
    check_edge(visitor, value);
}

void gc_sanity_check(struct crateld_gc_heap *heap)
{
    size_t granules = (heap->bound - heap->base) >> GC_GRANULE_LOG;
    struct sanity sanity = {.visitor = {check_edge, check_ambiguous, check_edge, check_ephemeron},
                            .heap = heap,
                            .seen = calloc(granules / 8 + 1, 1),
                            .place = "a root"};
    if (!sanity.seen)
        return;
    gc_roots_trace(heap, &sanity.visitor);
    sanity.place = "an object";
    while (sanity.queue.count && !sanity.is_short)
        heap->model->scan(heap->model, (struct gc_ref){sanity.queue.at[--sanity.queue.count]}, &sanity.visitor);
    free(sanity.queue.at);
    free(sanity.seen);
}

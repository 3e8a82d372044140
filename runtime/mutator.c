/* The slow paths of allocation. */
#include <inttypes.h>
#include <string.h>

#include "runtime/heap.h"

#define HEAP_REQUEST_MAX (UINT64_C(60) << 30) /* sizes in granules fit into the header's 32 bits */

/* One attempt, with the memory there is. */
static uintptr_t try_alloc(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off,
                           enum crateld_gc_semantics semantics, bool is_forced)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    bool is_apart = semantics == CRATELD_GC_LARGE || (semantics == CRATELD_GC_NONMOVING && heap->plan->is_moving);
    if (semantics != CRATELD_GC_IMMORTAL && !is_apart && size + align <= CRATELD_GC_SMALL_MAX + GC_GRANULE)
        return heap->plan->alloc(mutator, size, align, align_off, is_forced);
    if (!is_forced && gc_used_size(heap, 0) + size + align > heap->trigger_size)
        return 0;
    return semantics == CRATELD_GC_IMMORTAL ? gc_immortal_alloc(heap, size, align, align_off)
                                            : gc_large_alloc(heap, size, align, align_off);
}

/* Counts an allocation, and collects if stress asks for it at this one. */
static void stress(struct crateld_gc_heap *heap)
{
    if (++heap->allocation_count < heap->opts.stress_interval || !gc_may_collect(heap))
        return;
    heap->allocation_count = 0;
    gc_collect_now(heap);
}

/* Raises the trigger towards the limit by what is wanted; false if it is there. */
static bool raise_trigger(struct crateld_gc_heap *heap, size_t size)
{
    if (heap->trigger_size >= heap->opts.heap_size)
        return false;
    uint64_t more = heap->trigger_size / 4 + size;
    heap->trigger_size =
        heap->opts.heap_size - heap->trigger_size < more ? heap->opts.heap_size : heap->trigger_size + more;
    return true;
}

/* Memory from what the heap may use, a collection if need be, and what it may not, if collection is disabled. */
static uintptr_t alloc_any(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off,
                           enum crateld_gc_semantics semantics, bool may_collect)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    uintptr_t start = try_alloc(mutator, size, align, align_off, semantics, false);
    if (!start && may_collect && gc_may_collect(heap)) {
        gc_collect_now(heap);
        start = try_alloc(mutator, size, align, align_off, semantics, false);
    }
    while (!start && may_collect && raise_trigger(heap, size))
        start = try_alloc(mutator, size, align, align_off, semantics, false);
    if (!start && heap->disable_count)
        start = try_alloc(mutator, size, align, align_off, semantics, true);
    return start;
}

uintptr_t gc_alloc_storage(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off,
                           enum crateld_gc_semantics semantics, bool may_collect)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    if (!gc_is_owner(heap))
        return 0;
    heap->why[0] = 0;
    if (heap->is_collecting) {
        gc_fail(heap, "gc: allocation during a collection");
        return 0;
    }
    if (size > heap->opts.heap_size) {
        gc_fail(heap, "gc: %zu bytes are wanted, the heap's limit is %zu", size, heap->opts.heap_size);
        return 0;
    }
    if (heap->opts.stress_interval && may_collect)
        stress(heap);
    uintptr_t start = alloc_any(mutator, size, align, align_off, semantics, may_collect);
    /* Under stress, each allocation is to come here. */
    mutator->public.limit = heap->opts.stress_interval ? mutator->public.cursor : mutator->limit;
    if (start)
        heap->why[0] = 0;
    else if (!heap->why[0])
        gc_fail(heap, "gc: no memory for %zu bytes: %" PRIu64 " of %zu are in use%s", size, gc_used_size(heap, 0),
                heap->opts.heap_size, may_collect ? "" : ", and no collection is allowed");
    return start;
}

/* Whether the request makes sense: says what does not. */
static bool check_request(struct crateld_gc_heap *heap, uint32_t type, size_t size,
                          const struct crateld_gc_alloc_opts *opts)
{
    size_t align = opts->align ? opts->align : CRATELD_GC_WORD;
    if (type >= heap->own_model.types.count)
        gc_fail(heap, "gc: type %u is wanted, there are %zu", type, heap->own_model.types.count);
    else if (size < heap->own_model.types.at[type].description->size)
        gc_fail(heap, "gc: %zu bytes are wanted for a '%s', which has %u", size,
                heap->own_model.types.at[type].description->name, heap->own_model.types.at[type].description->size);
    else if (align & (align - 1) || align > GC_PAGE || align < CRATELD_GC_WORD)
        gc_fail(heap, "gc: an alignment of %zu is wanted; possible are powers of two from %d to %d", align,
                CRATELD_GC_WORD, GC_PAGE);
    else if (opts->align_off % CRATELD_GC_WORD || opts->align_off > GC_PAGE)
        gc_fail(heap, "gc: byte %zu is to be aligned, wanted a multiple of %d up to %d", opts->align_off,
                CRATELD_GC_WORD, GC_PAGE);
    else if ((unsigned)opts->semantics > CRATELD_GC_NONMOVING)
        gc_fail(heap, "gc: semantics are %d, wanted at most %d", (int)opts->semantics, CRATELD_GC_NONMOVING);
    else if (size > heap->opts.heap_size)
        gc_fail(heap, "gc: %zu bytes are wanted, the heap's limit is %zu", size, heap->opts.heap_size);
    else if (size > HEAP_REQUEST_MAX)
        gc_fail(heap, "gc: %zu bytes are wanted, an object has at most %" PRIu64, size, HEAP_REQUEST_MAX);
    else
        return true;
    return false;
}

/* Storage with a header: see crateld_gc_alloc_with(). */
static void *alloc_object(struct gc_mutator *mutator, uint32_t type, size_t size,
                          const struct crateld_gc_alloc_opts *opts)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    enum crateld_gc_semantics semantics = opts->semantics;
    /* The reference is 8 behind a multiple of the granule; or 16, behind a word of padding, if that is what the
     * alignment wants. */
    bool is_padded = opts->align > CRATELD_GC_WORD && opts->align_off % GC_GRANULE == 0;
    size_t lead = is_padded ? 2 * CRATELD_GC_WORD : CRATELD_GC_WORD;
    /* At least a word, so that the reference lies inside. */
    size_t total = ((size ? size : 1) + lead + GC_GRANULE - 1) & ~(size_t)(GC_GRANULE - 1);
    size_t align = opts->align < GC_GRANULE ? GC_GRANULE : opts->align;
    size_t off = opts->align > CRATELD_GC_WORD ? lead + opts->align_off : 0;
    /* Only padding tells a copy how to be aligned. */
    if (heap->plan->is_moving && align > GC_GRANULE && !is_padded && semantics == CRATELD_GC_DEFAULT)
        semantics = CRATELD_GC_NONMOVING;
    uintptr_t start = gc_alloc_storage(mutator, total, align, off, semantics, !opts->must_not_collect);
    if (!start)
        return NULL;
    if (is_padded)
        *(uint64_t *)start = own_padding(opts->align, opts->align_off);
    *(uint64_t *)(start + lead - CRATELD_GC_WORD) = CRATELD_GC_HEADER(type, total);
    gc_publish(heap, start);
    return (void *)(start + lead);
}

void *crateld_gc_alloc_with(struct crateld_gc_mutator *public, uint32_t type, size_t size,
                            const struct crateld_gc_alloc_opts *opts)
{
    struct crateld_gc_heap *heap = public->heap;
    static const struct crateld_gc_alloc_opts defaults;
    opts = opts ? opts : &defaults;
    if (!gc_is_owner(heap))
        return NULL;
    pthread_mutex_lock(&heap->lock);
    void *object = check_request(heap, type, size, opts)
                       ? alloc_object((struct gc_mutator *)(void *)public, type, size, opts)
                       : NULL;
    pthread_mutex_unlock(&heap->lock);
    return object;
}

void *crateld_gc_alloc_slow(struct crateld_gc_mutator *mutator, uint32_t type, size_t size)
{
    return crateld_gc_alloc_with(mutator, type, size, NULL);
}

/* NoGC: allocates until the heap is full. For programs that end before that, and to measure what collecting costs. */
#include "runtime/bump.h"
#include "runtime/heap.h"

static void init(struct crateld_gc_heap *heap)
{
    (void)heap; /* an empty heap is all it needs */
}

static uintptr_t alloc(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off, bool is_forced)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    uintptr_t start = gc_bump(&mutator->public.cursor, mutator->limit, size, align, align_off);
    if (start)
        return start;
    bool is_clean; /* always: no block is used twice */
    uint32_t block = gc_block_take(heap, is_forced, &is_clean);
    if (block == GC_NO_BLOCK)
        return 0;
    mutator->public.cursor = gc_block_start(heap, block);
    mutator->limit = mutator->public.cursor + GC_BLOCK;
    return gc_bump(&mutator->public.cursor, mutator->limit, size, align, align_off);
}

const struct gc_plan gc_plan_nogc = {.name = "nogc", .init = init, .alloc = alloc};

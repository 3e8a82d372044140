/* From addresses to objects: by valid-object bits. */
#include "runtime/heap.h"

/* Where the storage may begin in which `address` lies: the start of its block or of its run of pages; 0: memory not in
 * use. */
static uintptr_t search_limit(const struct crateld_gc_heap *heap, uintptr_t address)
{
    if (address < heap->base || address >= heap->bound)
        return 0;
    if (address < heap->large_start) {
        uint32_t block = gc_block_of(heap, address);
        return heap->blocks[block].state == GC_BLOCK_FREE ? 0 : gc_block_start(heap, block);
    }
    const struct gc_large_run *run = gc_large_find(heap, address);
    return run ? gc_large_run_start(heap, run) : 0;
}

struct gc_ref gc_find(const struct crateld_gc_heap *heap, uintptr_t address)
{
    const struct gc_ref none = {0};
    uintptr_t limit = search_limit(heap, address);
    if (!limit)
        return none;
    /* A large object starts in the first page of its run. */
    const struct gc_large_run *run = address >= heap->large_start ? gc_large_find(heap, address) : NULL;
    uintptr_t from = run && !run->is_immortal && address > limit + GC_PAGE - 1 ? limit + GC_PAGE - 1 : address;
    uintptr_t start = side_find_previous(&heap->side, &heap->vo, from, limit);
    if (!start)
        return none;
    struct gc_ref ref = heap->model->object_start_to_ref(heap->model, start);
    return address - start < heap->model->current_size(heap->model, ref) ? ref : none;
}

struct gc_ref gc_find_ambiguous(const struct crateld_gc_heap *heap, uintptr_t word)
{
    /* A reference lies behind its object's start, so an object's start can only be meant as the end of the one before.
     */
    if (word - heap->base > heap->bound - heap->base)
        return (struct gc_ref){0};
    struct gc_ref ref = {0};
    if (!heap->model->ref_off_lower_bound)
        ref = gc_find(heap, word);
    return gc_ref_is_null(ref) ? gc_find(heap, word - 1) : ref;
}

void gc_walk_range(const struct crateld_gc_heap *heap, uintptr_t begin, uintptr_t end,
                   void (*visit)(uintptr_t start, void *context), void *context)
{
    while (begin < end) {
        uintptr_t start = side_find_next(&heap->side, &heap->vo, begin, end);
        if (!start)
            break;
        visit(start, context);
        begin = start + GC_GRANULE;
    }
}

void gc_walk(const struct crateld_gc_heap *heap, void (*visit)(uintptr_t start, void *context), void *context)
{
    for (uint32_t i = 0; i < heap->block_count; i++)
        if (heap->blocks[i].state != GC_BLOCK_FREE)
            gc_walk_range(heap, gc_block_start(heap, i), gc_block_start(heap, i) + GC_BLOCK, visit, context);
    for (uint32_t page = 0; page < heap->large.top_page; page++) {
        if (!heap->large.run_of[page])
            continue;
        const struct gc_large_run *run = &heap->large.runs.at[heap->large.run_of[page] - 1];
        uintptr_t begin = gc_large_run_start(heap, run);
        gc_walk_range(heap, begin, begin + ((uintptr_t)run->page_count << GC_PAGE_LOG), visit, context);
        page = run->page + run->page_count - 1;
    }
}

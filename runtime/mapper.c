/* A heap's address space: reserved whole, made accessible chunk by chunk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/heap.h"

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) & ~(unit - 1);
}

/* Lays the side metadata out: VO bits first, at an offset that compiled code may rely on; then the model's; then line
 * marks. */
static struct crateld_error *lay_out_metadata(struct crateld_gc_heap *heap)
{
    static const struct side_spec core[] = {{"valid object", true, 0, GC_GRANULE_LOG, 0}};
    unsigned log_range = 64 - (unsigned)__builtin_clzll(heap->bound - heap->base - 1);
    TRY(side_layout_init(&heap->layout, heap->base, log_range, core, 1));
    TRY(object_metadata_init(&heap->metadata, heap->model, &heap->side, &heap->layout));
    TRY(side_layout_add(&heap->layout, &(struct side_spec){"line mark", false, 3, GC_LINE_LOG, 0}, &heap->line));
    TRY(side_layout_seal(&heap->layout));
    TRY(side_metadata_reserve(&heap->side, &heap->layout, NULL));
    heap->vo = core[0];
    heap->vo_base = heap->side.base - (heap->base >> 10) * 8;
    heap->line_base = heap->side.base + heap->line.off - (heap->base >> GC_LINE_LOG);
    return NULL;
}

static struct crateld_error *make_tables(struct crateld_gc_heap *heap)
{
    heap->blocks = calloc(heap->block_count, sizeof *heap->blocks);
    heap->free_blocks = calloc(heap->block_count, sizeof *heap->free_blocks);
    heap->chunk_states = calloc((heap->bound - heap->base) >> GC_CHUNK_LOG, 1);
    if (!heap->blocks || !heap->free_blocks || !heap->chunk_states)
        return error_memory();
    return gc_large_init(&heap->large, heap->bound - heap->large_start);
}

/* Half as much again as the limit, for allocation while collection is disabled. Plans that copy have two halves, each
 * with room for copies of that, and a third more for what copies waste at blocks' ends. */
static uint64_t blocks_size_for(const struct crateld_gc_heap *heap, uint64_t limit)
{
    double expansion = heap->model->worst_case_copy_expansion;
    uint64_t half = (uint64_t)((double)limit * 2 * expansion / (1 + expansion)) + GC_CHUNK;
    return heap->plan->is_moving ? 2 * round_up(half, GC_CHUNK) : round_up(limit + limit / 2, GC_CHUNK);
}

struct crateld_error *gc_reserve(struct crateld_gc_heap *heap, uint64_t limit)
{
    uint64_t blocks_size = blocks_size_for(heap, limit), large_size = round_up(limit + limit / 2, GC_CHUNK);
    uint64_t size = blocks_size + large_size;
    char *base = mmap(NULL, size + GC_CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return error_create(CRATELD_ERROR_MEMORY,
                            "gc: cannot reserve %zu MiB of address space for a heap of %zu MiB: %s",
                            (size_t)((size + GC_CHUNK) >> 20), (size_t)(limit >> 20), strerror(errno));
    /* Aligned to the chunk: what is in front and behind goes back. */
    uintptr_t start = round_up((uintptr_t)base, GC_CHUNK), lead = start - (uintptr_t)base;
    if (lead)
        munmap(base, lead);
    munmap((void *)(start + size), GC_CHUNK - lead);
    heap->base = start;
    heap->large_start = start + blocks_size;
    heap->bound = start + size;
    heap->block_count = (uint32_t)(blocks_size >> GC_BLOCK_LOG);
    TRY(lay_out_metadata(heap));
    return make_tables(heap);
}

void gc_unreserve(struct crateld_gc_heap *heap)
{
    side_metadata_deinit(&heap->side);
    if (heap->base)
        munmap((void *)heap->base, heap->bound - heap->base);
    gc_large_deinit(&heap->large);
    free(heap->chunk_states);
    free(heap->blocks);
    free(heap->free_blocks);
}

/* Makes one chunk accessible. */
static bool map_chunk(struct crateld_gc_heap *heap, uintptr_t start)
{
    struct crateld_error *error = side_metadata_map(&heap->side, start, GC_CHUNK);
    if (error) {
        gc_fail(heap, "%s", crateld_error_message(error));
        crateld_error_destroy(error);
        return false;
    }
    if (mprotect((void *)start, GC_CHUNK, PROT_READ | PROT_WRITE) != 0) {
        gc_fail(heap, "gc: cannot map %d bytes of heap at %p: %s", GC_CHUNK, (void *)start, strerror(errno));
        return false;
    }
    /* The first touch of a page is dear: fewer and larger ones where the system offers them; it need not. Not in an
     * area's first chunk: a small heap is to start at once, and stay small. */
    if (start != heap->base && start != heap->large_start)
        madvise((void *)start, GC_CHUNK, MADV_HUGEPAGE);
    heap->stats.mapped_size += GC_CHUNK;
    heap->stats.metadata_size += side_layout_size_for(&heap->layout, GC_CHUNK);
    return true;
}

bool gc_map(struct crateld_gc_heap *heap, uintptr_t at, size_t size)
{
    size_t first = (at - heap->base) >> GC_CHUNK_LOG, last = (at + size - 1 - heap->base) >> GC_CHUNK_LOG;
    for (size_t i = first; i <= last; i++) {
        if (heap->chunk_states[i] == GC_CHUNK_INACCESSIBLE && !map_chunk(heap, heap->base + (i << GC_CHUNK_LOG)))
            return false;
        heap->chunk_states[i] = GC_CHUNK_MAPPED;
    }
    return true;
}

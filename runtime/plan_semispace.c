/* SemiSpace: small objects are copied from one half of the blocks to the other, large ones are marked. All roots are
 * precise. */
#include <string.h>

#include "runtime/bump.h"
#include "runtime/heap.h"

static uint32_t half_size(const struct crateld_gc_heap *heap)
{
    return heap->block_count / 2;
}

static uint32_t other_half(const struct crateld_gc_heap *heap)
{
    return heap->half_start ? 0 : half_size(heap);
}

static void init(struct crateld_gc_heap *heap)
{
    heap->half_start = 0;
    /* Which blocks are zero is known of all: nothing has been used. */
    for (uint32_t i = 0; i < heap->block_count; i++)
        heap->blocks[i].is_clean = true;
}

/* Blocks that copies of `count` blocks take at most: they may expand, waste less than a quarter of a block at its end,
 * as nothing larger is allocated there, and waste for alignments what has been counted. */
static uint64_t copied_block_count(const struct crateld_gc_heap *heap, uint32_t count)
{
    double size = count * heap->model->worst_case_copy_expansion * GC_BLOCK + (double)heap->align_slack;
    return (uint64_t)(size * 4 / 3 / GC_BLOCK) + 2;
}

/* The next block of the half, zeroed. While collecting, it is for copies, for which there is room. */
static uint32_t take_block(struct crateld_gc_heap *heap, bool is_forced)
{
    uint32_t block = heap->half_start + heap->half_block_count;
    if (!is_forced && gc_used_size(heap, 1) > heap->trigger_size)
        return GC_NO_BLOCK;
    if (!heap->is_collecting && copied_block_count(heap, heap->half_block_count + 1) > half_size(heap)) {
        gc_fail(heap, "gc: %u blocks of %u are in use, more could not be copied", heap->half_block_count,
                half_size(heap));
        return GC_NO_BLOCK;
    }
    if (!gc_map(heap, gc_block_start(heap, block), GC_BLOCK))
        return GC_NO_BLOCK;
    if (!heap->blocks[block].is_clean)
        memset((void *)gc_block_start(heap, block), 0, GC_BLOCK);
    heap->blocks[block] = (struct gc_block_info){.state = GC_BLOCK_FULL, .is_backed = true};
    heap->half_block_count++;
    heap->used_block_count++;
    heap->taken_block_count++;
    return block;
}

static uintptr_t alloc_in_blocks(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off,
                                 bool is_forced)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    uintptr_t start = gc_bump(&mutator->public.cursor, mutator->limit, size, align, align_off);
    if (start)
        return start;
    uint32_t block = take_block(heap, is_forced);
    if (block == GC_NO_BLOCK)
        return 0;
    uintptr_t begin = gc_block_start(heap, block);
    /* Blocks that follow each other are one piece of memory, but objects do not cross their border. */
    mutator->public.cursor = begin;
    mutator->limit = begin + GC_BLOCK;
    return gc_bump(&mutator->public.cursor, mutator->limit, size, align, align_off);
}

static uintptr_t alloc(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off, bool is_forced)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    size_t slack = align > GC_GRANULE ? align : 0;
    heap->align_slack += slack;
    bool has_room =
        heap->is_collecting || !slack || copied_block_count(heap, heap->half_block_count) <= half_size(heap);
    uintptr_t start = has_room ? alloc_in_blocks(mutator, size, align, align_off, is_forced) : 0;
    if (!has_room)
        gc_fail(heap, "gc: %u blocks of %u are in use, more alignment could not be copied", heap->half_block_count,
                half_size(heap));
    if (!start)
        heap->align_slack -= slack;
    return start;
}

struct copying {
    struct object_copy_context context; /* first */
    struct crateld_gc_heap *heap;
};

static uintptr_t alloc_copy(struct object_copy_context *context, size_t size, size_t align, size_t align_off,
                            enum object_copy_semantics semantics)
{
    struct crateld_gc_heap *heap = ((struct copying *)(void *)context)->heap;
    (void)semantics; /* there is one */
    return alloc(&heap->mutator, size, align < GC_GRANULE ? GC_GRANULE : align, align_off, true);
}

static void post_copy(struct object_copy_context *context, struct gc_ref copy, size_t size)
{
    struct crateld_gc_heap *heap = ((struct copying *)(void *)context)->heap;
    (void)size;
    gc_publish(heap, heap->model->ref_to_object_start(heap->model, copy));
    gc_trace_push(&heap->trace, copy);
}

static bool is_forwarded(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return object_metadata_load(&heap->metadata, OBJECT_FORWARDING_BITS, ref, OBJECT_ALL_BITS, false) ==
           OBJECT_FORWARDED;
}

static struct gc_ref forwarded(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return (struct gc_ref){
        object_metadata_load(&heap->metadata, OBJECT_FORWARDING_POINTER, ref, OBJECT_POINTER_BITS, false)};
}

static bool is_in_to_space(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    uint32_t block = gc_block_of(heap, ref.address);
    return block - heap->half_start < half_size(heap) && block >= heap->half_start;
}

static struct gc_ref trace(struct crateld_gc_heap *heap, struct gc_ref ref)
{
    /* Roots may be given twice: the second time they are up to date. */
    if (is_in_to_space(heap, ref))
        return ref;
    if (is_forwarded(heap, ref))
        return forwarded(heap, ref);
    struct copying copying = {{alloc_copy, post_copy}, heap};
    /* There is room: collect() has seen to that. */
    struct gc_ref to = heap->model->copy(heap->model, ref, OBJECT_COPY_DEFAULT, &copying.context);
    object_metadata_store(&heap->metadata, OBJECT_FORWARDING_POINTER, ref, OBJECT_POINTER_BITS, to.address, false);
    object_metadata_store(&heap->metadata, OBJECT_FORWARDING_BITS, ref, OBJECT_ALL_BITS, OBJECT_FORWARDED, false);
    return to;
}

static bool is_kept(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return is_in_to_space(heap, ref) || is_forwarded(heap, ref);
}

static struct gc_ref current(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return is_in_to_space(heap, ref) ? ref : forwarded(heap, ref);
}

/* Makes sure that all of the half in use could be copied. */
static bool prepare_room(struct crateld_gc_heap *heap)
{
    /* A half has room for all that was allocated: see take_block(). Only by copies, which waste, may there be more
     * blocks in use than that would be true of. */
    uint64_t wanted = copied_block_count(heap, heap->half_block_count);
    wanted = wanted < half_size(heap) ? wanted : half_size(heap);
    return gc_map(heap, gc_block_start(heap, other_half(heap)), (size_t)wanted << GC_BLOCK_LOG);
}

/* Empties the half that was copied from. */
static void free_half(struct crateld_gc_heap *heap, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        bit_range_zero(gc_block_bits(heap, &heap->vo, i));
        for (int id = 0; id < OBJECT_SPEC_COUNT; id++)
            if (!heap->model->specs[id].is_in_header)
                bit_range_zero(gc_block_bits(heap, &heap->metadata.placed[id], i));
        if (heap->opts.is_poisoned)
            memset((void *)gc_block_start(heap, i), GC_POISON, GC_BLOCK);
        heap->blocks[i].state = GC_BLOCK_FREE;
    }
    heap->used_block_count -= count;
}

/* Gives the memory behind the blocks of a half from `first` on back that are not in use. */
static void release_half(struct crateld_gc_heap *heap, uint32_t half, uint32_t first)
{
    for (uint32_t i = half + first; i < half + half_size(heap); i++)
        gc_block_give_back(heap, i);
}

/* What copies have left of their last block is for the program; but not where they have wasted so much that the limit
 * is exceeded by it, or that more could not be copied. */
static void close_last_block(struct crateld_gc_heap *heap)
{
    if (gc_used_size(heap, 0) > heap->opts.heap_size ||
        copied_block_count(heap, heap->half_block_count) > half_size(heap))
        heap->mutator.public.cursor = heap->mutator.limit = 0;
}

static bool collect(struct crateld_gc_heap *heap)
{
    uint32_t from = heap->half_start, from_count = heap->half_block_count, taken = heap->taken_block_count;
    if (!prepare_room(heap))
        return false;
    heap->half_start = other_half(heap);
    heap->half_block_count = 0;
    heap->align_slack = 0;
    heap->mutator.public.cursor = heap->mutator.limit = 0;
    gc_trace_all(heap);
    free_half(heap, from, from_count);
    gc_large_sweep(heap);
    close_last_block(heap);
    heap->taken_block_count = taken; /* by the program; copies do not count */
    uint32_t likely = gc_blocks_likely_needed(heap);
    release_half(heap, heap->half_start, heap->half_block_count + likely);
    release_half(heap, from, likely);
    gc_chunks_release(heap);
    return true;
}

const struct gc_plan gc_plan_semispace = {
    .name = "semispace",
    .is_moving = true,
    .can_collect = true,
    .init = init,
    .alloc = alloc,
    .collect = collect,
    .trace = trace,
    .drain = gc_trace_drain,
    .is_kept = is_kept,
    .current = current,
};

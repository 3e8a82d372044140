/* Blocks: taken, freed, given back to the system. */
#include <sys/mman.h>

#include "runtime/heap.h"

struct bit_range gc_block_bits(const struct crateld_gc_heap *heap, const struct side_spec *spec, uint32_t block)
{
    return side_range(&heap->side, spec, gc_block_start(heap, block), GC_BLOCK);
}

/* A block that is not in use, off its list; its chunk is mapped. */
static uint32_t take_any(struct crateld_gc_heap *heap)
{
    if (heap->free_block_count)
        return heap->free_blocks[--heap->free_block_count];
    if (heap->next_fresh_block == heap->block_count) {
        gc_fail(heap, "gc: all %u blocks of the heap's address space are in use", heap->block_count);
        return GC_NO_BLOCK;
    }
    uint32_t block = heap->next_fresh_block;
    if (!gc_map(heap, gc_block_start(heap, block), GC_BLOCK))
        return GC_NO_BLOCK;
    heap->next_fresh_block++;
    heap->blocks[block].is_clean = true;
    return block;
}

uint32_t gc_block_take(struct crateld_gc_heap *heap, bool is_forced, bool *is_clean)
{
    if (!is_forced && gc_used_size(heap, 1) > heap->trigger_size)
        return GC_NO_BLOCK;
    uint32_t block = take_any(heap);
    if (block == GC_NO_BLOCK)
        return block;
    struct gc_block_info *info = &heap->blocks[block];
    *is_clean = info->is_clean;
    *info = (struct gc_block_info){.state = GC_BLOCK_FULL, .is_backed = true};
    heap->chunk_states[block / GC_CHUNK_BLOCKS] = GC_CHUNK_MAPPED;
    heap->used_block_count++;
    heap->taken_block_count++;
    return block;
}

void gc_block_free(struct crateld_gc_heap *heap, uint32_t block)
{
    heap->blocks[block].state = GC_BLOCK_FREE;
    heap->used_block_count--;
    heap->free_blocks[heap->free_block_count++] = block;
}

uint32_t gc_blocks_likely_needed(struct crateld_gc_heap *heap)
{
    uint32_t taken = heap->taken_block_count, before = heap->taken_before_count;
    heap->taken_before_count = taken;
    heap->taken_block_count = 0;
    /* Twice that: giving back what is wanted again soon is dearer than keeping it. */
    return 2 * (taken > before ? taken : before) + heap->used_block_count / 16;
}

void gc_block_give_back(struct crateld_gc_heap *heap, uint32_t block)
{
    struct gc_block_info *info = &heap->blocks[block];
    if (info->state != GC_BLOCK_FREE || !info->is_backed)
        return;
    if (madvise((void *)gc_block_start(heap, block), GC_BLOCK, MADV_DONTNEED) != 0)
        return; /* it stays, dirty as it is */
    info->is_backed = false;
    info->is_clean = true;
}

/* Whether no block of the chunk that starts with `block` has memory. */
static bool is_idle(const struct crateld_gc_heap *heap, uint32_t block)
{
    for (uint32_t i = block; i < block + GC_CHUNK_BLOCKS; i++)
        if (heap->blocks[i].state != GC_BLOCK_FREE || heap->blocks[i].is_backed)
            return false;
    return true;
}

void gc_chunks_release(struct crateld_gc_heap *heap)
{
    for (uint32_t block = 0; block < heap->block_count; block += GC_CHUNK_BLOCKS) {
        uint8_t *state = &heap->chunk_states[block / GC_CHUNK_BLOCKS];
        if (*state != GC_CHUNK_MAPPED || !is_idle(heap, block))
            continue;
        /* Free blocks have no bits set, so nothing is lost. */
        side_metadata_unback(&heap->side, gc_block_start(heap, block), GC_CHUNK);
        *state = GC_CHUNK_IDLE;
    }
}

void gc_blocks_release(struct crateld_gc_heap *heap)
{
    uint32_t keep = gc_blocks_likely_needed(heap);
    for (uint32_t i = 0; i + keep < heap->free_block_count; i++)
        gc_block_give_back(heap, heap->free_blocks[i]);
    gc_chunks_release(heap);
}

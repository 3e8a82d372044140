/* Immix, not moving: blocks of lines. A collection marks objects and the lines that they touch; allocation then fills
 * the holes between marked lines, and takes free blocks for what holes do not hold.
 *
 * S. M. Blackburn, K. S. McKinley: Immix, a mark-region garbage collector (PLDI 2008). Other than there, all lines of
 * an object are marked, since its size is at hand when it is scanned; so every line without a mark is free.
 */
#include <string.h>

#include "runtime/bump.h"
#include "runtime/heap.h"
#include "runtime/mark.h"

/* Memory is zeroed in pieces just before it is used. Where the caches hold the heap, those that the nearest one holds
 * beside all else are best; where it comes from memory, larger ones, of which a CPU need not read what it overwrites.
 */
enum {
    ZERO_PIECE = 1024,
    ZERO_PIECE_LARGE = 4096,
    CACHED_MAX = 16 << 20, /* bytes of a heap that the caches are likely to hold */
};

enum { OVERFLOW_LINES = 4 }; /* no smaller hole is worth being taken for larger objects */

static void init(struct crateld_gc_heap *heap)
{
    gc_mark_init(heap);
}

/* The next run of free lines of the block, from `line` on: [*begin, *end); false if there is none. */
static bool find_hole(const uint8_t *marks, uint32_t line, uint32_t *begin, uint32_t *end)
{
    while (line < GC_BLOCK_LINES && marks[line])
        line++;
    *begin = line;
    while (line < GC_BLOCK_LINES && !marks[line])
        line++;
    *end = line;
    return *begin < GC_BLOCK_LINES;
}

/* Puts the cursor at `begin`. */
static void open_hole(struct gc_mutator *mutator, uintptr_t begin, uintptr_t end, bool is_clean)
{
    mutator->public.cursor = mutator->limit = begin;
    mutator->hole_end = end;
    mutator->is_hole_clean = is_clean;
}

/* Makes more of the hole ready for allocation: at least `size` bytes behind the cursor, if it has them. */
static bool extend(struct gc_mutator *mutator, size_t size)
{
    size_t left = mutator->hole_end - mutator->limit;
    size_t usual = mutator->public.heap->trigger_size > CACHED_MAX ? ZERO_PIECE_LARGE : ZERO_PIECE;
    size_t piece = size < usual ? usual : size;
    if (!left)
        return false;
    piece = piece < left ? piece : left;
    if (!mutator->is_hole_clean)
        memset((void *)mutator->limit, 0, piece);
    mutator->limit += piece;
    return true;
}

/* Puts the next hole of at least `size` bytes at the mutator's cursor, zeroed; smaller ones are left for after the next
 * collection. */
static bool take_hole(struct gc_mutator *mutator, size_t size)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    for (; mutator->hole_block < heap->next_fresh_block; mutator->hole_block++, mutator->hole_line = 0) {
        uint32_t block = mutator->hole_block, begin, end;
        if (heap->blocks[block].state != GC_BLOCK_RECYCLABLE)
            continue;
        while (find_hole(gc_line_marks(heap, block), mutator->hole_line, &begin, &end)) {
            mutator->hole_line = end;
            if ((size_t)(end - begin) * GC_LINE < size)
                continue;
            uintptr_t start = gc_block_start(heap, block);
            open_hole(mutator, start + begin * GC_LINE, start + end * GC_LINE, false);
            return true;
        }
        heap->blocks[block].state = GC_BLOCK_FULL;
    }
    return false;
}

/* Allocates from the hole at the cursor. */
static uintptr_t alloc_in_hole(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off)
{
    do {
        uintptr_t start = gc_bump(&mutator->public.cursor, mutator->limit, size, align, align_off);
        if (start)
            return start;
    } while (extend(mutator, size + align));
    return 0;
}

/* Puts a free block at the overflow cursor, zeroed: it is for larger objects, of which few fit into the cache. */
static bool take_overflow_block(struct gc_mutator *mutator, bool is_forced)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    bool is_clean;
    uint32_t block = gc_block_take(heap, is_forced, &is_clean);
    if (block == GC_NO_BLOCK)
        return false;
    mutator->overflow_cursor = gc_block_start(heap, block);
    mutator->overflow_limit = mutator->overflow_cursor + GC_BLOCK;
    if (!is_clean)
        memset((void *)mutator->overflow_cursor, 0, GC_BLOCK);
    return true;
}

/* Puts a hole of at least `size` bytes at the overflow cursor, zeroed: of those that are not at the mutator's cursor
 * yet, the last. Its lines are marked, so that they are not found again. */
static bool take_overflow_hole(struct gc_mutator *mutator, size_t size)
{
    struct crateld_gc_heap *heap = mutator->public.heap;
    for (; mutator->overflow_block > mutator->hole_block + 1; mutator->overflow_block--, mutator->overflow_line = 0) {
        uint32_t block = mutator->overflow_block - 1, begin, end;
        uint8_t *marks = gc_line_marks(heap, block);
        while (heap->blocks[block].state == GC_BLOCK_RECYCLABLE &&
               find_hole(marks, mutator->overflow_line, &begin, &end)) {
            mutator->overflow_line = end;
            if ((size_t)(end - begin) * GC_LINE < size || end - begin < OVERFLOW_LINES)
                continue;
            memset(marks + begin, 1, end - begin);
            mutator->overflow_cursor = gc_block_start(heap, block) + begin * GC_LINE;
            mutator->overflow_limit = gc_block_start(heap, block) + end * GC_LINE;
            memset((void *)mutator->overflow_cursor, 0, (end - begin) * GC_LINE);
            return true;
        }
    }
    return false;
}

/* Objects larger than a line have a block of their own, so that holes are not wasted for them; unless blocks are half
 * of what there may be already, so that large objects find room too. */
static uintptr_t alloc_overflow(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off, bool is_forced)
{
    uintptr_t start = gc_bump(&mutator->overflow_cursor, mutator->overflow_limit, size, align, align_off);
    if (start)
        return start;
    bool is_tight = gc_used_size(mutator->public.heap, 0) > mutator->public.heap->trigger_size / 2;
    if ((is_tight && take_overflow_hole(mutator, size + align)) || take_overflow_block(mutator, is_forced))
        return gc_bump(&mutator->overflow_cursor, mutator->overflow_limit, size, align, align_off);
    if (!take_hole(mutator, size + align))
        return 0;
    return alloc_in_hole(mutator, size, align, align_off);
}

/* Puts a free block at the cursor. */
static bool take_block(struct gc_mutator *mutator, bool is_forced)
{
    bool is_clean;
    uint32_t block = gc_block_take(mutator->public.heap, is_forced, &is_clean);
    if (block == GC_NO_BLOCK)
        return false;
    uintptr_t start = gc_block_start(mutator->public.heap, block);
    open_hole(mutator, start, start + GC_BLOCK, is_clean);
    return true;
}

static uintptr_t alloc(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off, bool is_forced)
{
    for (;;) {
        uintptr_t start = alloc_in_hole(mutator, size, align, align_off);
        if (start)
            return start;
        if (size + align > GC_LINE)
            return alloc_overflow(mutator, size, align, align_off, is_forced);
        if (!take_hole(mutator, GC_LINE) && !take_block(mutator, is_forced))
            return 0;
    }
}

static uint32_t count_lines(const uint8_t *marks)
{
    uint32_t count = 0;
    for (int i = 0; i < GC_BLOCK_LINES; i += 8) {
        uint64_t eight;
        memcpy(&eight, marks + i, sizeof eight);
        count += (uint32_t)(eight * UINT64_C(0x0101010101010101) >> 56); /* each byte is 0 or 1 */
    }
    return count;
}

/* Overwrites the block's free lines. */
static void poison(const struct crateld_gc_heap *heap, uint32_t block)
{
    const uint8_t *marks = gc_line_marks(heap, block);
    for (uint32_t i = 0; i < GC_BLOCK_LINES; i++)
        if (!marks[i])
            memset((void *)(gc_block_start(heap, block) + i * GC_LINE), GC_POISON, GC_LINE);
}

static void sweep(struct crateld_gc_heap *heap)
{
    for (uint32_t block = 0; block < heap->next_fresh_block; block++) {
        if (heap->blocks[block].state == GC_BLOCK_FREE)
            continue;
        uint32_t count = count_lines(gc_line_marks(heap, block));
        gc_mark_sweep(heap, block);
        if (heap->opts.is_poisoned)
            poison(heap, block);
        if (!count)
            gc_block_free(heap, block);
        else
            heap->blocks[block].state = count == GC_BLOCK_LINES ? GC_BLOCK_FULL : GC_BLOCK_RECYCLABLE;
    }
}

static bool collect(struct crateld_gc_heap *heap)
{
    struct gc_mutator *mutator = &heap->mutator;
    open_hole(mutator, 0, 0, true);
    mutator->overflow_cursor = mutator->overflow_limit = 0;
    mutator->hole_block = mutator->hole_line = mutator->overflow_line = 0;
    mutator->overflow_block = heap->next_fresh_block;
    for (uint32_t block = 0; block < heap->next_fresh_block; block++)
        if (heap->blocks[block].state != GC_BLOCK_FREE)
            memset(gc_line_marks(heap, block), 0, GC_BLOCK_LINES);
    gc_trace_all(heap);
    sweep(heap);
    gc_large_sweep(heap);
    gc_blocks_release(heap);
    return true;
}

const struct gc_plan gc_plan_immix = {
    .name = "immix",
    .can_collect = true,
    .init = init,
    .alloc = alloc,
    .collect = collect,
    .trace = gc_mark_trace,
    .drain = gc_mark_drain,
    .is_kept = gc_mark_is_marked,
    .current = gc_mark_current,
};

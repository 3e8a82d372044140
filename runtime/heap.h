/* A collected heap: what its parts share.
 *
 * The reservation has two areas: blocks of 32 KiB for small objects, and pages for large ones. Both are made accessible
 * by chunks of 4 MiB, and are described by one side metadata. Objects do not cross blocks; their valid-object (VO) bits
 * are at their starts. Outside of collections all mark bits are 0, and free lines have neither VO nor line marks.
 */
#ifndef RUNTIME_HEAP_H
#define RUNTIME_HEAP_H

#include <pthread.h>

#include "base/vec.h"
#include "crateld/gc.h"
#include "runtime/large_space.h"
#include "runtime/object_model.h"
#include "runtime/own_model.h"
#include "runtime/plan.h"
#include "runtime/trace.h"

enum {
    GC_LINE_LOG = 8,
    GC_LINE = 1 << GC_LINE_LOG,
    GC_PAGE_LOG = 12,
    GC_PAGE = 1 << GC_PAGE_LOG,
    GC_BLOCK_LOG = 15,
    GC_BLOCK = 1 << GC_BLOCK_LOG,
    GC_BLOCK_LINES = GC_BLOCK / GC_LINE,
    GC_CHUNK_LOG = SIDE_CHUNK_LOG,
    GC_CHUNK = 1 << GC_CHUNK_LOG,
    GC_CHUNK_BLOCKS = GC_CHUNK / GC_BLOCK,
};

enum { GC_POISON = 0xdb }; /* what dead memory is overwritten with, if that is asked for */

enum gc_block_state {
    GC_BLOCK_FREE,
    GC_BLOCK_FULL,       /* in use; nothing can be allocated there before the next collection */
    GC_BLOCK_RECYCLABLE, /* in use, with free lines */
};

enum gc_chunk_state {
    GC_CHUNK_INACCESSIBLE,
    GC_CHUNK_MAPPED,
    GC_CHUNK_IDLE, /* mapped, but the memory of all its blocks and of its metadata was given back to the system */
};

struct gc_block_info {
    uint8_t state;
    bool is_clean;  /* its memory is zero */
    bool is_backed; /* and of the system: not given back since it was used */
};

/* A mutator with what only the slow path needs. The public part comes first. */
struct gc_mutator {
    struct crateld_gc_mutator public;
    uintptr_t limit;                           /* public.limit, but while every allocation is to take the slow path */
    uintptr_t overflow_cursor, overflow_limit; /* for objects larger than a line, which small holes would not hold */
    uintptr_t hole_end; /* the cursor's hole or block ends here; what lies behind `limit` is not zeroed yet, or is known
                           to be zero */
    bool is_hole_clean;
    uint32_t hole_block; /* where the next hole is searched, upwards */
    uint32_t hole_line;
    uint32_t overflow_block; /* where the next hole for larger objects is searched, downwards: in the block below */
    uint32_t overflow_line;
};

struct gc_root {
    const void *key;
    struct crateld_gc_root_range range;
};

struct gc_pin {
    struct gc_ref ref;
    size_t count;
};

struct gc_finalizer {
    struct gc_ref ref;
    crateld_gc_finalizer *function;
    void *data;
};

struct crateld_gc_heap {
    struct crateld_gc_opts opts;
    struct crateld_gc_heap *next, **previous_next; /* in heap_list.c's list */
    const struct gc_plan *plan;
    pthread_t owner;
    pthread_mutex_t lock; /* recursive; guards `roots` and own_model's types, which any thread may add to: held by
                             collections and slow allocations */

    uintptr_t base, large_start, bound; /* owned: the reservation; blocks, then large objects */
    uint8_t *chunk_states;              /* owned */
    struct own_model own_model;
    const struct object_model *model; /* own_model's, or the embedder's */
    struct side_layout layout;
    struct side_metadata side; /* owned */
    struct object_metadata metadata;
    struct side_spec vo, line;
    uintptr_t mark_base;          /* folded like vo_base, if mark bits are beside the heap */
    uintptr_t vo_base, line_base; /* folded: the line mark of address a is the byte at line_base + (a >> 8) */

    struct gc_block_info *blocks; /* owned */
    uint32_t block_count;         /* that there is address space for */
    uint32_t *free_blocks;        /* owned: a stack of those that have been used before */
    uint32_t free_block_count;
    uint32_t next_fresh_block;             /* those from here on have never been used */
    uint32_t used_block_count;             /* not free */
    uint32_t taken_block_count;            /* since the last collection */
    uint32_t taken_before_count;           /* between the two collections before */
    uint32_t half_start, half_block_count; /* of plans that copy: the half that is allocated in */
    struct gc_large_space large;

    struct gc_mutator mutator;
    uint64_t trigger_size; /* used bytes at which to collect */
    uint64_t align_slack;  /* of plans that copy: what copies may waste for alignments above the granule, at most */
    unsigned disable_count;
    unsigned allocation_count; /* since the last collection that stress asked for */
    bool is_collecting;
    char why[160];

    VEC(struct gc_root) roots;
    VEC(struct gc_pin) pins;
    struct crateld_gc_frame *frames;
    struct crateld_gc_stack stacks; /* the head of a ring */
    const void *stack_low;
    const void *stack_high; /* where the creating thread's stack ends, if it is scanned */
    const void *stack_here; /* while collecting: the frames from here up are the program's */
    VEC(struct gc_finalizer) finalizers;
    VEC(struct gc_finalizer) due;
    size_t due_done; /* of `due`, those that have run */
    struct gc_trace trace;

    struct crateld_gc_stats stats;
};

/* crateld_gc_heap_create(), with an embedder's model (borrowed until the heap is destroyed) or, NULL, the runtime's
 * own. */
MUST_CHECK struct crateld_error *gc_heap_create(const struct crateld_gc_opts *opts, const struct object_model *model,
                                                struct crateld_gc_heap **ret);

/* `size` zeroed bytes, a multiple of the granule, at a multiple of the granule S such that S + align_off is a multiple
 * of `align`. 0 and a reason in heap->why if there is no memory. The caller writes the header and calls gc_publish()
 * before anything else is allocated. */
uintptr_t gc_alloc_storage(struct gc_mutator *mutator, size_t size, size_t align, size_t align_off,
                           enum crateld_gc_semantics semantics, bool may_collect);

/* Makes the storage at `start` an object. */
static inline void gc_publish(const struct crateld_gc_heap *heap, uintptr_t start)
{
    uint64_t *word = (uint64_t *)(heap->vo_base + (start >> 10) * 8);
    *word |= UINT64_C(1) << (start >> 4 & 63);
}

static inline bool gc_is_published(const struct crateld_gc_heap *heap, uintptr_t start)
{
    return *(uint64_t *)(heap->vo_base + (start >> 10) * 8) >> (start >> 4 & 63) & 1;
}

/* Whether this is the heap's thread. */
bool gc_is_owner(const struct crateld_gc_heap *heap);

/* Sets heap->why, printf-like. */
void gc_fail(struct crateld_gc_heap *heap, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether a collection may run now, and here: if not for its stack, heap->why says so. */
bool gc_may_collect(struct crateld_gc_heap *heap);
/* One, unconditionally; false if the plan had no memory for it, and then heap->why is set. */
bool gc_collect_now(struct crateld_gc_heap *heap);

/* Error USAGE unless `object` is one of the heap's. */
MUST_CHECK struct crateld_error *gc_check_object(const struct crateld_gc_heap *heap, const void *object);

/* Bytes in use, copies' reserve included, with `more` blocks. */
uint64_t gc_used_size(const struct crateld_gc_heap *heap, uint32_t more_blocks);

/* ---- mapper.c ---- */

/* Reserves address space for `limit` bytes of heap, and what the plan needs in addition. Error MEMORY. */
MUST_CHECK struct crateld_error *gc_reserve(struct crateld_gc_heap *heap, uint64_t limit);
void gc_unreserve(struct crateld_gc_heap *heap);
/* Makes the chunks of [at, at + size) accessible, with their metadata; false and heap->why without memory. */
bool gc_map(struct crateld_gc_heap *heap, uintptr_t at, size_t size);

/* ---- block_space.c ---- */

static inline uintptr_t gc_block_start(const struct crateld_gc_heap *heap, uint32_t block)
{
    return heap->base + ((uintptr_t)block << GC_BLOCK_LOG);
}

static inline uint32_t gc_block_of(const struct crateld_gc_heap *heap, uintptr_t address)
{
    return (uint32_t)((address - heap->base) >> GC_BLOCK_LOG);
}

static inline uint8_t *gc_line_marks(const struct crateld_gc_heap *heap, uint32_t block)
{
    return (uint8_t *)(heap->line_base + (gc_block_start(heap, block) >> GC_LINE_LOG));
}

enum { GC_NO_BLOCK = UINT32_MAX };

/* A free block, now FULL, and *is_clean whether its memory is zero: one that was used before rather than a new one.
 * Takes it even over the trigger if `is_forced`. GC_NO_BLOCK: the trigger is reached, or there is no memory (heap->why
 * is set). */
uint32_t gc_block_take(struct crateld_gc_heap *heap, bool is_forced, bool *is_clean);
/* Frees a block that is in use, and has no VO bits. */
void gc_block_free(struct crateld_gc_heap *heap, uint32_t block);
/* Once after each collection: how many blocks will likely be needed before the next: as many as between any two of the
 * last, and a share of what is in use. */
uint32_t gc_blocks_likely_needed(struct crateld_gc_heap *heap);
/* Gives the memory of a free block back to the system. */
void gc_block_give_back(struct crateld_gc_heap *heap, uint32_t block);
/* Gives the metadata of chunks back of whose blocks none has memory any more. */
void gc_chunks_release(struct crateld_gc_heap *heap);
/* Gives memory of free blocks that will hardly be needed soon back to the system. After each collection. */
void gc_blocks_release(struct crateld_gc_heap *heap);
/* VO bits, line marks, mark bits of a block, as ranges for runtime/bits.h. */
struct bit_range gc_block_bits(const struct crateld_gc_heap *heap, const struct side_spec *spec, uint32_t block);

/* ---- roots.c ---- */

/* Calls the tracer for every root. */
void gc_roots_trace(struct crateld_gc_heap *heap, struct object_visitor *visitor);
void gc_roots_deinit(struct crateld_gc_heap *heap);

/* ---- find.c ---- */

/* The object whose storage `address` lies in, any value allowed; none: null. */
struct gc_ref gc_find(const struct crateld_gc_heap *heap, uintptr_t address);
/* The object that an ambiguous word keeps alive: its end, one past, counts. */
struct gc_ref gc_find_ambiguous(const struct crateld_gc_heap *heap, uintptr_t word);
/* Calls `visit` with the start of every object in [begin, end), of mapped memory. */
void gc_walk_range(const struct crateld_gc_heap *heap, uintptr_t begin, uintptr_t end,
                   void (*visit)(uintptr_t start, void *context), void *context);
/* Likewise, in the whole heap. */
void gc_walk(const struct crateld_gc_heap *heap, void (*visit)(uintptr_t start, void *context), void *context);

/* ---- sanity.c ---- */

/* Traces the heap in a simple way and aborts, with a message and a dump, if a collection has damaged it. */
void gc_sanity_check(struct crateld_gc_heap *heap);

#endif

/* Instance regions: one reservation of equal slots, in which isolated instances of plain code live.
 *
 * A slot, from its lowest address:
 *
 *     instance   one page: magic, the places of the parts, and in its last word the address of the globals
 *     heap       limits.heap_address_space_size, of which the instance's heap size is accessible
 *     guard      one page
 *     stack      limits.stack_size
 *     guard      one page
 *     globals    limits.globals_size
 *     guard      one page
 *     signal stack  limits.signal_stack_size
 *     guard      one page
 *
 * so that code finds its globals at heap - 8, whatever the limits are; the region begins with a guard too. With an
 * alignment of the heap, the space that aligns is inaccessible and lies in front of the instance.
 *
 * A slot's parts are mapped once and stay writable: an instance that follows another of the same heap size costs no
 * system call. Before code runs in a slot, its owner says so: region_slot_enter(). Until then only the heap, as far as
 * it is accessible, may be written by others; after it, everything. How far a part has been written is found by
 * looking, not by trusting the code: from the end that is written last, up to the first page that is not zero; that far
 * it is cleared. Parts that are too large for this are given back to the system whole.
 *
 * Not thread-safe: a region belongs to one thread, or its owner locks. region_locate() may be called in signal
 * handlers.
 */
#ifndef RUNTIME_REGION_H
#define RUNTIME_REGION_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    REGION_PAGE_SIZE = 4096,
    REGION_KEEP_SIZE =
        256 << 10, /* a part up to this size is searched and cleared; of a larger one this much is kept */
};

#define REGION_INSTANCE_MAGIC UINT64_C(0x746f6c5365746172) /* "rateSlot" */
/* The largest alignment of heaps. */
#define REGION_ALIGNMENT_MAX (UINT64_C(4) << 30)

/* Sizes in bytes, all multiples of the page. Globals may be empty; all else is at least a page. */
struct region_limits {
    size_t heap_address_space_size; /* at least heap_memory_size */
    size_t heap_memory_size;        /* the most that a heap grows to */
    size_t stack_size;
    size_t globals_size;
    size_t signal_stack_size;
};

enum region_placement {
    REGION_LAST_FREED_FIRST, /* whose pages are most likely still in the cache */
    REGION_RANDOM,           /* where an instance lies can not be guessed from where the last one lay */
};

struct region_opts {
    enum region_placement placement;
    uint64_t seed; /* of REGION_RANDOM; 0: from the system */
};

enum region_part {
    REGION_INSTANCE,
    REGION_HEAP,
    REGION_STACK,
    REGION_GLOBALS,
    REGION_SIGNAL_STACK,
    REGION_PART_COUNT,
};

/* A slot that is in use. Its fields are constant, but for heap_size. */
struct region_slot {
    uint64_t magic; /* REGION_INSTANCE_MAGIC while the slot is in use; the rest of the page is the owner's */
    size_t index;
    struct region *region; /* borrowed, until the region is destroyed */
    char *start[REGION_PART_COUNT];
    size_t heap_size; /* accessible bytes */
};

enum region_place {
    REGION_OUTSIDE,      /* not of this region */
    REGION_IN_PART,      /* accessible memory of a slot, `part` says which */
    REGION_GUARD,        /* the guard behind `part`; for REGION_HEAP also what its heap has not grown to */
    REGION_GUARD_BEFORE, /* what lies in front of the slot's instance page */
};

struct region_location {
    enum region_place place;
    enum region_part part;
    size_t slot_index;
};

struct region;

/* A region of `instance_capacity` > 0 slots, none in use. `opts` NULL: defaults. `limits` are copied.
 * Errors: USAGE for limits that are no multiples of the page, are 0, or do not go together; RANGE where their sum
 * overflows; MEMORY where there is no address space. Destroy with region_destroy(). */
MUST_CHECK struct crateld_error *region_create(size_t instance_capacity, const struct region_limits *limits,
                                               const struct region_opts *opts, struct region **ret);

/* Likewise, with every heap at a multiple of `heap_alignment`: a power of two from the page's size to
 * REGION_ALIGNMENT_MAX; anything else is USAGE. */
MUST_CHECK struct crateld_error *region_create_aligned(size_t instance_capacity, const struct region_limits *limits,
                                                       size_t heap_alignment, const struct region_opts *opts,
                                                       struct region **ret);

/* Unmaps everything, slots in use included. NULL is allowed. */
void region_destroy(struct region *region);

/* Hands out a slot, all of whose memory is zero, with `heap_size` bytes of heap (a multiple of the page, at most
 * limits.heap_memory_size; else USAGE). Error MEMORY: all slots are in use, or the system has no memory. */
MUST_CHECK struct crateld_error *region_acquire(struct region *region, size_t heap_size, struct region_slot **ret);

/* Grows or shrinks the heap to `heap_size`, with the conditions of region_acquire(). What a heap grows by is zero. */
MUST_CHECK struct crateld_error *region_slot_resize_heap(struct region_slot *slot, size_t heap_size);

/* Says that code is going to run in the slot, or that its owner is going to write elsewhere than to the heap: once, or
 * at any time again. After a reset as after acquisition, that has not happened. */
void region_slot_enter(struct region_slot *slot);

/* Makes all of the slot's memory zero, as if it had been released and acquired again with the same heap size. Error:
 * IO. */
MUST_CHECK struct crateld_error *region_slot_reset(struct region_slot *slot);

/* Takes a slot back: nothing that its instance has written stays. Where the system can not clear it (IO), the slot is
 * not used again. */
MUST_CHECK struct crateld_error *region_release(struct region_slot *slot);

size_t region_capacity(const struct region *region);
size_t region_used_count(const struct region *region);

/* Which slot and which part or guard `address` lies in: for handlers of SIGSEGV. Async-signal-safe. */
struct region_location region_locate(const struct region *region, const void *address);

#endif

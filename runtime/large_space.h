/* Large objects: each has a run of pages. And immortal ones: those share runs, which are never freed. */
#ifndef RUNTIME_LARGE_SPACE_H
#define RUNTIME_LARGE_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/vec.h"
#include "runtime/object_model.h"

struct crateld_gc_heap;

struct gc_large_run {
    uint32_t page;       /* its first, counted from the area's start */
    uint32_t page_count; /* 0: this entry is not used */
    bool is_immortal;    /* many objects, allocated one behind the other */
};

struct gc_large_space {
    uint32_t page_count; /* of the area */
    uint32_t *run_of;    /* owned, mapped: for each page 0, or 1 + the number of its run */
    uint8_t *is_dirty;   /* owned, mapped: for each page whether its memory may not be zero */
    VEC(struct gc_large_run) runs;
    VEC(uint32_t) unused; /* entries of `runs` */
    uint32_t next_page;   /* where the search for room starts */
    uint32_t top_page;    /* no page from here on has ever been used */
    uint32_t used_pages;
    uint64_t object_count, object_size;
    uintptr_t immortal_cursor, immortal_limit;
};

MUST_CHECK struct crateld_error *gc_large_init(struct gc_large_space *large, uint64_t area_size);
void gc_large_deinit(struct gc_large_space *large);

/* Zeroed memory for one object, S at a page such that S + align_off is a multiple of `align` (up to the page); 0
 * without memory. */
uintptr_t gc_large_alloc(struct crateld_gc_heap *heap, size_t size, size_t align, size_t align_off);
/* Likewise, immortal. */
uintptr_t gc_immortal_alloc(struct crateld_gc_heap *heap, size_t size, size_t align, size_t align_off);

/* The run that `address`, in the area, lies in; NULL if in none. */
const struct gc_large_run *gc_large_find(const struct crateld_gc_heap *heap, uintptr_t address);
uintptr_t gc_large_run_start(const struct crateld_gc_heap *heap, const struct gc_large_run *run);

/* During a collection: marks; true if it was not marked. And whether it is. */
bool gc_large_mark(struct crateld_gc_heap *heap, struct gc_ref ref);
bool gc_large_is_marked(const struct crateld_gc_heap *heap, struct gc_ref ref);
/* Visits all that is immortal, as roots. */
void gc_immortal_trace(struct crateld_gc_heap *heap, struct object_visitor *visitor);
/* Frees what is not marked, and clears marks. */
void gc_large_sweep(struct crateld_gc_heap *heap);

#endif

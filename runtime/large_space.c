#include "runtime/large_space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/heap.h"

enum {
    IMMORTAL_RUN = 64 << 10, /* bytes of a run of immortal objects, or more for a large one */
    GIVE_BACK_PAGES = 64,    /* a run of this size is given back as soon as it is free */
    DIRTY_NEW = 1,           /* freed by the last collection */
    DIRTY_OLD = 2,           /* and not used again before the next */
};

static void *map_table(size_t size)
{
    void *table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return table == MAP_FAILED ? NULL : table;
}

struct crateld_error *gc_large_init(struct gc_large_space *large, uint64_t area_size)
{
    large->page_count = (uint32_t)(area_size >> GC_PAGE_LOG);
    large->run_of = map_table(large->page_count * sizeof *large->run_of);
    large->is_dirty = map_table(large->page_count);
    return large->run_of && large->is_dirty ? NULL : error_memory();
}

void gc_large_deinit(struct gc_large_space *large)
{
    if (large->run_of)
        munmap(large->run_of, large->page_count * sizeof *large->run_of);
    if (large->is_dirty)
        munmap(large->is_dirty, large->page_count);
    free(large->runs.at);
    free(large->unused.at);
}

static uintptr_t page_address(const struct crateld_gc_heap *heap, uint32_t page)
{
    return heap->large_start + ((uintptr_t)page << GC_PAGE_LOG);
}

uintptr_t gc_large_run_start(const struct crateld_gc_heap *heap, const struct gc_large_run *run)
{
    return page_address(heap, run->page);
}

/* The first of `count` free pages in [begin, end); `end` if there are none. */
static uint32_t find_room(const struct gc_large_space *large, uint32_t begin, uint32_t end, uint32_t count)
{
    uint32_t free_count = 0;
    for (uint32_t page = begin; page < end;) {
        uint32_t run = large->run_of[page];
        if (run) {
            page = large->runs.at[run - 1].page + large->runs.at[run - 1].page_count;
            free_count = 0;
        } else if (++free_count == count) {
            return page + 1 - count;
        } else {
            page++;
        }
    }
    return end;
}

/* Room for `count` pages: among those used before, if that may be, else above. page_count if there is none. */
static uint32_t choose_room(struct gc_large_space *large, uint32_t count)
{
    if (large->top_page - large->used_pages >= count) {
        uint32_t page = find_room(large, large->next_page, large->top_page, count);
        if (page < large->top_page)
            return page;
        page = find_room(large, 0, large->top_page, count);
        if (page < large->top_page)
            return page;
    }
    uint32_t tail = large->top_page;
    while (tail && !large->run_of[tail - 1])
        tail--;
    return large->page_count - tail >= count ? tail : large->page_count;
}

/* Zeroes what is not zero of the pages. */
static void clean_pages(struct crateld_gc_heap *heap, uint32_t page, uint32_t count)
{
    for (uint32_t i = page; i < page + count; i++) {
        if (heap->large.is_dirty[i])
            memset((void *)page_address(heap, i), 0, GC_PAGE);
        heap->large.is_dirty[i] = 0;
    }
}

/* A run of `count` pages, zeroed; NULL without memory. */
static struct gc_large_run *take_run(struct crateld_gc_heap *heap, uint32_t count, bool is_immortal)
{
    struct gc_large_space *large = &heap->large;
    uint32_t page = choose_room(large, count);
    if (page == large->page_count) {
        gc_fail(heap, "gc: no %u pages in a row are free for a large object", count);
        return NULL;
    }
    if (!gc_map(heap, page_address(heap, page), (size_t)count << GC_PAGE_LOG))
        return NULL;
    /* Room for it on the list of unused entries is made now, so that freeing does not fail. */
    if (!VEC_RESERVE(&large->runs, 1) || !VEC_RESERVE(&large->unused, large->runs.count + 1 - large->unused.count)) {
        gc_fail(heap, "gc: out of memory for the list of large objects");
        return NULL;
    }
    uint32_t entry = large->unused.count ? large->unused.at[--large->unused.count] : (uint32_t)large->runs.count++;
    large->runs.at[entry] = (struct gc_large_run){page, count, is_immortal};
    for (uint32_t i = 0; i < count; i++)
        large->run_of[page + i] = entry + 1;
    large->used_pages += count;
    large->next_page = page + count;
    if (large->top_page < page + count)
        large->top_page = page + count;
    clean_pages(heap, page, count);
    return &large->runs.at[entry];
}

/* How far an object lies behind an address that is a multiple of `align`. */
static size_t lead_for(size_t align, size_t align_off)
{
    return (align - align_off % align) % align;
}

static uint32_t pages_for(size_t size)
{
    return (uint32_t)((size + GC_PAGE - 1) >> GC_PAGE_LOG);
}

uintptr_t gc_large_alloc(struct crateld_gc_heap *heap, size_t size, size_t align, size_t align_off)
{
    size_t lead = lead_for(align, align_off);
    const struct gc_large_run *run = take_run(heap, pages_for(lead + size), false);
    if (!run)
        return 0;
    heap->large.object_count++;
    heap->large.object_size += size;
    return gc_large_run_start(heap, run) + lead;
}

uintptr_t gc_immortal_alloc(struct crateld_gc_heap *heap, size_t size, size_t align, size_t align_off)
{
    struct gc_large_space *large = &heap->large;
    uintptr_t start = ((large->immortal_cursor + align_off + align - 1) & ~(uintptr_t)(align - 1)) - align_off;
    if (!large->immortal_cursor || start + size > large->immortal_limit) {
        size_t lead = lead_for(align, align_off), wanted = lead + size < IMMORTAL_RUN ? IMMORTAL_RUN : lead + size;
        const struct gc_large_run *run = take_run(heap, pages_for(wanted), true);
        if (!run)
            return 0;
        start = gc_large_run_start(heap, run) + lead;
        large->immortal_limit = gc_large_run_start(heap, run) + ((uintptr_t)run->page_count << GC_PAGE_LOG);
    }
    large->immortal_cursor = start + size;
    return start;
}

const struct gc_large_run *gc_large_find(const struct crateld_gc_heap *heap, uintptr_t address)
{
    uint32_t page = (uint32_t)((address - heap->large_start) >> GC_PAGE_LOG);
    uint32_t run = page < heap->large.top_page ? heap->large.run_of[page] : 0;
    return run ? &heap->large.runs.at[run - 1] : NULL;
}

bool gc_large_mark(struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return !(object_metadata_fetch(&heap->metadata, OBJECT_LOS_MARK_NURSERY, ref, BIT_OR, 1) & 1);
}

bool gc_large_is_marked(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return object_metadata_load(&heap->metadata, OBJECT_LOS_MARK_NURSERY, ref, 1, false);
}

struct immortals {
    struct crateld_gc_heap *heap;
    struct object_visitor *visitor;
};

static void visit_immortal(uintptr_t start, void *context)
{
    const struct immortals *immortals = context;
    struct gc_ref ref = immortals->heap->model->object_start_to_ref(immortals->heap->model, start);
    immortals->visitor->edge(immortals->visitor, gc_edge_plain(&ref));
}

static void unmark_one(uintptr_t start, void *context)
{
    struct crateld_gc_heap *heap = context;
    object_metadata_store(&heap->metadata, OBJECT_LOS_MARK_NURSERY,
                          heap->model->object_start_to_ref(heap->model, start), 1, 0, false);
}

/* Calls `visit` for the objects of a run. */
static void walk_run(struct crateld_gc_heap *heap, const struct gc_large_run *run,
                     void (*visit)(uintptr_t start, void *context), void *context)
{
    uintptr_t begin = gc_large_run_start(heap, run);
    size_t size = run->is_immortal ? (size_t)run->page_count << GC_PAGE_LOG : GC_PAGE;
    gc_walk_range(heap, begin, begin + size, visit, context);
}

void gc_immortal_trace(struct crateld_gc_heap *heap, struct object_visitor *visitor)
{
    struct immortals immortals = {heap, visitor};
    for (size_t i = 0; i < heap->large.runs.count; i++)
        if (heap->large.runs.at[i].page_count && heap->large.runs.at[i].is_immortal)
            walk_run(heap, &heap->large.runs.at[i], visit_immortal, &immortals);
}

/* Frees a run of one object, whose size is known to be `size`. */
static void free_run(struct crateld_gc_heap *heap, uint32_t entry, uintptr_t start, size_t size)
{
    struct gc_large_space *large = &heap->large;
    struct gc_large_run *run = &large->runs.at[entry];
    uintptr_t begin = gc_large_run_start(heap, run);
    size_t run_size = (size_t)run->page_count << GC_PAGE_LOG;
    bit_field_apply(side_field(&heap->side, &heap->vo, start), BIT_STORE, 0);
    bool is_given_back = run->page_count >= GIVE_BACK_PAGES && madvise((void *)begin, run_size, MADV_DONTNEED) == 0;
    if (heap->opts.is_poisoned && !is_given_back)
        memset((void *)begin, GC_POISON, run_size);
    memset(large->is_dirty + run->page, is_given_back ? 0 : DIRTY_NEW, run->page_count);
    memset(large->run_of + run->page, 0, run->page_count * sizeof *large->run_of);
    large->used_pages -= run->page_count;
    large->object_count--;
    large->object_size -= size;
    run->page_count = 0;
    large->unused.at[large->unused.count++] = entry;
}

/* Gives pages back that have been free over two collections. */
static void give_back_old_pages(struct crateld_gc_heap *heap)
{
    struct gc_large_space *large = &heap->large;
    for (uint32_t page = 0; page < large->top_page; page++) {
        if (large->run_of[page]) {
            const struct gc_large_run *run = &large->runs.at[large->run_of[page] - 1];
            page = run->page + run->page_count - 1;
        } else if (large->is_dirty[page] == DIRTY_NEW) {
            large->is_dirty[page] = DIRTY_OLD;
        } else if (large->is_dirty[page] == DIRTY_OLD) {
            uint32_t end = page;
            while (end < large->top_page && !large->run_of[end] && large->is_dirty[end] == DIRTY_OLD)
                end++;
            size_t size = (size_t)(end - page) << GC_PAGE_LOG;
            if (madvise((void *)page_address(heap, page), size, MADV_DONTNEED) == 0)
                memset(large->is_dirty + page, 0, end - page);
            page = end - 1;
        }
    }
}

void gc_large_sweep(struct crateld_gc_heap *heap)
{
    give_back_old_pages(heap);
    for (uint32_t i = 0; i < heap->large.runs.count; i++) {
        const struct gc_large_run *run = &heap->large.runs.at[i];
        if (!run->page_count)
            continue;
        if (run->is_immortal) {
            walk_run(heap, run, unmark_one, heap);
            continue;
        }
        uintptr_t begin = gc_large_run_start(heap, run);
        uintptr_t start = side_find_next(&heap->side, &heap->vo, begin, begin + GC_PAGE);
        struct gc_ref ref = heap->model->object_start_to_ref(heap->model, start);
        if (gc_large_is_marked(heap, ref))
            unmark_one(start, heap);
        else
            free_run(heap, i, start, heap->model->current_size(heap->model, ref));
    }
}

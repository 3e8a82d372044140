#include "runtime/ephemerons.h"

#include <stdlib.h>

#include "runtime/heap.h"

enum { ROUNDS = 4 }; /* without a table */

void gc_ephemerons_deinit(struct gc_ephemerons *ephemerons)
{
    free(ephemerons->waiting.at);
    free(ephemerons->lists);
}

static size_t *list_of(const struct gc_ephemerons *ephemerons, struct gc_ref key)
{
    uint64_t hash = (key.address >> GC_GRANULE_LOG) * UINT64_C(0x9e3779b97f4a7c15);
    return &ephemerons->lists[hash >> 32 & (ephemerons->list_count - 1)];
}

static void put(struct gc_ephemerons *ephemerons, size_t *list, size_t i)
{
    ephemerons->waiting.at[i].next = *list;
    *list = i + 1;
}

/* What has been dealt with has no key any more, until it is taken from the array. */
static bool is_done(const struct gc_ephemeron *ephemeron)
{
    return !ephemeron->key.at;
}

/* Enters number `i`: among the ready ones if its key is kept. */
static void enter(struct crateld_gc_heap *heap, size_t i)
{
    struct gc_ephemerons *ephemerons = &heap->trace.ephemerons;
    struct gc_ref key = gc_edge_load(ephemerons->waiting.at[i].key);
    put(ephemerons, gc_trace_is_kept(heap, key) ? &ephemerons->ready : list_of(ephemerons, key), i);
}

/* Makes a table for as many as there are, and enters them all; without memory all stays as it is. */
static void make_table(struct crateld_gc_heap *heap)
{
    struct gc_ephemerons *ephemerons = &heap->trace.ephemerons;
    size_t count = 1024;
    while (count < 2 * ephemerons->waiting.count)
        count *= 2;
    size_t *lists = calloc(count, sizeof *lists);
    if (!lists)
        return;
    free(ephemerons->lists);
    ephemerons->lists = lists;
    ephemerons->list_count = count;
    ephemerons->ready = 0;
    for (size_t i = 0; i < ephemerons->waiting.count; i++)
        if (!is_done(&ephemerons->waiting.at[i]))
            enter(heap, i);
}

bool gc_ephemerons_add(struct crateld_gc_heap *heap, struct gc_edge key, struct gc_edge value)
{
    struct gc_ephemerons *ephemerons = &heap->trace.ephemerons;
    if (!VEC_PUSH(&ephemerons->waiting, (struct gc_ephemeron){.key = key, .value = value}))
        return false;
    if (!ephemerons->lists)
        return true;
    enter(heap, ephemerons->waiting.count - 1);
    if (ephemerons->waiting.count > 2 * ephemerons->list_count)
        make_table(heap);
    return true;
}

void gc_ephemerons_found(struct gc_ephemerons *ephemerons, struct gc_ref ref)
{
    for (size_t *link = list_of(ephemerons, ref); *link;) {
        size_t i = *link - 1;
        struct gc_ephemeron *ephemeron = &ephemerons->waiting.at[i];
        if (gc_edge_load(ephemeron->key).address != ref.address) {
            link = &ephemeron->next;
            continue;
        }
        *link = ephemeron->next;
        put(ephemerons, &ephemerons->ready, i);
    }
}

/* Keeps the value of number `i`, whose key is kept, and whose edges may lie in what moves. */
static void resolve(struct crateld_gc_heap *heap, size_t i)
{
    struct object_visitor *visitor = &heap->trace.visitor;
    struct gc_ephemeron *ephemeron = &heap->trace.ephemerons.waiting.at[i];
    struct gc_edge value = ephemeron->value;
    gc_edge_store(ephemeron->key, gc_trace_current(heap, gc_edge_load(ephemeron->key)));
    ephemeron->key.at = 0;
    visitor->edge(visitor, value);
}

static void remove_done(struct gc_ephemerons *ephemerons)
{
    size_t kept = 0;
    for (size_t i = 0; i < ephemerons->waiting.count; i++)
        if (!is_done(&ephemerons->waiting.at[i]))
            ephemerons->waiting.at[kept++] = ephemerons->waiting.at[i];
    ephemerons->waiting.count = kept;
}

/* Looks once at all that wait; whether a key was kept. */
static bool run_round(struct crateld_gc_heap *heap)
{
    struct gc_ephemerons *ephemerons = &heap->trace.ephemerons;
    bool did_find = false;
    for (size_t i = 0; i < ephemerons->waiting.count; i++) {
        if (!gc_trace_is_kept(heap, gc_edge_load(ephemerons->waiting.at[i].key)))
            continue;
        resolve(heap, i);
        did_find = true;
    }
    remove_done(ephemerons);
    heap->plan->drain(heap); /* may find more of them, which the next round looks at */
    return did_find;
}

/* All at once, with the table. Objects are scanned by their model, whose edges are looked up. */
static void run_with_table(struct crateld_gc_heap *heap)
{
    struct gc_ephemerons *ephemerons = &heap->trace.ephemerons;
    while (ephemerons->ready) {
        size_t i = ephemerons->ready - 1;
        ephemerons->ready = ephemerons->waiting.at[i].next;
        resolve(heap, i);
        gc_trace_drain(heap);
    }
    free(ephemerons->lists);
    ephemerons->lists = NULL;
    remove_done(ephemerons);
}

void gc_ephemerons_trace(struct crateld_gc_heap *heap)
{
    struct gc_ephemerons *ephemerons = &heap->trace.ephemerons;
    for (int i = 1; run_round(heap); i++) {
        if (i % ROUNDS)
            continue;
        make_table(heap);
        if (ephemerons->lists)
            run_with_table(heap);
    }
}

void gc_ephemerons_clear(struct gc_ephemerons *ephemerons)
{
    for (size_t i = 0; i < ephemerons->waiting.count; i++) {
        gc_edge_store(ephemerons->waiting.at[i].key, (struct gc_ref){0});
        gc_edge_store(ephemerons->waiting.at[i].value, (struct gc_ref){0});
    }
    ephemerons->waiting.count = 0;
}

/* Marking in place. Objects of the runtime's own model are marked and scanned by code made for it, others through their
 * model.
 *
 * An object is marked when it is found, and pushed; so each is pushed once. Whether the order in which they are scanned
 * is that in which they lie decides what is fast: where it is, simply popping is, as the caches and the CPU's own
 * prefetching do the rest. Where objects are scattered, each would be waited for: then an object popped is only
 * prefetched, and scanned some objects later. Which of both it is, is told from how far references lead, again and
 * again while marking.
 */
#include "runtime/mark.h"

#include "runtime/heap.h"

enum {
    BATCH = 1024,  /* objects between two looks at how the heap is */
    AHEAD = 16,    /* objects that are prefetched and wait; a power of two */
    FAR_LOG = 16,  /* a reference that leaves 64 KiB leads far */
    FAR_SHARE = 4, /* one in so many is scattered */
};

struct marking {
    struct crateld_gc_heap *heap;
    const struct own_type *types;
    uintptr_t mark_base, line_base, large_start;
    uintptr_t *top; /* of the stack */
    uint64_t live_count, live_size;
    uint32_t edge_count, far_count;
};

void gc_mark_init(struct crateld_gc_heap *heap)
{
    if (!heap->model->specs[OBJECT_MARK_BIT].is_in_header)
        heap->mark_base = heap->side.base + heap->metadata.placed[OBJECT_MARK_BIT].off - (heap->base >> 10) * 8;
}

static bool is_own(const struct crateld_gc_heap *heap)
{
    return heap->model == &heap->own_model.base;
}

static void mark_lines(uintptr_t line_base, uintptr_t start, size_t size)
{
    uintptr_t last = (start + size - 1) >> GC_LINE_LOG;
    for (uintptr_t line = start >> GC_LINE_LOG; line <= last; line++)
        *(uint8_t *)(line_base + line) = 1;
}

/* Sets the mark bit beside the object at (or in the granule of) `start`; true if it was not set. */
static inline bool set_mark(uintptr_t mark_base, uintptr_t start)
{
    uint64_t *word = (uint64_t *)(mark_base + (start >> 10) * 8), bit = UINT64_C(1) << (start >> 4 & 63);
    if (*word & bit)
        return false;
    *word |= bit;
    return true;
}

struct gc_ref gc_mark_trace(struct crateld_gc_heap *heap, struct gc_ref ref)
{
    if (is_own(heap)) {
        if (set_mark(heap->mark_base, ref.address - CRATELD_GC_WORD)) {
            /* drain_own() does so too, but not all comes there. */
            mark_lines(heap->line_base, own_start(ref), own_total_size(*own_header(ref)));
            gc_trace_push(&heap->trace, ref);
        }
    } else if (!object_metadata_fetch(&heap->metadata, OBJECT_MARK_BIT, ref, BIT_OR, 1)) {
        mark_lines(heap->line_base, heap->model->ref_to_object_start(heap->model, ref),
                   heap->model->current_size(heap->model, ref));
        gc_trace_push(&heap->trace, ref);
    }
    return ref;
}

bool gc_mark_is_marked(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    return object_metadata_load(&heap->metadata, OBJECT_MARK_BIT, ref, OBJECT_ALL_BITS, false);
}

struct gc_ref gc_mark_current(const struct crateld_gc_heap *heap, struct gc_ref ref)
{
    (void)heap;
    return ref;
}

/* What is rare: an object whose references are not all in its type's map, by the model's scan(). */
__attribute__((noinline)) static uintptr_t *scan_by_model(struct crateld_gc_heap *heap, uintptr_t ref, uintptr_t *top)
{
    heap->trace.count = (size_t)(top - heap->trace.stack);
    heap->model->scan(heap->model, (struct gc_ref){ref}, &heap->trace.visitor);
    return heap->trace.stack + heap->trace.count;
}

__attribute__((always_inline)) static inline void found(struct marking *m, uintptr_t from, uintptr_t ref)
{
    if (!ref)
        return;
    m->edge_count++;
    m->far_count += (from ^ ref) >> FAR_LOG != 0;
    if (__builtin_expect(ref >= m->large_start, 0)) {
        if (gc_large_mark(m->heap, (struct gc_ref){ref}))
            *m->top++ = ref;
    } else if (set_mark(m->mark_base, ref - CRATELD_GC_WORD)) {
        *m->top++ = ref;
    }
}

/* Scans an object that is marked. */
__attribute__((always_inline)) static inline void scan_own(struct marking *m, uintptr_t ref)
{
    const uintptr_t *words = (const uintptr_t *)ref;
    uint64_t header = *own_header((struct gc_ref){ref});
    const struct own_type *type = &m->types[own_type_of(header)];
    uintptr_t start = own_start((struct gc_ref){ref});
    size_t total = own_total_size(header);
    m->live_count++;
    m->live_size += total;
    if (__builtin_expect(ref < m->large_start, 1))
        mark_lines(m->line_base, start, total);
    if (__builtin_expect(type->kind > CRATELD_GC_ARRAY || type->has_more, 0)) {
        m->top = scan_by_model(m->heap, ref, m->top);
        return;
    }
    for (uint64_t map = type->map; map; map &= map - 1)
        found(m, ref, words[__builtin_ctzll(map)]);
    for (size_t i = type->tail, count = (start + total - ref) / sizeof *words; i < count; i++)
        found(m, ref, words[i]);
}

static void run_popping(struct marking *marking, const uintptr_t *bottom)
{
    struct marking m = *marking;
    for (int i = 0; i < BATCH && m.top > bottom; i++)
        scan_own(&m, *--m.top);
    *marking = m;
}

static void run_prefetching(struct marking *marking, const uintptr_t *bottom)
{
    struct marking m = *marking;
    uintptr_t waiting[AHEAD] = {0};
    for (unsigned i = 0, empty = 0; empty < AHEAD; i++) {
        uintptr_t ref = waiting[i % AHEAD], next = 0;
        if (m.top > bottom && i < BATCH) {
            next = *--m.top;
            __builtin_prefetch((const void *)(next - CRATELD_GC_WORD));
        }
        waiting[i % AHEAD] = next;
        empty = next ? 0 : empty + 1;
        if (ref)
            scan_own(&m, ref);
    }
    *marking = m;
}

static void drain_own(struct crateld_gc_heap *heap)
{
    struct gc_trace *trace = &heap->trace;
    struct marking m = {.heap = heap,
                        .types = heap->own_model.types.at,
                        .mark_base = heap->mark_base,
                        .line_base = heap->line_base,
                        .large_start = heap->large_start,
                        .top = trace->stack + trace->count};
    bool is_scattered = false;
    while (m.top > trace->stack) {
        m.edge_count = m.far_count = 0;
        if (is_scattered)
            run_prefetching(&m, trace->stack);
        else
            run_popping(&m, trace->stack);
        is_scattered = m.far_count * FAR_SHARE > m.edge_count;
    }
    trace->count = 0;
    trace->live_count += m.live_count;
    trace->live_size += m.live_size;
}

void gc_mark_drain(struct crateld_gc_heap *heap)
{
    if (is_own(heap))
        drain_own(heap);
    else
        gc_trace_drain(heap);
}

static void sweep_one(uintptr_t start, void *context)
{
    const struct crateld_gc_heap *heap = context;
    struct gc_ref ref = heap->model->object_start_to_ref(heap->model, start);
    if (!object_metadata_fetch(&heap->metadata, OBJECT_MARK_BIT, ref, BIT_AND, 0))
        bit_field_apply(side_field(&heap->side, &heap->vo, start), BIT_STORE, 0);
}

void gc_mark_sweep(struct crateld_gc_heap *heap, uint32_t block)
{
    if (heap->model->specs[OBJECT_MARK_BIT].is_in_header) {
        uintptr_t begin = gc_block_start(heap, block);
        gc_walk_range(heap, begin, begin + GC_BLOCK, sweep_one, heap);
        return;
    }
    /* Both bits are of an object's start, one for each granule: what is marked is what is left. */
    struct bit_range marks = gc_block_bits(heap, &heap->metadata.placed[OBJECT_MARK_BIT], block);
    memcpy((uint8_t *)heap->side.base + gc_block_bits(heap, &heap->vo, block).begin / 8,
           (uint8_t *)heap->side.base + marks.begin / 8, GC_BLOCK / GC_GRANULE / 8);
    bit_range_zero(marks);
}

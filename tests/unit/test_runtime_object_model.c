/* Object models: what specs may be, that accesses hit their bits and no others; and a second model, with other choices
 * than the runtime's own, on every plan. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "runtime/heap.h"
#include "tests/unit/gc_heaps.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(runtime_object_model, .fini = require_no_leaks);

enum { MB = 1 << 20 };

/* The second model. An object, from its start: a word of flags (the header), its size in bytes, which may be odd, the
 * count of references, and then, where the reference points to, that many references, tagged in their lowest bit and
 * with 3 words added. The header's bits lie in front of where ref_to_header() points, and a forwarding pointer there.
 */
struct tagged {
    uint64_t flags, size, count;
    uintptr_t references[];
};

enum { LEAD = offsetof(struct tagged, references), HEADER_AT = 8, TAG = 1, REFERENCE_OFF = 24 };

static struct tagged *tagged_of(struct gc_ref ref)
{
    return (struct tagged *)(ref.address - LEAD);
}

static size_t current_size(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    return tagged_of(ref)->size;
}

static size_t align_when_copied(const struct object_model *model, struct gc_ref ref)
{
    (void)model, (void)ref;
    return 32;
}

static size_t align_off_when_copied(const struct object_model *model, struct gc_ref ref)
{
    (void)model, (void)ref;
    return 16;
}

static const char *type_descriptor(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    return tagged_of(ref)->count ? "references" : "bytes";
}

static uintptr_t ref_to_object_start(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    return ref.address - LEAD;
}

static struct gc_ref object_start_to_ref(const struct object_model *model, uintptr_t start)
{
    (void)model;
    return (struct gc_ref){start + LEAD};
}

static uintptr_t ref_to_header(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    return ref.address - LEAD + HEADER_AT;
}

static struct gc_ref reference_when_copied_to(const struct object_model *model, struct gc_ref from, uintptr_t region)
{
    (void)model, (void)from;
    return (struct gc_ref){region + LEAD};
}

static uintptr_t copy_to(const struct object_model *model, struct gc_ref from, struct gc_ref to, uintptr_t region)
{
    size_t size = current_size(model, from);
    cr_assert_eq(to.address, region + LEAD);
    memmove((void *)region, tagged_of(from), size);
    return region + size;
}

static struct gc_ref copy(const struct object_model *model, struct gc_ref from, enum object_copy_semantics semantics,
                          struct object_copy_context *context)
{
    size_t size = current_size(model, from);
    uintptr_t region = context->alloc(context, (size + 15) & ~(size_t)15, 32, 16, semantics);
    cr_assert_neq(region, 0);
    struct gc_ref to = reference_when_copied_to(model, from, region);
    copy_to(model, from, to, region);
    context->post_copy(context, to, size);
    return to;
}

static struct gc_edge edge_of(struct tagged *object, size_t i)
{
    return (struct gc_edge){(uintptr_t)&object->references[i], TAG, REFERENCE_OFF};
}

static void scan(const struct object_model *model, struct gc_ref ref, struct object_visitor *visitor)
{
    struct tagged *object = tagged_of(ref);
    (void)model;
    for (size_t i = 0; i < object->count; i++)
        visitor->edge(visitor, edge_of(object, i));
}

static void dump(const struct object_model *model, struct gc_ref ref, FILE *to)
{
    fprintf(to, "%s at %p\n", type_descriptor(model, ref), (void *)ref.address);
}

static const struct object_model second = {
    .name = "second",
    .specs = {[OBJECT_LOG_BIT] = OBJECT_IN_HEADER(-1),
              [OBJECT_FORWARDING_POINTER] = OBJECT_IN_HEADER(0), /* over the size */
              [OBJECT_FORWARDING_BITS] = OBJECT_IN_HEADER(-32),
              [OBJECT_MARK_BIT] = OBJECT_IN_HEADER(-9),
              [OBJECT_PINNING_BIT] = OBJECT_BESIDE,
              [OBJECT_LOS_MARK_NURSERY] = OBJECT_IN_HEADER(-6)},
    .ref_off_lower_bound = LEAD,
    .worst_case_copy_expansion = 1.5,
    .copy = copy,
    .copy_to = copy_to,
    .reference_when_copied_to = reference_when_copied_to,
    .current_size = current_size,
    .size_when_copied = current_size,
    .align_when_copied = align_when_copied,
    .align_off_when_copied = align_off_when_copied,
    .type_descriptor = type_descriptor,
    .ref_to_object_start = ref_to_object_start,
    .object_start_to_ref = object_start_to_ref,
    .ref_to_header = ref_to_header,
    .scan = scan,
    .dump = dump,
};

static void require_refused(int id, struct object_spec spec, const char *text)
{
    struct object_model wrong = second;
    wrong.specs[id] = spec;
    require_error(object_model_check(&wrong), CRATELD_ERROR_USAGE, text);
}

Test(runtime_object_model, impossible_models_are_refused)
{
    require_success(object_model_check(&second));
    require_refused(OBJECT_FORWARDING_BITS, (struct object_spec)OBJECT_IN_HEADER(7),
                    "object model 'second': the forwarding bits is at bit 7 of the header, wanted a multiple of 2");
    require_refused(OBJECT_FORWARDING_BITS, (struct object_spec)OBJECT_IN_HEADER(-3), "at bit -3 of the header");
    require_refused(OBJECT_FORWARDING_POINTER, (struct object_spec)OBJECT_IN_HEADER(8),
                    "at bit 8 of the header, wanted a multiple of 64");
    require_refused(OBJECT_MARK_BIT, (struct object_spec)OBJECT_IN_HEADER(-1),
                    "the mark bit at bit -1 of the header overlaps the log bit at bit -1");
    struct object_model wrong = second;
    wrong.scan = NULL;
    require_error(object_model_check(&wrong), CRATELD_ERROR_USAGE, "a required function is missing");
    wrong = second;
    wrong.worst_case_copy_expansion = 0.5;
    require_error(object_model_check(&wrong), CRATELD_ERROR_USAGE, "copies expand by 0.5 at worst");
    wrong = second;
    wrong.has_unified_address = true;
    require_error(object_model_check(&wrong), CRATELD_ERROR_USAGE, "wanted exactly 0");
}

static bool add_one(uint64_t old, void *context, uint64_t *ret)
{
    *ret = old + 1;
    return *(bool *)context;
}

/* All specs of a model, by all accesses, against what the bits have to be. */
static void check_accesses(const struct crateld_gc_heap *heap, struct gc_ref ref, uint64_t *seed)
{
    const struct object_metadata *metadata = &heap->metadata;
    uint64_t values[OBJECT_SPEC_COUNT];
    for (int id = 0; id < OBJECT_SPEC_COUNT; id++)
        values[id] =
            object_metadata_load(metadata, (enum object_spec_id)id, ref, OBJECT_ALL_BITS, random_below(seed, 2));
    enum object_spec_id id = (enum object_spec_id)random_below(seed, OBJECT_SPEC_COUNT);
    unsigned width = 1u << object_spec_log_bits(id);
    uint64_t all = width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1, mask = random_next(seed),
             value = random_next(seed), seen;
    bool is_masked = random_below(seed, 2);
    switch (random_below(seed, 5)) {
    case 0:
        mask = is_masked ? mask : OBJECT_ALL_BITS;
        object_metadata_store(metadata, id, ref, mask, value, random_below(seed, 2));
        values[id] = ((values[id] & ~mask) | (value & mask)) & all;
        break;
    case 1:
        cr_assert_eq(object_metadata_fetch(metadata, id, ref, BIT_ADD, value), values[id]);
        values[id] = (values[id] + value) & all;
        break;
    case 3:
        cr_assert_eq(object_metadata_update(metadata, id, ref, add_one, &is_masked, &seen), is_masked);
        cr_assert_eq(seen, values[id]);
        values[id] = (values[id] + is_masked) & all;
        break;
    case 2:
        seen = values[id] & mask;
        cr_assert(object_metadata_cas(metadata, id, ref, mask, &seen, value));
        values[id] = ((values[id] & ~mask) | (value & mask)) & all;
        break;
    default:
        seen = ~values[id];
        cr_assert(!(mask & all) || !object_metadata_cas(metadata, id, ref, mask, &seen, value));
        cr_assert(!(mask & all) || seen == (values[id] & mask));
    }
    for (int other = 0; other < OBJECT_SPEC_COUNT; other++)
        cr_assert_eq(object_metadata_load(metadata, (enum object_spec_id)other, ref, OBJECT_ALL_BITS, false),
                     values[other], "%s changed with %s", object_spec_name((enum object_spec_id)other),
                     object_spec_name(id));
    cr_assert_eq(object_metadata_load(metadata, id, ref, mask, true), values[id] & mask);
}

static struct tagged *new_tagged(struct crateld_gc_heap *heap, size_t count, size_t extra)
{
    size_t size = sizeof(struct tagged) + count * sizeof(uintptr_t) + extra;
    uintptr_t start = gc_alloc_storage(&heap->mutator, (size + 15) & ~(size_t)15, 32, 16, CRATELD_GC_DEFAULT, true);
    cr_assert_neq(start, 0, "%s", heap->why);
    cr_assert_eq((start + 16) % 32, 0);
    struct tagged *object = (struct tagged *)start;
    object->size = size;
    object->count = count;
    for (size_t i = 0; i < count; i++)
        object->references[i] = TAG;
    gc_publish(heap, start);
    return object;
}

static struct crateld_gc_heap *make_second(const char *plan, unsigned stress)
{
    struct crateld_gc_heap *heap;
    struct crateld_gc_opts opts = {
        .plan = plan, .heap_size = 64 * MB, .stress_interval = stress, .is_sane_checked = true, .is_poisoned = true};
    require_success(gc_heap_create(&opts, &second, &heap));
    return heap;
}

Test(runtime_object_model, accesses_hit_their_bits_and_no_others)
{
    uint64_t seed = 61;
    fprintf(stderr, "# seed 61\n");
    struct crateld_gc_heap *heap = make_second("immix", 0);
    struct test_heap own = make_heap("immix", 4 * MB, 0);
    struct tagged *object = new_tagged(heap, 1, 30);
    struct pair *pair = new_pair(&own, 0);
    for (int i = 0; i < 50000; i++) {
        check_accesses(heap, (struct gc_ref){(uintptr_t)object + LEAD}, &seed);
        if (i % 100 == 0)
            object->flags = random_next(&seed);
    }
    cr_assert_eq(object->count, 1);
    cr_assert_eq(pair->number, 0);
    /* The own model's forwarding pointer lies over the other header bits. */
    struct gc_ref ref = {(uintptr_t)pair};
    object_metadata_store(&own.heap->metadata, OBJECT_FORWARDING_BITS, ref, OBJECT_ALL_BITS, OBJECT_FORWARDED, false);
    object_metadata_store(&own.heap->metadata, OBJECT_FORWARDING_POINTER, ref, OBJECT_POINTER_BITS, 0x123456789ab8,
                          false);
    cr_assert_eq(object_metadata_load(&own.heap->metadata, OBJECT_FORWARDING_BITS, ref, OBJECT_ALL_BITS, false),
                 OBJECT_FORWARDED);
    cr_assert_eq(object_metadata_load(&own.heap->metadata, OBJECT_FORWARDING_POINTER, ref, OBJECT_POINTER_BITS, false),
                 0x123456789ab8);
    crateld_gc_heap_destroy(heap);
    crateld_gc_heap_destroy(own.heap);
}

static int overridden;

static uint64_t load_overridden(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                                uint64_t mask, bool is_atomic)
{
    (void)metadata, (void)id, (void)ref, (void)is_atomic;
    overridden++;
    return 5 & mask;
}

Test(runtime_object_model, header_accesses_can_be_replaced)
{
    static const struct object_header_access access = {.load = load_overridden};
    struct object_model model = second;
    model.header_access = &access;
    struct object_metadata metadata = {.model = &model};
    cr_assert_eq(object_metadata_load(&metadata, OBJECT_MARK_BIT, (struct gc_ref){64}, 4, false), 4);
    cr_assert_eq(overridden, 1);
}

enum { ROOTS = 16 };
static uintptr_t roots[ROOTS]; /* references as they are */

static struct tagged *root_object(size_t i)
{
    return (struct tagged *)(roots[i] - LEAD);
}

/* Depth-first, to a bounded depth: every object must be whole. */
static void check_whole(const struct crateld_gc_heap *heap, struct tagged *object, int depth)
{
    cr_assert_eq((uintptr_t)gc_find(heap, (uintptr_t)object).address, (uintptr_t)object + LEAD);
    cr_assert_eq(object->size % 8, object->count % 8, "an object of %zu bytes", (size_t)object->size);
    for (size_t i = 0; depth && i < object->count; i++) {
        cr_assert_eq(object->references[i] & TAG, TAG);
        struct gc_ref ref = gc_edge_load(edge_of(object, i));
        if (!gc_ref_is_null(ref))
            check_whole(heap, tagged_of(ref), depth - 1);
    }
}

static void mutate_second(const char *plan, unsigned stress, int steps, uint64_t seed)
{
    struct crateld_gc_heap *heap = make_second(plan, stress);
    struct crateld_gc_root_range range = {roots, ROOTS, CRATELD_GC_PRECISE};
    memset(roots, 0, sizeof roots);
    require_success(crateld_gc_roots_add(heap, &seed, &range, 1));
    for (int i = 0; i < steps; i++) {
        size_t a = random_below(&seed, ROOTS), b = random_below(&seed, ROOTS), count = random_below(&seed, 20);
        if (!random_below(&seed, 300))
            count += 2000; /* large */
        if (!roots[a] || random_below(&seed, 3)) {
            uintptr_t old = roots[a];
            struct tagged *object = new_tagged(heap, count, 8 + count % 8); /* odd sizes */
            old = roots[a];                                                 /* it may have moved */
            roots[a] = (uintptr_t)object + LEAD;
            if (count && random_below(&seed, 8))
                gc_edge_store(edge_of(object, 0), (struct gc_ref){old});
        } else if (root_object(a)->count) {
            gc_edge_store(edge_of(root_object(a), random_below(&seed, root_object(a)->count)),
                          (struct gc_ref){roots[b]});
        }
        if (i % 200 == 0)
            for (size_t k = 0; k < ROOTS; k++)
                if (roots[k])
                    check_whole(heap, root_object(k), 6);
    }
    struct crateld_gc_stats stats;
    crateld_gc_collect(heap);
    crateld_gc_stats(heap, &stats);
    cr_assert(!collects(plan) || (stats.collection_count > (stress ? 100 : 0) && stats.live_count > 50));
    crateld_gc_heap_destroy(heap);
}

Test(runtime_object_model, a_second_model_lives_on_every_plan)
{
    for (int i = 0; i < PLAN_COUNT; i++) {
        mutate_second(plan_names[i], 0, collects(plan_names[i]) ? (int)random_rounds(60000, 1000000) : 20000, 62);
        mutate_second(plan_names[i], 3, 1500, 63);
    }
}

Test(runtime_object_model, objects_are_copied_to_chosen_places_even_over_themselves)
{
    struct test_heap in = make_heap("immix", 4 * MB, 0);
    const struct object_model *model = in.heap->model;
    static _Alignas(16) char room[512];
    struct pair *pair = new_pair(&in, 5);
    struct gc_ref from = {(uintptr_t)pair}, to = model->reference_when_copied_to(model, from, (uintptr_t)room + 16);
    cr_assert_eq(to.address, (uintptr_t)room + 24);
    cr_assert_eq(model->copy_to(model, from, to, (uintptr_t)room + 16),
                 (uintptr_t)room + 16 + model->current_size(model, from));
    cr_assert_eq(((struct pair *)to.address)->number, 5);
    struct gc_ref lower = model->reference_when_copied_to(model, to, (uintptr_t)room);
    model->copy_to(model, to, lower, (uintptr_t)room);
    cr_assert_eq(((struct pair *)lower.address)->number, 5);
    cr_assert_eq(model->size_when_copied(model, from), 32);
    cr_assert_str_eq(model->type_descriptor(model, from), "struct pair");
    crateld_gc_heap_destroy(in.heap);
}

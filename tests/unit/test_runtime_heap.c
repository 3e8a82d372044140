/* What every plan does: allocation and its failures, semantics, what is and what is no object, walking, roots,
 * statistics. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/heap.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/gc_heaps.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(runtime_heap, .fini = require_no_leaks);

/* On each plan, and once more with a collection at every `interval`-th allocation; each is checked. */
#define EACH_PLAN_STRESSED(name, interval)                                                                             \
    static void name##_in(const char *plan, unsigned stress);                                                          \
    Test(runtime_heap, name)                                                                                           \
    {                                                                                                                  \
        for (int i = 0; i < 2 * PLAN_COUNT; i++)                                                                       \
            name##_in(plan_names[i % PLAN_COUNT], i < PLAN_COUNT ? 0 : (interval));                                    \
    }                                                                                                                  \
    static void name##_in(const char *plan, unsigned stress)

enum { MB = 1 << 20 };

EACH_PLAN_STRESSED(alignment_and_its_offset_are_kept, 5)
{
    uint64_t seed = 41;
    struct test_heap in = make_heap(plan, 32 * MB, stress);
    for (int i = 0; i < 3000; i++) {
        size_t align = (size_t)8 << random_below(&seed, 10), off = 8 * random_below(&seed, 40);
        size_t size = random_below(&seed, 10) ? random_below(&seed, 600) : random_below(&seed, 20000);
        struct crateld_gc_alloc_opts opts = {.align = align, .align_off = off};
        unsigned char *object = crateld_gc_alloc_with(in.mutator, in.leaf, size, &opts);
        if (!object)
            break; /* nogc is full */
        cr_assert_eq(((uintptr_t)object + off) % align, 0, "align %zu off %zu: %p", align, off, (void *)object);
        cr_assert(crateld_gc_size(object) >= size && crateld_gc_size(object) < size + 32);
        cr_assert(crateld_gc_is_object(in.heap, object));
        for (size_t k = 0; k < size; k++)
            cr_assert_eq(object[k], 0);
        memset(object, 0xff, size);
    }
    crateld_gc_heap_destroy(in.heap);
}

static void require_refused(const struct test_heap *in, uint32_t type, size_t size, struct crateld_gc_alloc_opts opts,
                            const char *why)
{
    cr_assert_null(crateld_gc_alloc_with(in->mutator, type, size, &opts));
    cr_assert_not_null(strstr(crateld_gc_why(in->heap), why), "'%s' is not in '%s'", why, crateld_gc_why(in->heap));
}

EACH_PLAN_STRESSED(requests_that_can_not_be_met_fail_with_a_reason, 1)
{
    struct test_heap in = make_heap(plan, 4 * MB, stress);
    struct crateld_gc_alloc_opts none = {0};
    const size_t huge[] = {5 * MB, (size_t)1 << 40, SIZE_MAX / 4, SIZE_MAX / 2, SIZE_MAX - 64, SIZE_MAX - 8, SIZE_MAX};
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        require_refused(&in, in.leaf, huge[i], none, "the heap's limit is 4194304");
        cr_assert_null(crateld_gc_alloc(in.mutator, in.leaf, huge[i]));
    }
    require_refused(&in, 77, 8, none, "gc: type 77 is wanted, there are 3");
    require_refused(&in, in.pair, 16, none, "16 bytes are wanted for a 'struct pair', which has 24");
    require_refused(&in, in.leaf, 8, (struct crateld_gc_alloc_opts){.align = 24}, "an alignment of 24 is wanted");
    require_refused(&in, in.leaf, 8, (struct crateld_gc_alloc_opts){.align = 8192}, "an alignment of 8192 is wanted");
    require_refused(&in, in.leaf, 8, (struct crateld_gc_alloc_opts){.align_off = 4}, "byte 4 is to be aligned");
    require_refused(&in, in.leaf, 8, (struct crateld_gc_alloc_opts){.semantics = (enum crateld_gc_semantics)9},
                    "semantics are 9");
    cr_assert_not_null(crateld_gc_alloc(in.mutator, in.leaf, 8));
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN_STRESSED(a_full_heap_is_an_error_and_stays_right, 4999)
{
    struct test_heap in = make_heap(plan, 4 * MB, stress);
    void *list = NULL;
    struct crateld_gc_frame frame = {.variables = &list, .count = 1};
    uint64_t count = 0, seen = 0;
    crateld_gc_frame_push(in.heap, &frame);
    for (;; count++) {
        struct pair *pair = crateld_gc_alloc(in.mutator, in.pair, sizeof *pair);
        if (!pair)
            break;
        pair->left = list;
        pair->number = count;
        list = pair;
    }
    cr_assert_not_null(strstr(crateld_gc_why(in.heap), "gc: no memory for 32 bytes"), "%s", crateld_gc_why(in.heap));
    size_t most = (moves(plan) ? 2 : 4) * (size_t)MB / 32;
    cr_assert(count <= most && count > most * 9 / 10, "%s: %zu objects", plan, (size_t)count);
    for (const struct pair *pair = list; pair; pair = pair->left)
        cr_assert_eq(pair->number, count - ++seen);
    cr_assert_eq(seen, count);
    list = NULL;
    cr_assert_eq(crateld_gc_alloc(in.mutator, in.pair, sizeof(struct pair)) != NULL, collects(plan));
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN_STRESSED(where_no_collection_is_allowed_null_is_returned, 1)
{
    struct test_heap in = make_heap(plan, 2 * MB, stress);
    struct crateld_gc_alloc_opts opts = {.must_not_collect = true};
    struct crateld_gc_stats stats;
    while (crateld_gc_alloc_with(in.mutator, in.leaf, 100, &opts))
        ;
    cr_assert_not_null(strstr(crateld_gc_why(in.heap), "and no collection is allowed"));
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.collection_count, 0);
    cr_assert_eq(crateld_gc_alloc_with(in.mutator, in.leaf, 100, NULL) != NULL, collects(plan));
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.collection_count, collects(plan));
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN_STRESSED(disabled_collection_may_exceed_the_limit_and_enabling_collects, 1)
{
    struct test_heap in = make_heap(plan, 2 * MB, stress);
    struct crateld_gc_stats stats;
    crateld_gc_disable(in.heap);
    crateld_gc_disable(in.heap);
    for (int i = 0; i < 22; i++)
        cr_assert_not_null(crateld_gc_alloc(in.mutator, in.leaf, 100000), "%s", crateld_gc_why(in.heap));
    cr_assert_not(crateld_gc_collect(in.heap));
    crateld_gc_stats(in.heap, &stats);
    cr_assert_gt(stats.used_size, stats.heap_size_max);
    crateld_gc_enable(in.heap);
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.collection_count, 0);
    crateld_gc_enable(in.heap);
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.collection_count, collects(plan));
    cr_assert_eq(stats.used_size == 0, collects(plan));
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN_STRESSED(large_immortal_and_non_moving_objects_keep_their_promises, 1)
{
    struct test_heap in = make_heap(plan, 16 * MB, stress);
    void *roots[3] = {0};
    struct crateld_gc_frame frame = {.variables = roots, .count = 3};
    struct crateld_gc_alloc_opts large = {.semantics = CRATELD_GC_LARGE}, still = {.semantics = CRATELD_GC_NONMOVING},
                                 immortal = {.semantics = CRATELD_GC_IMMORTAL};
    crateld_gc_frame_push(in.heap, &frame);
    roots[0] = crateld_gc_alloc_with(in.mutator, in.pair, sizeof(struct pair), &large);
    roots[1] = crateld_gc_alloc_with(in.mutator, in.pair, sizeof(struct pair), &still);
    struct pair *forever = crateld_gc_alloc_with(in.mutator, in.pair, sizeof *forever, &immortal),
                *kept[2] = {roots[0], roots[1]};
    cr_assert(kept[0] && kept[1] && forever);
    forever->number = 7;
    struct pair *made = new_pair(&in, 8);
    forever->left = made;
    made = new_pair(&in, 9);
    kept[0]->left = made;
    for (int i = 0; i < 3; i++) {
        roots[2] = new_pair(&in, 1);
        crateld_gc_collect(in.heap);
    }
    cr_assert(roots[0] == kept[0] && roots[1] == kept[1]);
    cr_assert(forever->number == 7 && forever->left->number == 8 && kept[0]->left->number == 9);
    cr_assert(crateld_gc_is_object(in.heap, forever) && crateld_gc_is_object(in.heap, forever->left));
    struct crateld_gc_stats stats;
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.large_count, moves(plan) ? 2 : 1);
    roots[0] = roots[1] = NULL;
    if (crateld_gc_collect(in.heap)) {
        crateld_gc_stats(in.heap, &stats);
        cr_assert_eq(stats.large_count, 0);
        cr_assert_not(crateld_gc_is_object(in.heap, kept[0]));
        cr_assert(crateld_gc_is_object(in.heap, forever));
    }
    crateld_gc_heap_destroy(in.heap);
}

/* By each byte of an object, and near it. */
static void check_around(const struct test_heap *in, unsigned char *object, size_t size)
{
    size_t usable = crateld_gc_size(object);
    cr_assert_geq(usable, size);
    for (size_t i = 0; i < usable; i++) {
        cr_assert_eq(crateld_gc_find_object(in->heap, object + i), object);
        cr_assert_eq(crateld_gc_is_object(in->heap, object + i), i == 0);
    }
    cr_assert_neq(crateld_gc_find_object(in->heap, object + usable), object);
    for (int i = 1; i <= 8; i++)
        cr_assert_neq(crateld_gc_find_object(in->heap, object - i), object);
    /* For ambiguous words, the end counts too, which is the next object's header. */
    cr_assert_eq(gc_find_ambiguous(in->heap, (uintptr_t)object + usable).address, (uintptr_t)object);
    cr_assert_neq(gc_find_ambiguous(in->heap, (uintptr_t)object + usable + 1).address, (uintptr_t)object);
}

EACH_PLAN_STRESSED(only_objects_are_objects, 1)
{
    uint64_t seed = 42;
    struct test_heap in = make_heap(plan, 16 * MB, stress);
    uintptr_t base, bound;
    int local;
    crateld_gc_range(in.heap, &base, &bound);
    const uintptr_t wrong[] = {0,
                               1,
                               7,
                               8,
                               4096,
                               UINTPTR_MAX,
                               UINTPTR_MAX - 7,
                               (uintptr_t)1 << 63,
                               base - 8,
                               base - 1,
                               base,
                               base + 8,
                               bound - 8,
                               bound,
                               bound + 8,
                               (uintptr_t)&local,
                               (uintptr_t)in.heap,
                               (base + bound) / 2};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_assert_not(crateld_gc_is_object(in.heap, (void *)wrong[i]), "0x%zx", (size_t)wrong[i]);
        cr_assert_null(crateld_gc_find_object(in.heap, (void *)wrong[i]));
        cr_assert_eq(gc_find_ambiguous(in.heap, wrong[i]).address, 0);
    }
    const size_t sizes[] = {0, 8, 16, 24, 100, 255, 256, 257, 1000, 4000, 8184, 8185, 30000};
    void *objects[sizeof sizes / sizeof sizes[0]] = {0};
    struct crateld_gc_frame frame = {.variables = objects, .count = sizeof sizes / sizeof sizes[0]};
    crateld_gc_frame_push(in.heap, &frame);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        objects[i] = crateld_gc_alloc(in.mutator, in.leaf, sizes[i]);
        cr_assert_not_null(objects[i]);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_around(&in, objects[i], sizes[i]);
    for (int i = 0; i < 200000; i++) { /* whatever is asked, nothing faults */
        void *any = (void *)(base + random_below(&seed, bound - base));
        void *found = crateld_gc_find_object(in.heap, any);
        cr_assert(!found || crateld_gc_is_object(in.heap, found));
    }
    crateld_gc_heap_destroy(in.heap);
}

struct walk {
    void *want[2000];
    size_t count;
};

static void expect_object(void *object, void *context)
{
    struct walk *walk = context;
    for (size_t i = 0; i < walk->count; i++)
        if (walk->want[i] == object) {
            walk->want[i] = walk->want[--walk->count];
            return;
        }
    cr_assert_fail("%p was not allocated, or is walked twice", object);
}

EACH_PLAN_STRESSED(walking_finds_exactly_what_was_allocated, 5)
{
    static struct walk walk;
    struct crateld_gc_frame frame = {.variables = walk.want, .count = sizeof walk.want / sizeof walk.want[0]};
    uint64_t seed = 43;
    struct test_heap in = make_heap(plan, 32 * MB, stress);
    memset(&walk, 0, sizeof walk);
    crateld_gc_frame_push(in.heap, &frame);
    while (walk.count < 2000) {
        struct crateld_gc_alloc_opts opts = {.semantics = (enum crateld_gc_semantics)random_below(&seed, 4),
                                             .align = (size_t)8 << random_below(&seed, 4)};
        size_t size = random_below(&seed, 50) ? random_below(&seed, 300) : random_below(&seed, 100000);
        void *object = crateld_gc_alloc_with(in.mutator, in.leaf, size, &opts);
        cr_assert_not_null(object, "%s", crateld_gc_why(in.heap));
        walk.want[walk.count++] = object;
    }
    crateld_gc_walk(in.heap, expect_object, &walk);
    cr_assert_eq(walk.count, 0, "%zu objects were not walked", walk.count);
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN_STRESSED(roots_are_added_and_withdrawn_by_key, 1)
{
    static uintptr_t data[4];
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    memset(data, 0, sizeof data);
    struct crateld_gc_root_range ranges[] = {{data, 2, CRATELD_GC_PRECISE}, {data + 2, 2, CRATELD_GC_PRECISE}};
    require_success(crateld_gc_roots_add(in.heap, &in, ranges, 1));
    require_success(crateld_gc_roots_add(in.heap, data, ranges + 1, 1));
    for (int i = 0; i < 4; i++)
        data[i] = (uintptr_t)new_pair(&in, 100 + (uint64_t)i);
    bool did = crateld_gc_collect(in.heap);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(((struct pair *)data[i])->number, 100 + i);
    crateld_gc_roots_withdraw(in.heap, &in);
    struct crateld_gc_stats stats;
    if (did && crateld_gc_collect(in.heap)) {
        crateld_gc_stats(in.heap, &stats);
        cr_assert_eq(stats.live_count, 2);
        cr_assert_eq(((struct pair *)data[3])->number, 103);
    }
    struct crateld_gc_root_range ambiguous = {data, 4, CRATELD_GC_AMBIGUOUS},
                                 crooked = {(char *)data + 4, 1, CRATELD_GC_PRECISE};
    if (moves(plan))
        require_error(crateld_gc_roots_add(in.heap, data, &ambiguous, 1), CRATELD_ERROR_UNSUPPORTED,
                      "plan semispace moves objects");
    else
        require_success(crateld_gc_roots_add(in.heap, data, &ambiguous, 1));
    require_error(crateld_gc_roots_add(in.heap, data, &crooked, 1), CRATELD_ERROR_USAGE, "wanted a multiple of 8");
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN_STRESSED(pins_keep_objects_where_they_are, 1)
{
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    struct pair *pair = new_pair(&in, 5);
    if (moves(plan)) {
        require_error(crateld_gc_pin(in.heap, pair), CRATELD_ERROR_UNSUPPORTED,
                      "cannot be pinned, plan semispace moves it");
        pair = crateld_gc_alloc_with(in.mutator, in.pair, sizeof *pair,
                                     &(struct crateld_gc_alloc_opts){.semantics = CRATELD_GC_NONMOVING});
        pair->number = 5;
    }
    require_success(crateld_gc_pin(in.heap, pair));
    require_success(crateld_gc_pin(in.heap, pair));
    crateld_gc_unpin(in.heap, pair);
    crateld_gc_collect(in.heap);
    for (uint64_t i = 0; i < 10; i++)
        pair->left = new_pair(&in, i); /* what a pinned object refers to is kept with it */
    cr_assert(crateld_gc_is_object(in.heap, pair));
    cr_assert_eq(pair->number, 5);
    cr_assert_eq(pair->left->number, 9);
    crateld_gc_unpin(in.heap, pair);
    crateld_gc_collect(in.heap);
    cr_assert_eq(crateld_gc_is_object(in.heap, pair), !collects(plan));
    crateld_gc_heap_destroy(in.heap);
}

static void *allocate_elsewhere(void *argument)
{
    const struct test_heap *in = argument;
    return crateld_gc_alloc_with(in->mutator, in->leaf, 8, NULL) ? NULL : (void *)crateld_gc_why(in->heap);
}

EACH_PLAN_STRESSED(another_thread_is_told_that_it_may_not_allocate, 1)
{
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    pthread_t thread;
    void *result = &in;
    cr_assert_eq(pthread_create(&thread, NULL, allocate_elsewhere, &in), 0);
    pthread_join(thread, &result);
    cr_assert_not_null(result);
    cr_assert_str_eq((const char *)result, "gc: allocation in another thread than the heap's");
    cr_assert_str_empty(crateld_gc_why(in.heap), "the heap's own thread has not failed");
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN_STRESSED(a_forked_child_has_a_heap_of_its_own, 1)
{
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    void *root = new_pair(&in, 1);
    struct crateld_gc_frame frame = {.variables = &root, .count = 1};
    int status;
    crateld_gc_frame_push(in.heap, &frame);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (!child) {
        for (int i = 0; i < (stress ? 500 : 100000); i++) {
            struct pair *made = crateld_gc_alloc(in.mutator, in.pair, sizeof *made); /* of nogc's heap, more than fit */
            ((struct pair *)root)->left = made;
        }
        crateld_gc_collect(in.heap);
        _exit(((struct pair *)root)->number == 1 ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    cr_assert(!((struct pair *)root)->left && ((struct pair *)root)->number == 1);
    crateld_gc_heap_destroy(in.heap);
}

static struct crateld_gc_event last_event;
static int event_count;

static void on_event(const struct crateld_gc_event *event, void *context)
{
    cr_assert_eq(context, &event_count);
    last_event = *event;
    event_count++;
}

Test(runtime_heap, events_and_statistics_tell_of_collections)
{
    struct crateld_gc_opts opts = {
        .plan = "immix", .heap_size = 64 * MB, .on_event = on_event, .context = &event_count};
    struct test_heap in;
    struct crateld_gc_stats stats;
    require_success(crateld_gc_heap_create(&opts, &in.heap));
    require_success(crateld_gc_type_add(in.heap, &leaf_type, &in.leaf));
    in.mutator = crateld_gc_mutator(in.heap);
    void *root = NULL;
    struct crateld_gc_frame frame = {.variables = &root, .count = 1};
    crateld_gc_frame_push(in.heap, &frame);
    root = crateld_gc_alloc(in.mutator, in.leaf, 24);
    cr_assert(crateld_gc_collect(in.heap));
    cr_assert_eq(event_count, 2);
    cr_assert(last_event.kind == CRATELD_GC_END && last_event.live_size == 32);
    crateld_gc_stats(in.heap, &stats);
    cr_assert_str_eq(stats.plan, "immix");
    cr_assert(stats.collection_count == 1 && stats.live_size == 32 && stats.live_count == 1 &&
              stats.heap_size_max == 64 * MB);
    cr_assert_eq(stats.pause_max_ns, last_event.pause_ns);
    cr_assert_eq(stats.used_size, 32 << 10);
    cr_assert_leq(stats.metadata_size * 100, stats.mapped_size * 4, "metadata is more than 4 per cent");
    crateld_gc_heap_destroy(in.heap);
}

Test(runtime_heap, offsets_that_compilers_know_are_the_struct_s)
{
    cr_assert_eq(offsetof(struct crateld_gc_mutator, cursor), 0);
    cr_assert_eq(offsetof(struct crateld_gc_mutator, limit), 8);
    cr_assert_eq(offsetof(struct crateld_gc_mutator, vo_base), 16);
    cr_assert_eq(offsetof(struct gc_mutator, public), 0);
    cr_assert_eq(CRATELD_GC_HEADER(5, 32), UINT64_C(0x200000500));
}

Test(runtime_heap, options_are_read_from_text)
{
    struct crateld_gc_opts opts;
    require_success(crateld_gc_opts_parse("semispace,heap=512M,multiplier=2.5,stress=100,sanity,poison,stack", &opts));
    cr_assert_str_eq(opts.plan, "semispace");
    cr_assert(opts.heap_size == (size_t)512 << 20 && opts.multiplier == 2.5 && opts.stress_interval == 100);
    cr_assert(opts.is_sane_checked && opts.is_poisoned && opts.is_stack_scanned);
    require_success(crateld_gc_opts_parse("", &opts));
    cr_assert(!opts.plan && !opts.heap_size);
    const char *const wrong[] = {"imix",         "heap=",        "heap=5X",  "heap=-1", "heap=99999999999999999999",
                                 "multiplier=0", "multiplier=x", "stress=M", "heap=1MB"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        require_error(crateld_gc_opts_parse(wrong[i], &opts), CRATELD_ERROR_USAGE, wrong[i]);
}

Test(runtime_heap, wrong_options_and_types_are_refused)
{
    struct crateld_gc_heap *heap = NULL;
    require_error(crateld_gc_heap_create(&(struct crateld_gc_opts){.plan = "magic"}, &heap), CRATELD_ERROR_USAGE,
                  "gc: there is no plan 'magic'; wanted nogc, semispace or immix");
    require_error(crateld_gc_heap_create(&(struct crateld_gc_opts){.heap_size = 5}, &heap), CRATELD_ERROR_USAGE,
                  "a heap of 5 bytes is wanted");
    require_error(crateld_gc_heap_create(&(struct crateld_gc_opts){.heap_size = MB, .multiplier = 0.5}, &heap),
                  CRATELD_ERROR_USAGE, "the multiplier is 0.5");
    require_error(
        crateld_gc_heap_create(&(struct crateld_gc_opts){.plan = "semispace", .is_stack_scanned = true}, &heap),
        CRATELD_ERROR_UNSUPPORTED, "plan semispace moves objects");
    cr_assert_null(heap);
    struct test_heap in = make_heap("semispace", 4 * MB, 0);
    static const uint32_t far[] = {24}, odd[] = {4}, zero[] = {0};
    static const struct crateld_gc_type wrong[] = {
        {"far", CRATELD_GC_FIXED, 24, far, 1},          {"odd", CRATELD_GC_FIXED, 24, odd, 1},
        {"crooked", CRATELD_GC_FIXED, 20, zero, 1},     {"both", CRATELD_GC_LEAF, 8, zero, 1},
        {"kind", (enum crateld_gc_kind)9, 8, NULL, 0},  {"weak", CRATELD_GC_WEAK, 16, zero, 1},
        {"ephemeron", CRATELD_GC_EPHEMERON, 8, NULL, 0}};
    uint32_t number = 99;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        require_error(crateld_gc_type_add(in.heap, &wrong[i], &number), CRATELD_ERROR_USAGE, wrong[i].name);
    static const struct crateld_gc_type any = {"any", CRATELD_GC_CONSERVATIVE, 0, NULL, 0};
    require_error(crateld_gc_type_add(in.heap, &any, &number), CRATELD_ERROR_UNSUPPORTED,
                  "plan semispace moves objects");
    cr_assert_eq(number, 99);
    require_success(crateld_gc_type_add(in.heap, &pair_type, &number));
    cr_assert_eq(number, in.pair, "the same type has the same number");
    crateld_gc_heap_destroy(in.heap);
}

static struct crateld_error *one_life(void)
{
    struct crateld_gc_opts opts = {.plan = "immix", .heap_size = 4 * MB};
    struct crateld_gc_heap *heap;
    uint32_t type;
    TRY(crateld_gc_heap_create(&opts, &heap));
    struct crateld_error *error = crateld_gc_type_add(heap, &pair_type, &type);
    if (!error)
        error = crateld_gc_roots_add(heap, heap, &(struct crateld_gc_root_range){&opts, 0, CRATELD_GC_PRECISE}, 1);
    void *object = error ? NULL : crateld_gc_alloc(crateld_gc_mutator(heap), type, sizeof(struct pair));
    if (object)
        error = crateld_gc_pin(heap, object);
    if (object && !error)
        error = crateld_gc_finalizer_add(heap, object, NULL, NULL);
    /* A large object that there is no memory to list is refused, and the heap stays right. */
    if (!error && !crateld_gc_alloc(crateld_gc_mutator(heap), type, 100000))
        error = error_memory();
    crateld_gc_collect(heap);
    crateld_gc_heap_destroy(heap);
    return error;
}

Test(runtime_heap, failing_allocations_are_reported)
{
    cr_assert_gt(failing_memory_try_all(one_life), 0);
}

static size_t address_space_used(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    size_t pages = 0;
    if (!file || fscanf(file, "%zu", &pages) != 1)
        _exit(2);
    fclose(file);
    return pages * 4096;
}

/* The heap in a process that may have that much more address space: works, or says why not. */
static int live_within(const char *plan, size_t more, size_t heap_size)
{
    size_t address_space = more + address_space_used();
    struct rlimit limit = {address_space, address_space};
    struct crateld_gc_opts opts = {.plan = plan, .heap_size = heap_size};
    struct crateld_gc_heap *heap;
    uint32_t leaf;
    if (setrlimit(RLIMIT_AS, &limit))
        return 3;
    struct crateld_error *error = crateld_gc_heap_create(&opts, &heap);
    if (error) {
        bool is_clear = crateld_error_code(error) == CRATELD_ERROR_MEMORY &&
                        (strstr(crateld_error_message(error), "cannot reserve") ||
                         !strcmp(crateld_error_message(error), "out of memory"));
        return is_clear ? 0 : 4;
    }
    if (crateld_gc_type_add(heap, &leaf_type, &leaf))
        return 5;
    for (int i = 0; i < 100; i++)
        if (!crateld_gc_alloc(crateld_gc_mutator(heap), leaf, 100000) && !*crateld_gc_why(heap))
            return 6;
    crateld_gc_heap_destroy(heap);
    return 1;
}

static void little_address_space_in(const char *plan)
{
    int works = 0, fails = 0;
    for (size_t size = (size_t)64 << 20; size <= (size_t)4 << 30; size += size / 2)
        for (int k = 0; k < 2; k++) {
            int status;
            pid_t child = fork();
            cr_assert_geq(child, 0);
            if (!child)
                _exit(live_within(plan, size, k ? (size_t)256 << 20 : 0));
            waitpid(child, &status, 0);
            cr_assert(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "%s, %zu MiB: status %d", plan, size >> 20,
                      status);
            works += WEXITSTATUS(status) == 1;
            fails += WEXITSTATUS(status) == 0;
            cr_assert(k || WEXITSTATUS(status) == 1, "%s: the default heap does not fit into %zu MiB", plan,
                      size >> 20);
        }
    cr_assert(works > 0 && fails > 0);
}

Test(runtime_heap, little_address_space_is_enough_or_a_clear_error)
{
#if defined __SANITIZE_ADDRESS__
    cr_skip_test("the sanitizer itself needs more");
#endif
    for (int i = 0; i < PLAN_COUNT; i++)
        little_address_space_in(plan_names[i]);
}

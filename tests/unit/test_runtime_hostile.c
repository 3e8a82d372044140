/* What is asked of heaps in bad faith or bad times: limits, sizes and alignments at their ends, memory that is not to
 * be had, other stacks, other threads. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime/heap.h"
#include "tests/unit/failing_mapping.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/gc_heaps.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(runtime_hostile, .fini = require_no_leaks, .timeout = 300);

#define EACH_PLAN(name)                                                                                                \
    static void name##_in(const char *plan);                                                                           \
    Test(runtime_hostile, name)                                                                                        \
    {                                                                                                                  \
        for (int i = 0; i < PLAN_COUNT; i++)                                                                           \
            name##_in(plan_names[i]);                                                                                  \
    }                                                                                                                  \
    static void name##_in(const char *plan)

enum { MB = 1 << 20 };

/* ---- Sizes ---- */

EACH_PLAN(the_largest_heap_is_made_or_refused_and_a_larger_one_refused)
{
    const size_t largest = (size_t)1 << 42;
    struct crateld_gc_opts opts = {.plan = plan, .heap_size = largest};
    struct crateld_gc_heap *heap = NULL;
    uint32_t leaf;
    struct crateld_error *error = crateld_gc_heap_create(&opts, &heap);
    if (error) {
        require_error(error, CRATELD_ERROR_MEMORY, "");
    } else {
        require_success(crateld_gc_type_add(heap, &leaf_type, &leaf));
        cr_assert_not_null(crateld_gc_alloc(crateld_gc_mutator(heap), leaf, 100000));
        cr_assert_not_null(crateld_gc_alloc(crateld_gc_mutator(heap), leaf, 100));
        crateld_gc_heap_destroy(heap);
    }
    opts.heap_size = largest + 1;
    require_error(crateld_gc_heap_create(&opts, &heap), CRATELD_ERROR_USAGE, "possible are 1048576 to 4398046511104");
    opts.heap_size = SIZE_MAX;
    require_error(crateld_gc_heap_create(&opts, &heap), CRATELD_ERROR_USAGE, "possible are 1048576 to 4398046511104");
}

/* The size in the header counts granules in 32 bits. */
EACH_PLAN(an_object_larger_than_a_header_can_say_is_refused)
{
    struct crateld_gc_opts opts = {.plan = plan, .heap_size = (size_t)128 << 30};
    struct crateld_gc_heap *heap = NULL;
    uint32_t leaf;
    struct crateld_error *error = crateld_gc_heap_create(&opts, &heap);
    if (error) { /* the machine does not reserve that much */
        require_error(error, CRATELD_ERROR_MEMORY, "");
        return;
    }
    require_success(crateld_gc_type_add(heap, &leaf_type, &leaf));
    cr_assert_null(crateld_gc_alloc(crateld_gc_mutator(heap), leaf, (size_t)64 << 30));
    cr_assert_not_null(strstr(crateld_gc_why(heap), "an object has at most 64424509440"), "%s", crateld_gc_why(heap));
    char *object = crateld_gc_alloc(crateld_gc_mutator(heap), leaf, (size_t)5 << 30);
    cr_assert_not_null(object, "%s", crateld_gc_why(heap));
    cr_assert_geq(crateld_gc_size(object), (size_t)5 << 30);
    cr_assert_eq(crateld_gc_find_object(heap, object + ((size_t)5 << 30) - 1), object);
    object[((size_t)5 << 30) - 1] = 1;
    crateld_gc_heap_destroy(heap);
}

struct aligned {
    size_t align, off;
    uint64_t number;
};

enum { ALIGNED = 300 };

EACH_PLAN(alignments_are_kept_by_collections)
{
    uint64_t seed = 61;
    struct test_heap in = make_heap(plan, 32 * MB, 0);
    struct aligned wanted[ALIGNED];
    void *objects[ALIGNED] = {0};
    struct crateld_gc_frame frame = {.variables = objects, .count = ALIGNED};
    crateld_gc_frame_push(in.heap, &frame);
    for (int round = 0; round < 6; round++) {
        for (int i = round % 2; i < ALIGNED; i += 2) {
            size_t align = (size_t)8 << random_below(&seed, 10), off = 8 * random_below(&seed, 513);
            struct crateld_gc_alloc_opts opts = {.align = align, .align_off = off};
            uint64_t *object = crateld_gc_alloc_with(in.mutator, in.leaf, 8 + random_below(&seed, 300), &opts);
            cr_assert_not_null(object, "%s", crateld_gc_why(in.heap));
            wanted[i] = (struct aligned){align, off, random_next(&seed)};
            *object = wanted[i].number;
            objects[i] = object;
        }
        for (int i = 0; i < 3; i++) /* nogc just goes on */
            crateld_gc_collect(in.heap);
        for (int i = 0; i < ALIGNED; i++) {
            if (!objects[i])
                continue;
            cr_assert_eq(((uintptr_t)objects[i] + wanted[i].off) % wanted[i].align, 0, "%s: align %zu off %zu: %p",
                         plan, wanted[i].align, wanted[i].off, objects[i]);
            cr_assert_eq(*(uint64_t *)objects[i], wanted[i].number);
        }
    }
    crateld_gc_heap_destroy(in.heap);
}

/* What is packed well where it was allocated may be packed badly by copies: then less can be allocated, and nothing is
 * lost. */
EACH_PLAN(objects_that_pack_badly_are_refused_before_they_can_be_lost)
{
    enum { MOST = 40000 };
    struct test_heap in = make_heap(plan, 4 * MB, 0);
    static void *objects[MOST];
    struct crateld_gc_frame frame = {.variables = objects, .count = MOST};
    uint64_t seed = 62, count = 0;
    memset(objects, 0, sizeof objects);
    crateld_gc_frame_push(in.heap, &frame);
    for (; count < MOST; count++) {
        struct crateld_gc_alloc_opts opts = {.align = count % 2 ? 4096 : 8, .align_off = 16 * random_below(&seed, 256)};
        struct pair *pair = crateld_gc_alloc_with(in.mutator, in.pair, sizeof *pair + count % 7 * 700, &opts);
        if (!pair)
            break;
        pair->number = count;
        objects[count] = pair;
    }
    cr_assert(count < MOST && *crateld_gc_why(in.heap), "%s: %zu objects", plan, (size_t)count);
    crateld_gc_collect(in.heap);
    for (uint64_t i = 0; i < count; i++)
        cr_assert_eq(((struct pair *)objects[i])->number, i);
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN(what_was_allocated_while_collection_was_disabled_survives_the_first_one)
{
    struct test_heap in = make_heap(plan, 4 * MB, 0);
    void *list = NULL;
    struct crateld_gc_frame frame = {.variables = &list, .count = 1};
    uint64_t count = 0;
    crateld_gc_frame_push(in.heap, &frame);
    crateld_gc_disable(in.heap);
    for (;; count++) { /* of a size that leaves much of a block's end unused */
        struct pair *pair = crateld_gc_alloc(in.mutator, in.pair, count % 3 ? 24 : 7000);
        if (!pair)
            break;
        pair->number = count;
        pair->left = list;
        list = pair;
    }
    cr_assert_gt(count * 2348, (moves(plan) ? 2 : 4) * (uint64_t)MB * 5 / 4, "%s: %zu objects", plan, (size_t)count);
    crateld_gc_enable(in.heap);
    crateld_gc_collect(in.heap);
    for (const struct pair *pair = list; pair; pair = pair->left)
        cr_assert_eq(pair->number, --count);
    cr_assert_eq(count, 0);
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN(what_is_no_object_can_not_be_pinned_nor_finalized)
{
    struct test_heap in = make_heap(plan, 4 * MB, 0);
    int local = 0;
    struct pair *pair = new_pair(&in, 1);
    void *const wrong[] = {NULL, &local, (char *)pair + 8, (char *)pair - 8, (void *)UINTPTR_MAX, in.heap};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        require_error(crateld_gc_pin(in.heap, wrong[i]), CRATELD_ERROR_USAGE, "is wanted to be an object, and is none");
        require_error(crateld_gc_finalizer_add(in.heap, wrong[i], NULL, NULL), CRATELD_ERROR_USAGE,
                      "is wanted to be an object, and is none");
        crateld_gc_unpin(in.heap, wrong[i]);
    }
    crateld_gc_collect(in.heap);
    crateld_gc_heap_destroy(in.heap);
}

EACH_PLAN(equal_types_are_one_and_need_not_stay)
{
    struct test_heap in = make_heap(plan, 4 * MB, 0);
    uint32_t offs[] = {8, 600};
    char name[] = "gone";
    struct crateld_gc_type type = {name, CRATELD_GC_FIXED, 608, offs, 2}, other;
    uint32_t first, second, third;
    void *root = NULL;
    struct crateld_gc_frame frame = {.variables = &root, .count = 1};
    require_success(crateld_gc_type_add(in.heap, &type, &first));
    other = type;
    other.name = "gone";
    require_success(crateld_gc_type_add(in.heap, &other, &second));
    cr_assert_eq(first, second);
    offs[0] = 16;
    require_success(crateld_gc_type_add(in.heap, &type, &third));
    cr_assert_neq(first, third);
    memset(offs, 0xff, sizeof offs);
    memset(&type, 0xff, sizeof type);
    memset(name, 0xff, sizeof name);
    crateld_gc_frame_push(in.heap, &frame);
    void **object = root = crateld_gc_alloc(in.mutator, first, 608);
    cr_assert_not_null(object, "%s", crateld_gc_why(in.heap));
    object[1] = new_pair(&in, 5);
    object = root;
    object[75] = new_pair(&in, 6);
    crateld_gc_collect(in.heap);
    object = root;
    cr_assert_eq(((struct pair *)object[1])->number, 5);
    cr_assert_eq(((struct pair *)object[75])->number, 6);
    crateld_gc_heap_destroy(in.heap);
}

/* ---- Memory that is not to be had ---- */

/* A program that uses all that a heap has, and handles each failure: it drops what it has and goes on. What it built
 * must be whole all the time. Objects that could not be made are counted in *ret. */
static struct crateld_error *program(const char *plan, uint64_t *ret)
{
    struct crateld_gc_opts opts = {
        .plan = plan, .heap_size = 6 * MB, .is_sane_checked = true, .is_poisoned = true, .multiplier = 2};
    static const uint32_t kept[] = {8};
    static const struct crateld_gc_type weak_type = {"weak", CRATELD_GC_WEAK, 24, kept, 1};
    struct crateld_gc_heap *heap;
    uint32_t pair_number, weak_number;
    void *roots[2] = {0};
    struct crateld_gc_frame frame = {.variables = roots, .count = 2};
    uint64_t seed = 63;
    TRY(crateld_gc_heap_create(&opts, &heap));
    struct crateld_error *error = crateld_gc_type_add(heap, &pair_type, &pair_number);
    if (!error)
        error = crateld_gc_type_add(heap, &weak_type, &weak_number);
    crateld_gc_frame_push(heap, &frame);
    for (int i = 0; i < 1000 && !error; i++) {
        struct crateld_gc_alloc_opts how = {
            .semantics = i % 9 ? CRATELD_GC_DEFAULT : (enum crateld_gc_semantics)(i / 9 % 4), .align = i % 5 ? 8 : 64};
        size_t size = i % 11 ? 24 + random_below(&seed, 500) : 24 + random_below(&seed, 200000);
        struct pair *made =
            crateld_gc_alloc_with(crateld_gc_mutator(heap), i % 4 ? pair_number : weak_number, size, &how);
        if (!made) {
            cr_assert_neq(*crateld_gc_why(heap), 0);
            ++*ret;
            roots[0] = NULL;
        } else {
            made->number = 99;
            made->right = roots[0];
            made->left = i % 4 ? NULL : roots[0];
            roots[0] = made;
            struct crateld_error *refused = i % 13 ? NULL : crateld_gc_finalizer_add(heap, made, NULL, NULL);
            if (!refused && i % 50 == 0)
                refused = crateld_gc_roots_add(heap, &seed,
                                               &(struct crateld_gc_root_range){&roots[1], 1, CRATELD_GC_PRECISE}, 1);
            if (refused) {
                cr_assert_eq(crateld_error_code(refused), CRATELD_ERROR_MEMORY);
                crateld_error_destroy(refused);
            }
        }
        if (i % 200 == 199)
            crateld_gc_collect(heap);
        for (const struct pair *at = i % 10 ? NULL : roots[0]; at; at = at->right)
            cr_assert_eq(at->number, 99);
    }
    crateld_gc_heap_destroy(heap);
    return error;
}

/* Runs it with each call that `set` makes fail failing in turn, up to the last: all of them, or, to be brief, each of
 * the first and a sample of the rest. Returns how many did. */
static size_t fail_each(const char *plan, void (*set)(size_t n), bool (*end)(void))
{
    bool did_fail = true;
    size_t count = 0;
    for (size_t n = 0; did_fail; n += n < 40 ? 1 : (size_t)random_rounds((long)n / 8, 1)) {
        uint64_t failures = 0;
        set(n);
        struct crateld_error *error = program(plan, &failures);
        did_fail = end();
        count += did_fail;
        if (!error)
            continue;
        cr_assert(did_fail, "%s", crateld_error_message(error));
        cr_assert_eq(crateld_error_code(error), CRATELD_ERROR_MEMORY, "%s: call %zu: %s", plan, n,
                     crateld_error_message(error));
        crateld_error_destroy(error);
    }
    return count;
}

EACH_PLAN(an_allocation_of_the_collector_that_fails_is_handled_wherever_it_is)
{
    size_t count = fail_each(plan, failing_memory_set, failing_memory_end);
    fprintf(stderr, "# %s: %zu allocations failed\n", plan, count);
    cr_assert_gt(count, 10);
}

static void set_one(size_t n)
{
    failing_mapping_set(n, false);
}

static void set_all_from(size_t n)
{
    failing_mapping_set(n, true);
}

EACH_PLAN(a_mapping_that_fails_is_handled_wherever_it_is)
{
    size_t count = fail_each(plan, set_one, failing_mapping_end);
    fprintf(stderr, "# %s: %zu mappings failed, once each\n", plan, count);
    cr_assert_gt(count, 10);
    count = fail_each(plan, set_all_from, failing_mapping_end);
    fprintf(stderr, "# %s: %zu mappings failed, with all behind them\n", plan, count);
}

/* A program that builds a list of objects of all kinds, at one of whose allocations the heap is full. */
enum { SITES = 48 };

struct full {
    struct test_heap in;
    void *list, *filling;
    long fails_at, failures;
};

static void fill_heap(struct full *full)
{
    for (struct pair *pair; (pair = crateld_gc_alloc(full->in.mutator, full->in.pair, sizeof *pair));) {
        pair->left = full->filling;
        full->filling = pair;
    }
    struct crateld_gc_stats stats;
    crateld_gc_stats(full->in.heap, &stats);
    cr_assert_leq(stats.used_size, stats.heap_size_max);
}

/* What the program allocates at site `i`; handled there: what can be spared is dropped, and it is tried again. */
static struct pair *allocate_at(struct full *full, long i)
{
    static const size_t sizes[] = {24, 100, 300, 5000, 20000, 200000};
    struct crateld_gc_alloc_opts opts = {.semantics = (enum crateld_gc_semantics)(i / 6 % 4),
                                         .align = i / 24 % 2 ? 64 : 8};
    if (i == full->fails_at)
        fill_heap(full);
    struct pair *made = crateld_gc_alloc_with(full->in.mutator, full->in.pair, sizes[i % 6], &opts);
    if (made)
        return made;
    cr_assert_geq(i, full->fails_at, "%s", crateld_gc_why(full->in.heap)); /* there may have been room for that one */
    cr_assert_neq(*crateld_gc_why(full->in.heap), 0);
    full->failures++;
    full->filling = NULL;
    return crateld_gc_alloc_with(full->in.mutator, full->in.pair, sizes[i % 6], &opts);
}

/* Returns whether it came to its end. */
static bool run_until_full(struct full *full)
{
    long count = 0;
    for (; count < SITES; count++) {
        struct pair *made = allocate_at(full, count);
        if (!made)
            break;
        cr_assert(!made->left && !made->number);
        made->number = (uint64_t)count;
        made->left = full->list;
        full->list = made;
    }
    crateld_gc_collect(full->in.heap);
    bool is_whole = count == SITES;
    for (const struct pair *pair = full->list; pair; pair = pair->left)
        cr_assert_eq(pair->number, --count);
    cr_assert_eq(count, 0);
    return is_whole;
}

EACH_PLAN(a_heap_that_is_full_at_any_allocation_of_a_program_is_an_error_that_it_handles)
{
    long failures = 0;
    for (long site = 0; site < SITES; site++) {
        struct full full = {.in = make_heap(plan, 4 * MB, 0), .fails_at = site};
        struct crateld_gc_frame frame = {.variables = &full.list, .count = 2};
        crateld_gc_frame_push(full.in.heap, &frame);
        /* Without collections nothing gets free by being dropped. */
        cr_assert_eq(run_until_full(&full), collects(plan) || !full.failures, "%s: site %ld: %s", plan, site,
                     crateld_gc_why(full.in.heap));
        failures += full.failures;
        crateld_gc_heap_destroy(full.in.heap);
    }
    fprintf(stderr, "# %s: %ld of %d allocations failed\n", plan, failures, SITES);
    cr_assert_gt(failures, SITES * 3 / 4);
}

/* The tables of large objects, and the metadata of a chunk: each by its own message. */
EACH_PLAN(metadata_that_can_not_be_mapped_is_an_error_that_says_so)
{
    bool has_said = false;
    for (size_t n = 0; n < 12 && !has_said; n++) {
        struct test_heap in = make_heap(plan, 4 * MB, 0);
        failing_mapping_set(n, true);
        void *object = crateld_gc_alloc(in.mutator, in.leaf, 100000);
        bool did_fail = failing_mapping_end();
        cr_assert_eq(!object, did_fail, "%s", crateld_gc_why(in.heap));
        has_said = strstr(crateld_gc_why(in.heap), "side metadata: cannot map") != NULL;
        cr_assert_not_null(crateld_gc_alloc(in.mutator, in.leaf, 100000), "it can be tried again");
        crateld_gc_heap_destroy(in.heap);
    }
    cr_assert(has_said);
}

/* ---- Structures ---- */

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

EACH_PLAN(a_list_as_long_as_the_heap_is_traced)
{
    struct test_heap in = make_heap(plan, 64 * MB, 0);
    void *list = NULL;
    struct crateld_gc_frame frame = {.variables = &list, .count = 1};
    uint64_t count = 0;
    crateld_gc_frame_push(in.heap, &frame);
    for (; count < 800000; count++) {
        struct pair *pair = new_pair(&in, count);
        pair->left = list;
        pair->right = list; /* met twice */
        list = pair;
    }
    crateld_gc_collect(in.heap);
    for (const struct pair *pair = list; pair; pair = pair->left)
        cr_assert_eq(pair->number, --count);
    crateld_gc_heap_destroy(in.heap);
}

struct ephemeron {
    struct pair *key, *value;
};

enum { EPHEMERONS = 100000 };

/* The value of each is the key of the next, and they lie in an order that is none; one more has the last value as its
 * key many times. */
static void chain_ephemerons(const struct test_heap *in, void **ephemerons, void **first, bool has_branches)
{
    static const struct crateld_gc_type type = {"ephemeron", CRATELD_GC_EPHEMERON, 16, NULL, 0};
    static uint32_t place[EPHEMERONS];
    uint64_t seed = 64;
    uint32_t number;
    void *key = NULL;
    struct crateld_gc_frame frame = {.variables = &key, .count = 1};
    require_success(crateld_gc_type_add(in->heap, &type, &number));
    for (uint32_t i = 0; i < EPHEMERONS; i++)
        place[i] = i;
    for (uint32_t i = EPHEMERONS - 1; i; i--) {
        uint32_t k = (uint32_t)random_below(&seed, i + 1), other = place[k];
        place[k] = place[i];
        place[i] = other;
    }
    crateld_gc_frame_push(in->heap, &frame);
    *first = key = new_pair(in, 0);
    for (uint32_t i = 0; i < EPHEMERONS; i++) {
        struct ephemeron *made = crateld_gc_alloc(in->mutator, number, sizeof *made);
        cr_assert_not_null(made, "%s", crateld_gc_why(in->heap));
        ((void **)*ephemerons)[place[i]] = made;
        made->key = key;
        if (has_branches && i % 2) /* as many have the first key */
            made->key = *first;
        struct pair *value = new_pair(in, i + 1);
        made = ((void **)*ephemerons)[place[i]];
        made->value = key = value;
    }
    crateld_gc_frame_pop(in->heap);
}

/* By rounds over all that wait, it would take as many as there are. */
EACH_PLAN(a_chain_of_ephemerons_takes_time_as_it_is_long)
{
    for (int has_branches = 0; has_branches < 2; has_branches++) {
        struct test_heap in = make_heap(plan, 64 * MB, 0);
        void *roots[2] = {0};
        struct crateld_gc_frame frame = {.variables = roots, .count = 2};
        crateld_gc_frame_push(in.heap, &frame);
        roots[0] = crateld_gc_alloc(in.mutator, in.array, EPHEMERONS * sizeof(void *));
        chain_ephemerons(&in, &roots[0], &roots[1], has_branches);
        double start = cpu_seconds();
        for (int i = 0; i < 3; i++)
            crateld_gc_collect(in.heap);
        cr_assert_lt(cpu_seconds() - start, 15, "%s: it took %g s", plan, cpu_seconds() - start);
        size_t with_keys = 0;
        for (int i = 0; i < EPHEMERONS; i++) {
            const struct ephemeron *ephemeron = ((void **)roots[0])[i];
            cr_assert_eq(!ephemeron->key, !ephemeron->value);
            cr_assert(!ephemeron->value || ephemeron->value->number > ephemeron->key->number);
            with_keys += ephemeron->key != NULL;
        }
        /* With branches, each chain ends where the next begins with the first key. */
        cr_assert_eq(with_keys, EPHEMERONS);
        roots[1] = NULL;
        if (crateld_gc_collect(in.heap))
            for (int i = 0; i < EPHEMERONS; i++)
                cr_assert_null(((struct ephemeron **)roots[0])[i]->key);
        crateld_gc_heap_destroy(in.heap);
    }
}

/* ---- Finalizers and events that do what they like ---- */

static void *resurrected[4];
static uint64_t runs;

/* Keeps its object, asks for itself again, and makes garbage. */
static void resurrect(void *object, void *data)
{
    struct test_heap *in = data;
    struct pair *pair = object;
    resurrected[pair->number] = pair;
    runs++;
    require_success(crateld_gc_finalizer_add(in->heap, object, resurrect, data));
    for (uint64_t i = 0; i < 10; i++)
        new_pair(in, i);
    crateld_gc_collect(in->heap);
}

EACH_PLAN(finalizers_may_keep_their_objects_and_ask_for_themselves_again)
{
    struct test_heap in = make_heap(plan, 8 * MB, 0);
    struct crateld_gc_frame frame = {.variables = resurrected, .count = 4};
    crateld_gc_frame_push(in.heap, &frame);
    runs = 0;
    for (int i = 0; i < 4; i++) {
        resurrected[i] = new_pair(&in, (uint64_t)i);
        struct pair *left = new_pair(&in, 100 + (uint64_t)i);
        ((struct pair *)resurrected[i])->left = left;
        require_success(crateld_gc_finalizer_add(in.heap, resurrected[i], resurrect, &in));
    }
    for (uint64_t round = 1; round <= 5; round++) {
        memset(resurrected, 0, sizeof resurrected);
        crateld_gc_collect(in.heap);
        cr_assert_eq(crateld_gc_run_finalizers(in.heap), collects(plan) ? 4 : 0);
        cr_assert_eq(runs, collects(plan) ? 4 * round : 0);
        for (uint64_t i = 0; i < 4 && collects(plan); i++) {
            const struct pair *pair = resurrected[i];
            cr_assert(pair->number == i && pair->left->number == 100 + i);
        }
    }
    crateld_gc_heap_destroy(in.heap);
}

static void become_due_again(void *object, void *data)
{
    struct test_heap *in = data;
    runs++;
    require_success(crateld_gc_finalizer_add(in->heap, object, become_due_again, data));
    crateld_gc_collect(in->heap);
    crateld_gc_collect(in->heap);
}

EACH_PLAN(a_finalizer_that_makes_itself_due_again_is_for_the_next_time)
{
    struct test_heap in = make_heap(plan, 8 * MB, 0);
    void *first = new_pair(&in, 1);
    runs = 0;
    require_success(crateld_gc_finalizer_add(in.heap, first, become_due_again, &in));
    for (uint64_t round = 0; round < 3; round++) {
        crateld_gc_collect(in.heap);
        cr_assert_leq(crateld_gc_run_finalizers(in.heap), 1);
        cr_assert_eq(runs, collects(plan) ? round + 1 : 0);
    }
    crateld_gc_heap_destroy(in.heap);
}

static struct test_heap told_in;
static int told_count;

static void allocate_when_told(const struct crateld_gc_event *event, void *context)
{
    (void)event;
    (void)context;
    cr_assert_null(crateld_gc_alloc_with(told_in.mutator, told_in.leaf, 100000, NULL));
    cr_assert_str_eq(crateld_gc_why(told_in.heap), "gc: allocation during a collection");
    cr_assert_not(crateld_gc_collect(told_in.heap));
    told_count++;
}

EACH_PLAN(who_is_told_of_a_collection_can_not_allocate_or_collect)
{
    struct crateld_gc_opts opts = {.plan = plan, .heap_size = 4 * MB, .on_event = allocate_when_told};
    require_success(crateld_gc_heap_create(&opts, &told_in.heap));
    require_success(crateld_gc_type_add(told_in.heap, &leaf_type, &told_in.leaf));
    told_in.mutator = crateld_gc_mutator(told_in.heap);
    told_count = 0;
    crateld_gc_collect(told_in.heap);
    cr_assert_eq(told_count, collects(plan) ? 2 : 0);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(!crateld_gc_alloc(told_in.mutator, told_in.leaf, 100000), !collects(plan) && i >= 40, "%d", i);
    crateld_gc_heap_destroy(told_in.heap);
}

/* ---- Processes ---- */

static atomic_bool is_over;

static void *add_and_withdraw(void *argument)
{
    struct test_heap *in = argument;
    uintptr_t word = 0;
    struct crateld_gc_root_range range = {&word, 1, CRATELD_GC_PRECISE};
    while (!atomic_load(&is_over)) {
        require_success(crateld_gc_roots_add(in->heap, &word, &range, 1));
        crateld_gc_roots_withdraw(in->heap, &word);
    }
    return NULL;
}

/* The lock is mostly held by one of the threads when the process is forked. */
EACH_PLAN(a_child_that_is_forked_while_others_add_roots_has_a_heap_that_works)
{
#if defined __SANITIZE_ADDRESS__
    cr_skip_test("the sanitizer's own allocator may be locked in the child, for good");
#endif
    struct test_heap in = make_heap(plan, 8 * MB, 0);
    pthread_t threads[2];
    atomic_store(&is_over, false);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, add_and_withdraw, &in), 0);
    for (int i = 0; i < 100; i++) {
        int status;
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (!child) {
            alarm(20);
            for (int k = 0; k < 3; k++) {
                if (!crateld_gc_alloc(in.mutator, in.leaf, 100000))
                    _exit(1);
                crateld_gc_collect(in.heap);
            }
            crateld_gc_heap_destroy(in.heap);
            _exit(crateld_gc_heap_create(NULL, &in.heap) ? 2 : 0);
        }
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0, "%s, child %d: status %d", plan, i, status);
        cr_assert_not_null(crateld_gc_alloc(in.mutator, in.leaf, 100));
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    crateld_gc_heap_destroy(in.heap);
}

/* ---- Stacks ---- */

static ucontext_t main_context, other_context;
static struct test_heap other_in;
static bool did_collect;
static char why[200];

static void run_unknown(void)
{
    did_collect = crateld_gc_collect(other_in.heap);
    snprintf(why, sizeof why, "%s", crateld_gc_why(other_in.heap));
}

Test(runtime_hostile, on_a_stack_that_is_not_known_nothing_is_collected)
{
    enum { STACK_SIZE = 256 << 10 };
    char *memory = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    struct crateld_gc_opts opts = {.plan = "immix", .heap_size = 8 * MB, .is_stack_scanned = true};
    require_success(crateld_gc_heap_create(&opts, &other_in.heap));
    cr_assert_eq(getcontext(&other_context), 0);
    other_context.uc_stack.ss_sp = memory;
    other_context.uc_stack.ss_size = STACK_SIZE;
    other_context.uc_link = &main_context;
    makecontext(&other_context, run_unknown, 0);
    cr_assert_eq(swapcontext(&main_context, &other_context), 0);
    cr_assert_not(did_collect);
    cr_assert_not_null(strstr(why, "no collection is possible on a stack that was not added"), "%s", why);
    cr_assert(crateld_gc_collect(other_in.heap));
    crateld_gc_heap_destroy(other_in.heap);
    munmap(memory, STACK_SIZE);
}

/* Collections, on every plan: weak references, ephemerons, finalizers; and a random mutator against a precise model. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "runtime/heap.h"
#include "tests/unit/gc_heaps.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(runtime_collect, .fini = require_no_leaks, .timeout = 600);

enum { MB = 1 << 20 };

#define EACH_COLLECTING_PLAN(name)                                                                                     \
    static void name##_in(const char *plan);                                                                           \
    Test(runtime_collect, name)                                                                                        \
    {                                                                                                                  \
        for (int i = 0; i < PLAN_COUNT; i++)                                                                           \
            if (collects(plan_names[i]))                                                                               \
                name##_in(plan_names[i]);                                                                              \
    }                                                                                                                  \
    static void name##_in(const char *plan)

/* And once more with a collection at every `interval`-th allocation. */
#define EACH_COLLECTING_PLAN_STRESSED(name, interval)                                                                  \
    static void name##_in(const char *plan, unsigned stress);                                                          \
    Test(runtime_collect, name)                                                                                        \
    {                                                                                                                  \
        for (int i = 0; i < 2 * PLAN_COUNT; i++)                                                                       \
            if (collects(plan_names[i % PLAN_COUNT]))                                                                  \
                name##_in(plan_names[i % PLAN_COUNT], i < PLAN_COUNT ? 0 : (interval));                                \
    }                                                                                                                  \
    static void name##_in(const char *plan, unsigned stress)

struct weak {
    struct pair *target; /* weak */
    struct pair *kept;
};

struct ephemeron {
    struct pair *key, *value;
};

static const uint32_t weak_pointers[] = {offsetof(struct weak, kept)};
static const struct crateld_gc_type weak_type = {"weak", CRATELD_GC_WEAK, sizeof(struct weak), weak_pointers, 1};
static const struct crateld_gc_type ephemeron_type = {"ephemeron", CRATELD_GC_EPHEMERON, sizeof(struct ephemeron), NULL,
                                                      0};

static void *new_of(const struct test_heap *in, const struct crateld_gc_type *type, size_t size)
{
    uint32_t number;
    require_success(crateld_gc_type_add(in->heap, type, &number));
    void *object = crateld_gc_alloc(in->mutator, number, size);
    cr_assert_not_null(object, "%s", crateld_gc_why(in->heap));
    return object;
}

EACH_COLLECTING_PLAN_STRESSED(weak_references_do_not_keep_and_become_null, 1)
{
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    void *roots[3] = {0};
    struct crateld_gc_frame frame = {.variables = roots, .count = 3};
    crateld_gc_frame_push(in.heap, &frame);
    roots[0] = new_of(&in, &weak_type, sizeof(struct weak));
    roots[1] = new_of(&in, &weak_type, sizeof(struct weak));
    roots[2] = new_pair(&in, 3);
    struct pair *made = new_pair(&in, 2);
    ((struct weak *)roots[0])->kept = made;
    made = new_pair(&in, 1);
    ((struct weak *)roots[0])->target = made;
    ((struct weak *)roots[1])->target = roots[2];
    crateld_gc_collect(in.heap);
    struct weak *lost = roots[0], *found = roots[1];
    cr_assert_null(lost->target);
    cr_assert_eq(lost->kept->number, 2);
    cr_assert_eq(found->target, roots[2]);
    cr_assert_eq(found->target->number, 3);
    for (uint64_t i = 0; i < 20; i++) {
        made = new_pair(&in, i);
        found = roots[1];
        cr_assert(found->target == roots[2] && found->target->number == 3);
    }
    roots[2] = NULL;
    crateld_gc_collect(in.heap);
    cr_assert_null(((struct weak *)roots[1])->target);
    crateld_gc_heap_destroy(in.heap);
}

enum { CHAIN = 50 };

EACH_COLLECTING_PLAN_STRESSED(ephemerons_keep_their_values_as_long_as_their_keys_live, 1)
{
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    void *roots[CHAIN + 1] = {0}, *keys[CHAIN + 1] = {0};
    struct crateld_gc_frame frame = {.variables = roots, .count = CHAIN + 1},
                            keys_frame = {.variables = keys, .count = CHAIN + 1};
    crateld_gc_frame_push(in.heap, &frame);
    crateld_gc_frame_push(in.heap, &keys_frame);
    /* A chain: the value of each is the key of the next; entered in the order in which it is hardest to see. */
    for (int i = 0; i <= CHAIN; i++)
        keys[i] = new_pair(&in, 100 + (uint64_t)i);
    for (int i = CHAIN - 1; i >= 0; i--) {
        struct ephemeron *ephemeron = new_of(&in, &ephemeron_type, sizeof *ephemeron);
        *ephemeron = (struct ephemeron){keys[i], keys[i + 1]};
        roots[i] = ephemeron;
    }
    roots[CHAIN] = keys[0];
    crateld_gc_frame_pop(in.heap);
    crateld_gc_collect(in.heap);
    for (uint64_t i = 0; i < 20; i++)
        new_pair(&in, i);
    for (int i = 0; i < CHAIN; i++) {
        struct ephemeron *ephemeron = roots[i];
        cr_assert_eq(ephemeron->key->number, 100 + i);
        cr_assert_eq(ephemeron->value->number, 101 + i);
    }
    roots[CHAIN] = NULL;
    crateld_gc_collect(in.heap);
    for (int i = 0; i < CHAIN; i++)
        cr_assert(!((struct ephemeron *)roots[i])->key && !((struct ephemeron *)roots[i])->value);
    /* An ephemeron whose value refers to its key does not keep it. */
    roots[1] = new_pair(&in, 1);
    roots[2] = new_pair(&in, 2);
    struct ephemeron *circle = new_of(&in, &ephemeron_type, sizeof *circle);
    *circle = (struct ephemeron){roots[1], roots[2]};
    circle->value->left = circle->key;
    roots[0] = circle;
    roots[1] = roots[2] = NULL;
    crateld_gc_collect(in.heap);
    cr_assert(!((struct ephemeron *)roots[0])->key && !((struct ephemeron *)roots[0])->value);
    crateld_gc_heap_destroy(in.heap);
}

static uint64_t finalized[8];
static size_t finalized_count;

static void note_finalized(void *object, void *data)
{
    const struct pair *pair = object;
    cr_assert_eq(data, finalized);
    cr_assert_eq(pair->left->number, pair->number + 1000, "what a finalizer sees is still there");
    finalized[finalized_count++] = pair->number;
}

EACH_COLLECTING_PLAN_STRESSED(finalizers_run_once_in_order_and_not_in_a_collection, 1)
{
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    void *roots[4] = {0};
    struct crateld_gc_frame frame = {.variables = roots, .count = 4};
    crateld_gc_frame_push(in.heap, &frame);
    finalized_count = 0;
    for (uint64_t i = 0; i < 3; i++) {
        roots[i] = new_pair(&in, i + 1);
        struct pair *left = new_pair(&in, i + 1001);
        ((struct pair *)roots[i])->left = left;
        require_success(crateld_gc_finalizer_add(in.heap, roots[i], note_finalized, finalized));
    }
    require_success(crateld_gc_finalizer_add(in.heap, roots[1], note_finalized, finalized));
    struct weak *weak = new_of(&in, &weak_type, sizeof *weak);
    weak->target = roots[1];
    roots[3] = weak;
    crateld_gc_collect(in.heap);
    cr_assert_eq(crateld_gc_run_finalizers(in.heap), 0);
    roots[1] = roots[0] = NULL;
    crateld_gc_collect(in.heap);
    cr_assert_eq(finalized_count, 0, "a collection ran a finalizer");
    cr_assert_null(((struct weak *)roots[3])->target, "a weak reference outlives the finalizer's queue");
    crateld_gc_collect(in.heap); /* what is due stays */
    cr_assert_eq(crateld_gc_run_finalizers(in.heap), 3);
    cr_assert(finalized_count == 3 && finalized[0] == 1 && finalized[1] == 2 && finalized[2] == 2);
    crateld_gc_collect(in.heap);
    cr_assert_eq(crateld_gc_run_finalizers(in.heap), 0);
    struct crateld_gc_stats stats;
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.live_count, 3, "%zu objects", (size_t)stats.live_count);
    crateld_gc_heap_destroy(in.heap);
}

static uintptr_t stack_words[4];

Test(runtime_collect, suspended_stacks_are_scanned_between_their_bounds)
{
    struct test_heap in = make_heap("immix", 8 * MB, 0);
    struct crateld_gc_stack stack = {.low = stack_words + 1, .high = stack_words + 3};
    require_success(crateld_gc_stack_add(in.heap, &stack));
    for (int i = 0; i < 4; i++)
        stack_words[i] = (uintptr_t)new_pair(&in, (uint64_t)i);
    stack_words[1] += sizeof(struct pair); /* one past the end keeps too */
    crateld_gc_collect(in.heap);
    struct crateld_gc_stats stats;
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.live_count, 2);
    cr_assert_eq(stats.ambiguous_count, 2);
    cr_assert_eq(((struct pair *)stack_words[2])->number, 2);
    crateld_gc_stack_remove(in.heap, &stack);
    crateld_gc_collect(in.heap);
    crateld_gc_stats(in.heap, &stats);
    cr_assert_eq(stats.live_count, 0);
    crateld_gc_heap_destroy(in.heap);
}

enum { STACK_SIZE = 256 << 10 };

static ucontext_t main_context, other_context;
static struct test_heap other_in;
static bool did_survive;

static void run_on_other_stack(void)
{
    struct pair *kept = new_pair(&other_in, 11);
    for (int i = 0; i < 20; i++)
        crateld_gc_collect(other_in.heap);
    did_survive = crateld_gc_is_object(other_in.heap, kept) && kept->number == 11;
    crateld_gc_keep(kept);
}

Test(runtime_collect, a_collection_on_another_stack_scans_that_one)
{
    char *memory = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    struct crateld_gc_opts opts = {.plan = "immix", .heap_size = 8 * MB, .is_poisoned = true, .is_stack_scanned = true};
    struct crateld_gc_stack running = {.low = memory, .high = memory + STACK_SIZE};
    require_success(crateld_gc_heap_create(&opts, &other_in.heap));
    require_success(crateld_gc_type_add(other_in.heap, &pair_type, &other_in.pair));
    other_in.mutator = crateld_gc_mutator(other_in.heap);
    require_success(crateld_gc_stack_add(other_in.heap, &running));
    cr_assert_eq(getcontext(&other_context), 0);
    other_context.uc_stack.ss_sp = memory;
    other_context.uc_stack.ss_size = STACK_SIZE;
    other_context.uc_link = &main_context;
    makecontext(&other_context, run_on_other_stack, 0);
    cr_assert_eq(swapcontext(&main_context, &other_context), 0);
    cr_assert(did_survive);
    crateld_gc_heap_destroy(other_in.heap);
    munmap(memory, STACK_SIZE);
}

static size_t nested_count;

static void ask_for_finalizers(void *object, void *data)
{
    struct test_heap *in = data;
    nested_count++;
    new_pair(in, 7);
    crateld_gc_run_finalizers(in->heap);
    crateld_gc_collect(in->heap);
    (void)object;
}

EACH_COLLECTING_PLAN_STRESSED(a_finalizer_may_run_finalizers_and_collect, 1)
{
    struct test_heap in = make_heap(plan, 8 * MB, stress);
    nested_count = 0;
    for (uint64_t i = 0; i < 5; i++)
        require_success(crateld_gc_finalizer_add(in.heap, new_pair(&in, i), ask_for_finalizers, &in));
    crateld_gc_collect(in.heap);
    crateld_gc_run_finalizers(in.heap);
    cr_assert_eq(nested_count, 5);
    crateld_gc_heap_destroy(in.heap);
}

Test(runtime_collect, conservative_objects_keep_what_their_words_point_into)
{
    static const struct crateld_gc_type any = {"any", CRATELD_GC_CONSERVATIVE, 0, NULL, 0};
    struct test_heap in = make_heap("immix", 8 * MB, 0);
    void *root = NULL;
    struct crateld_gc_frame frame = {.variables = &root, .count = 1};
    crateld_gc_frame_push(in.heap, &frame);
    uintptr_t *words = new_of(&in, &any, 5 * sizeof *words);
    root = words;
    words[4] = (uintptr_t)new_pair(&in, 9) + 17;
    words[0] = 12345;
    crateld_gc_collect(in.heap);
    cr_assert_eq(((struct pair *)(words[4] - 17))->number, 9);
    crateld_gc_heap_destroy(in.heap);
}

/* ---- A random mutator and its model ---- */

enum { NODES = 4000, ROOTS = 40 };

/* What an object of the heap has to look like. Its number, id * 4 + kind, is in its last word. */
struct node {
    uint32_t edge[2]; /* ids; 0: NULL. Of a weak object, the first is weak */
    uint8_t kind;     /* PAIR or WEAK */
    bool is_used, is_live, is_kept, has_finalizer, is_due;
};

enum { PAIR, WEAK };

static struct model {
    struct node nodes[NODES];
    uint32_t free_ids[NODES];
    uint32_t free_count;
    uint32_t root[ROOTS];
    void *object[ROOTS];
    uint64_t due_count, run_count, collections, checked;
    struct test_heap in;
    uint32_t weak;
} m;

struct weak3 {
    void *target, *kept;
    uint64_t number;
};

static const uint32_t weak3_pointers[] = {offsetof(struct weak3, kept)};
static const struct crateld_gc_type weak3_type = {"weak3", CRATELD_GC_WEAK, sizeof(struct weak3), weak3_pointers, 1};

/* Both kinds have two references and a number. */
static void **slot_of(void *object, int i)
{
    return (void **)object + i;
}

static uint64_t number_of(void *object)
{
    return ((uint64_t *)object)[2];
}

/* Which nodes are live: from the roots, by strong edges; and kept: from finalizable dead ones too. */
static void mark_from(uint32_t id, bool is_for_finalizer, uint32_t *count)
{
    static uint32_t stack[NODES * 2];
    size_t depth = 0;
    stack[depth++] = id;
    while (depth) {
        struct node *node = &m.nodes[id = stack[--depth]];
        if (!id || node->is_kept)
            continue;
        node->is_kept = true;
        node->is_live = !is_for_finalizer;
        ++*count;
        for (int i = node->kind == WEAK; i < 2; i++)
            if (node->edge[i])
                stack[depth++] = node->edge[i];
    }
}

static uint32_t mark_model(void)
{
    uint32_t count = 0;
    for (int i = 0; i < NODES; i++)
        m.nodes[i].is_live = m.nodes[i].is_kept = false;
    for (int i = 0; i < ROOTS; i++)
        mark_from(m.root[i], false, &count);
    for (uint32_t i = 1; i < NODES; i++)
        if (m.nodes[i].is_used && m.nodes[i].has_finalizer && !m.nodes[i].is_live) {
            m.nodes[i].has_finalizer = false;
            m.nodes[i].is_due = true;
            m.due_count++;
        }
    for (uint32_t i = 1; i < NODES; i++)
        if (m.nodes[i].is_due)
            mark_from(i, true, &count);
    return count;
}

/* The heap and the model, in step, from each root on. */
static void compare(void)
{
    static void *place[NODES];
    static struct {
        uint32_t id;
        void *object;
    } stack[NODES * 2 + ROOTS];
    size_t depth = 0;
    memset(place, 0, sizeof place);
    for (int i = 0; i < ROOTS; i++) {
        stack[depth].id = m.root[i];
        stack[depth++].object = m.object[i];
    }
    while (depth) {
        uint32_t id = stack[--depth].id;
        void *object = stack[depth].object;
        cr_assert_eq(!id, !object, "node %u", id);
        if (!id)
            continue;
        cr_assert(!place[id] || place[id] == object, "node %u is in two places", id);
        if (place[id])
            continue;
        place[id] = object;
        cr_assert_eq(number_of(object), (uint64_t)id * 4 + m.nodes[id].kind, "node %u", id);
        m.checked++;
        for (int i = 0; i < 2; i++) {
            stack[depth].id = m.nodes[id].edge[i];
            stack[depth++].object = *slot_of(object, i);
        }
    }
}

/* After a collection: weak edges to what died are null, dead nodes are free again. */
static void sweep_model(void)
{
    for (uint32_t i = 1; i < NODES; i++) {
        struct node *node = &m.nodes[i];
        if (!node->is_used)
            continue;
        if (node->is_live && node->kind == WEAK && node->edge[0] && !m.nodes[node->edge[0]].is_live)
            node->edge[0] = 0;
        if (!node->is_kept) {
            node->is_used = false;
            m.free_ids[m.free_count++] = i;
        }
    }
}

static void run_one(void *object, void *data)
{
    uint32_t id = (uint32_t)(number_of(object) / 4);
    cr_assert_eq(data, &m);
    cr_assert(m.nodes[id].is_due, "node %u is finalized, but not due", id);
    m.nodes[id].is_due = false;
    m.run_count++;
}

static void collect(void)
{
    struct crateld_gc_stats stats;
    cr_assert(crateld_gc_collect(m.in.heap));
    uint32_t count = mark_model();
    sweep_model();
    compare();
    crateld_gc_stats(m.in.heap, &stats);
    /* All roots are precise, so nothing is kept that is dead. */
    cr_assert_eq(stats.live_count, count, "%zu objects live, the model has %u", (size_t)stats.live_count, count);
    m.collections++;
    crateld_gc_run_finalizers(m.in.heap);
    cr_assert_eq(m.run_count, m.due_count);
}

static void allocate(uint64_t *seed, int to)
{
    if (!m.free_count)
        collect();
    if (!m.free_count)
        return;
    uint32_t id = m.free_ids[--m.free_count];
    int kind = random_below(seed, 3) ? PAIR : WEAK;
    size_t size = sizeof(struct pair);
    struct crateld_gc_alloc_opts opts = {.align = (size_t)8 << random_below(seed, 3),
                                         .semantics = random_below(seed, 200) ? CRATELD_GC_DEFAULT : CRATELD_GC_LARGE};
    if (!random_below(seed, 3))
        size += random_below(seed, 50) ? random_below(seed, 500) : random_below(seed, 20000);
    void *object = crateld_gc_alloc_with(m.in.mutator, kind == PAIR ? m.in.pair : m.weak, size, &opts);
    cr_assert_not_null(object, "%s", crateld_gc_why(m.in.heap));
    ((uint64_t *)object)[2] = (uint64_t)id * 4 + (uint64_t)kind;
    m.nodes[id] = (struct node){.kind = (uint8_t)kind, .is_used = true};
    if (random_below(seed, 100)) { /* what was there is kept, so that structures grow */
        m.nodes[id].edge[1] = m.root[to];
        *slot_of(object, 1) = m.object[to];
    }
    m.root[to] = id;
    m.object[to] = object;
    if (random_below(seed, 50))
        return;
    m.nodes[id].has_finalizer = true;
    require_success(crateld_gc_finalizer_add(m.in.heap, object, run_one, &m));
}

static void step(uint64_t *seed)
{
    int a = (int)random_below(seed, ROOTS), b = (int)random_below(seed, ROOTS), i = (int)random_below(seed, 2);
    switch (random_below(seed, 8)) {
    case 0:
    case 1:
    case 2:
        allocate(seed, a);
        break;
    case 3:
    case 4:
        if (m.root[a]) {
            m.nodes[m.root[a]].edge[i] = m.root[b];
            *slot_of(m.object[a], i) = m.object[b];
        }
        break;
    case 5:
    case 6:
        if (m.root[a] && !random_below(seed, 20)) {
            m.root[b] = m.nodes[m.root[a]].edge[i];
            m.object[b] = *slot_of(m.object[a], i);
        }
        break;
    default:
        if (random_below(seed, 10))
            break;
        m.root[a] = 0;
        m.object[a] = NULL;
    }
}

/* Stress would collect at other times than the model knows of, and a weak reference be null before its time: so here
 * the test itself says when, also very often. */
static void mutate(const char *plan, uint64_t seed, long steps, unsigned between)
{
    memset(&m, 0, sizeof m);
    m.in = make_heap(plan, 64 * MB, 0);
    require_success(crateld_gc_type_add(m.in.heap, &weak3_type, &m.weak));
    struct crateld_gc_frame frame = {.variables = m.object, .count = ROOTS};
    crateld_gc_frame_push(m.in.heap, &frame);
    for (uint32_t i = NODES - 1; i; i--)
        m.free_ids[m.free_count++] = i;
    fprintf(stderr, "# %s: seed %d, %ld steps\n", plan, (int)seed, steps);
    for (long i = 0; i < steps; i++) {
        step(&seed);
        if (!random_below(&seed, between))
            collect();
    }
    collect();
    cr_assert(m.checked > 1000 && m.run_count > 0 && m.collections > 10);
    fprintf(stderr, "# %s: %zu collections, %zu objects compared, %zu finalized\n", plan, (size_t)m.collections,
            (size_t)m.checked, (size_t)m.run_count);
    crateld_gc_heap_destroy(m.in.heap);
}

EACH_COLLECTING_PLAN(a_random_mutator_agrees_with_its_model)
{
    mutate(plan, 51, random_rounds(200000, 10000000), 2000);
}

EACH_COLLECTING_PLAN(a_random_mutator_agrees_with_its_model_at_each_step)
{
    mutate(plan, 52, random_rounds(6000, 200000), 3);
}

/* With stress: objects that are reachable stay as they are, whenever the collection comes. */
EACH_COLLECTING_PLAN(a_list_survives_a_collection_at_every_allocation)
{
    for (unsigned interval = 1; interval < 6; interval++) {
        struct test_heap in = make_heap(plan, 4 * MB, interval);
        void *list = NULL;
        struct crateld_gc_frame frame = {.variables = &list, .count = 1};
        crateld_gc_frame_push(in.heap, &frame);
        for (uint64_t i = 0; i < 300; i++) {
            struct pair *pair = new_pair(&in, i);
            pair->left = list;
            list = pair;
        }
        uint64_t number = 300;
        for (const struct pair *pair = list; pair; pair = pair->left)
            cr_assert_eq(pair->number, --number);
        cr_assert_eq(number, 0);
        struct crateld_gc_stats stats;
        crateld_gc_stats(in.heap, &stats);
        cr_assert_eq(stats.collection_count, 300 / interval);
        crateld_gc_heap_destroy(in.heap);
    }
}

/* Out of memory at each allocation of a program that builds and drops: the heap is right afterwards, and goes on. */
EACH_COLLECTING_PLAN(memory_that_runs_out_anywhere_leaves_the_heap_right)
{
    struct test_heap in = make_heap(plan, 2 * MB, 0);
    void *roots[2] = {0};
    struct crateld_gc_frame frame = {.variables = roots, .count = 2};
    crateld_gc_frame_push(in.heap, &frame);
    uint64_t seed = 53, failures = 0;
    for (int i = 0; i < 20000; i++) {
        size_t size = random_below(&seed, 30) ? 24 + random_below(&seed, 400) : random_below(&seed, 300000) + 24;
        struct pair *pair = crateld_gc_alloc(in.mutator, in.pair, size);
        if (!pair) {
            cr_assert_neq(*crateld_gc_why(in.heap), 0);
            failures++;
            for (const struct pair *at = roots[0]; at; at = at->left)
                cr_assert_eq(at->number, 77);
            roots[0] = NULL;
            continue;
        }
        pair->number = 77;
        pair->left = roots[0];
        roots[0] = pair;
    }
    cr_assert_gt(failures, 20);
    crateld_gc_heap_destroy(in.heap);
}

EACH_COLLECTING_PLAN(a_multiplier_collects_long_before_the_limit_and_a_heap_that_grows_is_let_grow)
{
    struct crateld_gc_opts opts = {.plan = plan, .heap_size = 256 * MB, .multiplier = 2};
    struct test_heap in;
    void *list = NULL;
    struct crateld_gc_frame frame = {.variables = &list, .count = 1};
    struct crateld_gc_stats stats;
    require_success(crateld_gc_heap_create(&opts, &in.heap));
    in.mutator = crateld_gc_mutator(in.heap);
    require_success(crateld_gc_type_add(in.heap, &pair_type, &in.pair));
    crateld_gc_frame_push(in.heap, &frame);
    for (int i = 0; i < 2000000; i++) /* 64 MB of garbage */
        new_pair(&in, 1);
    crateld_gc_stats(in.heap, &stats);
    cr_assert(stats.collection_count >= 5 && stats.used_size <= 8 * MB, "%zu collections, %zu bytes",
              (size_t)stats.collection_count, (size_t)stats.used_size);
    uint64_t before = stats.collection_count;
    for (int i = 0; i < 2000000; i++) { /* 64 MB that live: the trigger doubles, so few collections are needed */
        struct pair *pair = new_pair(&in, 2);
        pair->left = list;
        list = pair;
    }
    crateld_gc_stats(in.heap, &stats);
    cr_assert(stats.collection_count - before >= 2 && stats.collection_count - before <= 12, "%zu collections",
              (size_t)(stats.collection_count - before));
    crateld_gc_heap_destroy(in.heap);
}

EACH_COLLECTING_PLAN(a_heap_of_one_and_a_quarter_of_what_lives_is_enough)
{
    enum { LIVE = 8 * MB };
    struct test_heap in = make_heap(plan, LIVE / 4 * 5 * (moves(plan) ? 2 : 1), 0);
    void *list = NULL;
    struct crateld_gc_frame frame = {.variables = &list, .count = 1};
    crateld_gc_frame_push(in.heap, &frame);
    for (size_t made = 0; made < LIVE; made += 32) {
        struct pair *pair = new_pair(&in, 3);
        pair->left = list;
        list = pair;
    }
    for (int i = 0; i < 1000000; i++)
        new_pair(&in, 4);
    for (const struct pair *pair = list; pair; pair = pair->left)
        cr_assert_eq(pair->number, 3);
    crateld_gc_heap_destroy(in.heap);
}

/* Objects of many sizes that live for as long as chance will have it leave room for large ones, of which some live too:
 * at most 3 MB live, in a heap of 6. */
EACH_COLLECTING_PLAN(objects_of_many_sizes_leave_room_for_large_ones)
{
    enum { COUNT = 5000, LARGE = 300000 };
    static void *objects[COUNT + 2];
    struct test_heap in = make_heap(plan, (moves(plan) ? 12 : 6) * MB, 0);
    struct crateld_gc_frame frame = {.variables = objects, .count = COUNT + 2};
    uint64_t seed = 54;
    memset(objects, 0, sizeof objects);
    crateld_gc_frame_push(in.heap, &frame);
    for (int i = 0; i < 100000; i++) {
        bool is_large = i % 500 == 0;
        size_t size = is_large ? LARGE : random_below(&seed, 20) ? random_below(&seed, 600) : random_below(&seed, 8000);
        uint64_t *object = crateld_gc_alloc(in.mutator, in.leaf, size);
        cr_assert_not_null(object, "%s: object %d: %s", plan, i, crateld_gc_why(in.heap));
        objects[is_large ? COUNT + i / 500 % 2 : (int)random_below(&seed, COUNT)] = object;
    }
    crateld_gc_heap_destroy(in.heap);
}

static size_t resident(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    size_t total = 0, pages = 0;
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%zu %zu", &total, &pages), 2);
    fclose(file);
    return pages * 4096;
}

/* A list of `size` bytes; some of its objects are large. */
static void grow(const struct test_heap *in, void **list, size_t size)
{
    for (size_t made = 0, i = 0; made < size; i++) {
        size_t each = i % 1000 ? 1000 : 100000;
        struct pair *pair = crateld_gc_alloc(in->mutator, in->pair, each);
        cr_assert_not_null(pair, "%s", crateld_gc_why(in->heap));
        memset(pair + 1, 1, each - sizeof *pair);
        pair->left = *list;
        *list = pair;
        made += each;
    }
}

/* Bytes of [start, start + size) that are in memory. */
static size_t resident_within(uintptr_t start, size_t size)
{
    static unsigned char pages[1 << 20];
    size_t count = 0;
    cr_assert_leq(size / 4096, sizeof pages);
    cr_assert_eq(mincore((void *)start, size, pages), 0);
    for (size_t i = 0; i < size / 4096; i++)
        count += pages[i] & 1;
    return count * 4096;
}

/* Beside the objects: side metadata, and the tables of blocks and pages. */
Test(runtime_collect, metadata_takes_at_most_4_per_cent_of_the_used_heap)
{
    for (int i = 0; i < PLAN_COUNT; i++) {
        struct test_heap in = make_heap(plan_names[i], 200 * MB, 0);
        void *roots[2] = {0};
        struct crateld_gc_frame frame = {.variables = roots, .count = 2};
        struct crateld_gc_stats stats;
        crateld_gc_frame_push(in.heap, &frame);
        for (size_t size = 0; size < 40 * MB; size += 32) { /* small objects are the most expensive */
            struct pair *pair = new_pair(&in, 1);
            pair->left = roots[0];
            roots[0] = pair;
        }
        crateld_gc_collect(in.heap);
        crateld_gc_stats(in.heap, &stats);
        const struct crateld_gc_heap *heap = in.heap;
        size_t side = resident_within(heap->side.base, heap->side.reserved_size);
        size_t tables = heap->block_count * (sizeof *heap->blocks + sizeof *heap->free_blocks) +
                        heap->large.top_page * (sizeof *heap->large.run_of + 1);
        fprintf(stderr, "# %s: %zu KiB used, %zu KiB of side metadata, %zu KiB of tables\n", plan_names[i],
                (size_t)(stats.used_size >> 10), side >> 10, tables >> 10);
        cr_assert_leq((side + tables) * 100, stats.used_size * 4);
        cr_assert_gt(side, stats.used_size / 200, "nothing was measured");
        crateld_gc_heap_destroy(in.heap);
    }
}

EACH_COLLECTING_PLAN(after_a_spike_memory_goes_back_within_3_collections)
{
    size_t live = 48 * MB, spike = (size_t)random_rounds(200, 1000) * MB;
    struct crateld_gc_opts opts = {.plan = plan, .heap_size = 3 * spike};
    struct test_heap in;
    void *roots[2] = {0};
    struct crateld_gc_frame frame = {.variables = roots, .count = 2};
    size_t before = resident();
    require_success(crateld_gc_heap_create(&opts, &in.heap));
    in.mutator = crateld_gc_mutator(in.heap);
    require_success(crateld_gc_type_add(in.heap, &pair_type, &in.pair));
    crateld_gc_frame_push(in.heap, &frame);
    grow(&in, &roots[0], live);
    grow(&in, &roots[1], spike);
    cr_assert_gt(resident() - before, spike);
    roots[1] = NULL;
    for (int i = 0; i < 3; i++)
        crateld_gc_collect(in.heap);
    size_t after = resident() - before;
    fprintf(stderr, "# %s: %zu MB live, %zu resident\n", plan, live >> 20, after >> 20);
    cr_assert_lt(after * 10, live * 13, "%zu MB are resident for %zu MB live", after >> 20, live >> 20);
    crateld_gc_heap_destroy(in.heap);
}

/* Heaps for tests: each plan, with the options that find faults. */
#ifndef TESTS_UNIT_GC_HEAPS_H
#define TESTS_UNIT_GC_HEAPS_H

#include <criterion/criterion.h>

#include "crateld/gc.h"
#include "tests/unit/errors.h"

enum { PLAN_COUNT = 3 };
static const char *const plan_names[PLAN_COUNT] = {"nogc", "semispace", "immix"};

/* What all tests of plans share: two references and a number. */
struct pair {
    struct pair *left, *right;
    uint64_t number;
};

CRATELD_GC_TYPE(pair_type, struct pair, offsetof(struct pair, left), offsetof(struct pair, right));
static const struct crateld_gc_type leaf_type = {"leaf", CRATELD_GC_LEAF, 0, NULL, 0};
static const struct crateld_gc_type array_type = {"array", CRATELD_GC_ARRAY, 0, NULL, 0};

struct test_heap {
    struct crateld_gc_heap *heap;
    struct crateld_gc_mutator *mutator;
    uint32_t pair, leaf, array;
};

/* A heap that checks itself after each collection, with roots in frames and ranges only. */
static inline struct test_heap make_heap(const char *plan, size_t size, unsigned stress)
{
    struct test_heap made;
    struct crateld_gc_opts opts = {
        .plan = plan, .heap_size = size, .stress_interval = stress, .is_sane_checked = true, .is_poisoned = true};
    require_success(crateld_gc_heap_create(&opts, &made.heap));
    made.mutator = crateld_gc_mutator(made.heap);
    require_success(crateld_gc_type_add(made.heap, &pair_type, &made.pair));
    require_success(crateld_gc_type_add(made.heap, &leaf_type, &made.leaf));
    require_success(crateld_gc_type_add(made.heap, &array_type, &made.array));
    return made;
}

static inline struct pair *new_pair(const struct test_heap *in, uint64_t number)
{
    struct pair *pair = crateld_gc_alloc(in->mutator, in->pair, sizeof *pair);
    cr_assert_not_null(pair, "%s", crateld_gc_why(in->heap));
    cr_assert(!pair->left && !pair->right && !pair->number, "memory is not zeroed");
    pair->number = number;
    return pair;
}

static inline bool collects(const char *plan)
{
    return strcmp(plan, "nogc") != 0;
}

static inline bool moves(const char *plan)
{
    return strcmp(plan, "semispace") == 0;
}

#endif

/* The same programs for crateld's collector, bdwgc and malloc. The heap's size is that of GC_MAXIMUM_HEAP_SIZE in MiB,
 * for all. */
#ifndef BENCH_GC_H
#define BENCH_GC_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct node {
    struct node *left, *right;
};

struct object; /* two references and a word */

static inline double clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static inline double cpu_ms(void)
{
    return clock_ms(CLOCK_PROCESS_CPUTIME_ID);
}

enum { PAUSES_MAX = 100000 };
static double pauses[PAUSES_MAX];
static int pause_count;

static inline void note_pause(double ms)
{
    if (pause_count < PAUSES_MAX)
        pauses[pause_count++] = ms;
}

static inline int compare_pauses(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Ends the line with the pauses. */
static inline void report_pauses(void)
{
    if (pause_count) {
        qsort(pauses, (size_t)pause_count, sizeof *pauses, compare_pauses);
        printf(" %.0f %.0f %.0f %d", pauses[pause_count / 2] * 1e3, pauses[pause_count * 99L / 100] * 1e3,
               pauses[pause_count - 1] * 1e3, pause_count);
    }
    putchar('\n');
}

#if defined USE_BDW
#include <gc/gc.h>

static double pause_start;

static inline void on_event(GC_EventType event)
{
    if (event == GC_EVENT_PRE_STOP_WORLD)
        pause_start = clock_ms(CLOCK_MONOTONIC);
    else if (event == GC_EVENT_POST_START_WORLD)
        note_pause(clock_ms(CLOCK_MONOTONIC) - pause_start);
}

static inline void start_heap(void)
{
    GC_INIT();
    GC_set_on_collection_event(on_event);
}

static inline void collect(void)
{
    GC_gcollect();
}

static inline struct node *new_node(void)
{
    return GC_MALLOC(sizeof(struct node));
}

static inline void *new_words(size_t size)
{
    return GC_MALLOC(size);
}

static inline void *new_leaf(size_t size)
{
    return GC_MALLOC_ATOMIC(size);
}

static inline struct object *new_object(void)
{
    return GC_MALLOC(3 * sizeof(void *));
}

static inline void free_tree(struct node *tree)
{
    (void)tree;
}

#elif defined USE_MALLOC

static inline void start_heap(void)
{
}

static inline struct node *new_node(void)
{
    return calloc(1, sizeof(struct node));
}

static inline void *new_leaf(size_t size)
{
    return malloc(size);
}

static inline void free_tree(struct node *tree)
{
    if (tree->left) {
        free_tree(tree->left);
        free_tree(tree->right);
    }
    free(tree);
}

#else
#include "crateld/gc.h"

static struct crateld_gc_heap *heap;
static struct crateld_gc_mutator *mutator;
static uint32_t node_number, leaf_number, words_number;

CRATELD_GC_TYPE(node_type, struct node, offsetof(struct node, left), offsetof(struct node, right));
static const struct crateld_gc_type leaf_type = {"leaf", CRATELD_GC_LEAF, 0, NULL, 0};
static const struct crateld_gc_type words_type = {"words", CRATELD_GC_ARRAY, 0, NULL, 0};

static inline void on_event(const struct crateld_gc_event *event, void *context)
{
    (void)context;
    if (event->kind == CRATELD_GC_END)
        note_pause((double)event->pause_ns / 1e6);
}

static inline void check(struct crateld_error *error)
{
    if (!error)
        return;
    fprintf(stderr, "%s\n", crateld_error_message(error));
    exit(1);
}

static inline void start_heap(void)
{
    const char *megabytes = getenv("GC_MAXIMUM_HEAP_SIZE");
    struct crateld_gc_opts opts = {.is_stack_scanned = true, .on_event = on_event};
    opts.heap_size = (size_t)(megabytes ? atol(megabytes) : 256) << 20;
    check(crateld_gc_heap_create(&opts, &heap));
    check(crateld_gc_type_add(heap, &node_type, &node_number));
    check(crateld_gc_type_add(heap, &leaf_type, &leaf_number));
    check(crateld_gc_type_add(heap, &words_type, &words_number));
    mutator = crateld_gc_mutator(heap);
}

static inline void collect(void)
{
    crateld_gc_collect(heap);
}

static inline void *or_exit(void *object)
{
    if (object)
        return object;
    fprintf(stderr, "%s\n", crateld_gc_why(heap));
    exit(1);
}

static inline struct node *new_node(void)
{
    return or_exit(crateld_gc_alloc(mutator, node_number, sizeof(struct node)));
}

static inline void *new_words(size_t size)
{
    return or_exit(crateld_gc_alloc(mutator, words_number, size));
}

static inline void *new_leaf(size_t size)
{
    return or_exit(crateld_gc_alloc(mutator, leaf_number, size));
}

static inline struct object *new_object(void)
{
    return or_exit(crateld_gc_alloc(mutator, node_number, 3 * sizeof(void *)));
}

static inline void free_tree(struct node *tree)
{
    (void)tree;
}
#endif

#endif

/* Threads beside a heap's own: for ThreadSanitizer, with which Criterion does not start. One allocates and collects;
 * others add and withdraw roots, add types, and try to allocate; each has a heap of its own as well. Then slots of
 * regions, and atomic fields of bits, of several threads. gc_threads ROUNDS */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crateld/gc.h"
#include "runtime/bits.h"
#include "runtime/region.h"

enum { THREADS = 4, OWN_OBJECTS = 200 };

struct node {
    struct node *next;
    uint64_t number;
};
CRATELD_GC_TYPE(node_type, struct node, 0);

static struct crateld_gc_heap *shared;
static uint32_t node_number;
static int rounds;
static atomic_bool is_done;

static void require(int is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "gc_threads: %s\n", what);
    abort();
}

static void check(struct crateld_error *error)
{
    if (error)
        require(0, crateld_error_message(error));
}

/* Builds a list and sees that collections leave it whole. */
static void use_heap(struct crateld_gc_heap *heap, uint32_t type, int count)
{
    void *list = NULL;
    struct crateld_gc_frame frame = {.variables = &list, .count = 1};
    crateld_gc_frame_push(heap, &frame);
    for (int i = 0; i < count; i++) {
        struct node *node = crateld_gc_alloc(crateld_gc_mutator(heap), type, sizeof *node);
        require(node != NULL, crateld_gc_why(heap));
        node->next = list;
        node->number = (uint64_t)i;
        list = node;
        if (i % 50 == 0)
            crateld_gc_collect(heap);
    }
    for (const struct node *node = list; node; node = node->next)
        require(node->number == (uint64_t)--count, "an object was lost");
    crateld_gc_frame_pop(heap);
}

static void use_own_heap(int i)
{
    static const char *const plans[] = {"immix", "semispace", "nogc"};
    struct crateld_gc_opts opts = {.plan = plans[i % 3], .heap_size = 4 << 20, .is_poisoned = true};
    struct crateld_gc_heap *heap;
    uint32_t type;
    check(crateld_gc_heap_create(&opts, &heap));
    check(crateld_gc_type_add(heap, &node_type, &type));
    use_heap(heap, type, OWN_OBJECTS);
    crateld_gc_heap_destroy(heap);
}

/* As a loader does that activates and unloads crates in any thread. */
static void use_shared_heap(uintptr_t thread, int i)
{
    uintptr_t words[8] = {0};
    char name[32];
    uint32_t first, second;
    struct crateld_gc_root_range range = {words, 8, CRATELD_GC_AMBIGUOUS};
    check(crateld_gc_roots_add(shared, words, &range, 1));
    snprintf(name, sizeof name, "type %d of %d", i % 20, (int)thread);
    struct crateld_gc_type type = {name, CRATELD_GC_LEAF, (uint32_t)(i % 20) * 8, NULL, 0};
    check(crateld_gc_type_add(shared, &type, &first));
    check(crateld_gc_type_add(shared, &type, &second));
    require(first == second, "a type has two numbers");
    require(!crateld_gc_alloc_slow(crateld_gc_mutator(shared), first, 1000), "another thread may allocate");
    require(strstr(crateld_gc_why(shared), "in another thread") != NULL, crateld_gc_why(shared));
    crateld_gc_roots_withdraw(shared, words);
}

static void *run(void *argument)
{
    uintptr_t thread = (uintptr_t)argument;
    for (int i = 0; i < rounds; i++) {
        use_own_heap(i);
        for (int k = 0; k < 20; k++)
            use_shared_heap(thread, k);
    }
    return NULL;
}

/* A region belongs to one thread, or is locked: both. */
static pthread_mutex_t region_lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *region;

static void *run_region(void *argument)
{
    (void)argument;
    for (int i = 0; i < rounds * 20; i++) {
        struct region_slot *slot;
        pthread_mutex_lock(&region_lock);
        check(region_acquire(region, 4 * REGION_PAGE_SIZE, &slot));
        region_slot_enter(slot);
        pthread_mutex_unlock(&region_lock);
        require(!slot->start[REGION_HEAP][100] && !slot->start[REGION_STACK][5], "a slot is not clean");
        slot->start[REGION_HEAP][100] = slot->start[REGION_STACK][5] = 1;
        require(region_locate(region, slot->start[REGION_HEAP]).slot_index == slot->index, "a slot is not found");
        pthread_mutex_lock(&region_lock);
        check(region_release(slot));
        pthread_mutex_unlock(&region_lock);
    }
    return NULL;
}

static uint64_t bits[4];

static void *run_bits(void *argument)
{
    uintptr_t thread = (uintptr_t)argument;
    struct bit_field own = {(uint8_t *)bits + thread / 4, (uint8_t)(thread % 4 * 2), 1};
    struct bit_field common = {&bits[2], 0, 6};
    for (int i = 0; i < rounds * 1000; i++) {
        bit_field_apply_atomic(common, BIT_ADD, 1);
        require(bit_field_apply_atomic(own, BIT_ADD, 1) == (uint64_t)i % 4, "a neighbour has changed the field");
    }
    return NULL;
}

static void run_all(void *(*start)(void *))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        require(!pthread_create(&threads[i], NULL, start, (void *)i), "no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void *run_heaps(void *argument)
{
    (void)argument;
    run_all(run);
    atomic_store(&is_done, true);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct region_limits limits = {1 << 16, 1 << 16, 1 << 13, 1 << 12, 1 << 13};
    struct crateld_gc_opts opts = {.plan = "immix", .heap_size = 8 << 20};
    pthread_t others;
    if (argc != 2)
        return 2;
    rounds = atoi(argv[1]);
    check(crateld_gc_heap_create(&opts, &shared));
    check(crateld_gc_type_add(shared, &node_type, &node_number));
    require(!pthread_create(&others, NULL, run_heaps, NULL), "no thread");
    do
        use_heap(shared, node_number, OWN_OBJECTS);
    while (!atomic_load(&is_done));
    pthread_join(others, NULL);
    crateld_gc_heap_destroy(shared);
    check(region_create(THREADS, &limits, NULL, &region));
    run_all(run_region);
    region_destroy(region);
    run_all(run_bits);
    require(bits[2] == (uint64_t)rounds * 1000 * THREADS, "additions were lost");
    return 0;
}

/* A random mutator whose only roots are its stack and registers: pointers to objects' starts, insides and ends, in
 * locals of many frames. Compiled by several compilers, each with several levels of optimization: gc-mutators.sh.
 *
 * Objects describe themselves: each knows its number, and those of the objects that it refers to. So an object that was
 * lost, and whose memory was overwritten or used again, is noticed when it is reached. gc_mutator STEPS SEED STRESS
 * [PLAN] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crateld/gc.h"

#define NOINLINE __attribute__((noinline))

struct object {
    struct object *edge[2];
    uint64_t number, edge_number[2], visited;
};

struct weak {
    struct object *target; /* weak */
    uint64_t number;
};

CRATELD_GC_TYPE(object_type, struct object, 0, 8);
static const struct crateld_gc_type weak_type = {"weak", CRATELD_GC_WEAK, sizeof(struct weak), NULL, 0};

static struct crateld_gc_heap *heap;
static struct crateld_gc_mutator *mutator;
static uint32_t object_number, weak_number;
static uint64_t next_number, visit, seed, finalized_count, kept_max, kept_share_max;

static uint64_t random_below(uint64_t limit)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % limit;
}

static void require(int is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "gc_mutator: %s\n", what);
    abort();
}

static void check(struct crateld_error *error)
{
    if (error)
        require(0, crateld_error_message(error));
}

static NOINLINE struct object *new_object(size_t extra)
{
    struct object *object = crateld_gc_alloc(mutator, object_number, sizeof *object + extra);
    require(object != NULL, crateld_gc_why(heap));
    require(!object->edge[0] && !object->number && !object->visited, "memory is not zeroed");
    object->number = ++next_number;
    return object;
}

static void link_objects(struct object *from, int i, struct object *to)
{
    from->edge[i] = to;
    from->edge_number[i] = to ? to->number : 0;
}

/* Checks all that is reachable; returns how many objects are. */
static uint64_t check_graph(struct object *object)
{
    enum { DEPTH = 100000 };
    static struct object *stack[DEPTH];
    size_t depth = 0;
    uint64_t count = 0;
    stack[depth++] = object;
    while (depth) {
        object = stack[--depth];
        if (object->visited == visit)
            continue;
        object->visited = visit;
        count++;
        for (int i = 0; i < 2; i++) {
            struct object *to = object->edge[i];
            require(to ? to->number == object->edge_number[i] : !object->edge_number[i],
                    "a referenced object was lost");
            if (to && depth < DEPTH)
                stack[depth++] = to;
        }
    }
    return count;
}

/* Pointers that are not to the start: `off` bytes in, up to the end. */
struct slot {
    char *pointer;
    size_t off;
    uint64_t number;
};

enum { SLOTS = 24 };

static struct object *object_in(const struct slot *slot)
{
    return slot->pointer ? (struct object *)(void *)(slot->pointer - slot->off) : NULL;
}

static NOINLINE void fill_slot(struct slot *slot, struct object *object, size_t size)
{
    slot->off = random_below(3) ? random_below(size + 1) : size; /* often one past the end */
    slot->pointer = (char *)object + slot->off;
    slot->number = object->number;
}

static NOINLINE void step(struct slot *slots)
{
    struct slot *a = &slots[random_below(SLOTS)], *b = &slots[random_below(SLOTS)];
    struct object *from = object_in(a), *to = object_in(b);
    require(!from || from->number == a->number, "an object of a slot was lost");
    switch (random_below(8)) {
    case 0:
    case 1:
    case 2: {
        size_t extra = random_below(40) ? random_below(30) * 8 : random_below(3000) * 8;
        struct object *made = new_object(extra);
        from = object_in(a);
        link_objects(made, 0, random_below(100) ? from : NULL);
        fill_slot(a, made, sizeof *made + extra);
        break;
    }
    case 3:
    case 4:
    case 5:
        if (from)
            link_objects(from, (int)random_below(2), to);
        break;
    case 6:
        if (from && from->edge[1] && random_below(2))
            fill_slot(b, from->edge[1], sizeof *from);
        break;
    default:
        if (!random_below(4))
            *a = (struct slot){0};
    }
}

/* Checks all, and how much more than that the last collection kept. */
static NOINLINE void check_all(const struct slot *slots)
{
    struct crateld_gc_stats stats;
    uint64_t count = 0;
    int did_collect = crateld_gc_collect(heap);
    visit++;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].pointer)
            count += check_graph(object_in(&slots[i]));
    if (!did_collect)
        return;
    crateld_gc_stats(heap, &stats);
    require(stats.live_count >= count, "objects that are reachable were not counted");
    uint64_t kept = stats.live_count - count;
    if (kept > kept_max)
        kept_max = kept;
    if (stats.live_count > 1000 && kept * 1000 / stats.live_count > kept_share_max)
        kept_share_max = kept * 1000 / stats.live_count;
}

/* A tree whose parts are only in locals and registers while it grows. */
static struct object *tree(int depth)
{
    if (!depth)
        return new_object(0);
    struct object *left = tree(depth - 1), *right = tree(depth - 1), *top = new_object(8);
    link_objects(top, 0, left);
    link_objects(top, 1, right);
    return top;
}

static uint64_t count_tree(const struct object *top)
{
    require(!top->edge[0] || top->edge[0]->number == top->edge_number[0], "a tree's object was lost");
    return top->edge[0] ? 1 + count_tree(top->edge[0]) + count_tree(top->edge[1]) : 1;
}

static NOINLINE struct weak *new_weak(struct object *target)
{
    struct weak *weak = crateld_gc_alloc(mutator, weak_number, sizeof *weak);
    require(weak != NULL, crateld_gc_why(heap));
    weak->target = target;
    weak->number = target->number;
    return weak;
}

/* Weak references and pins: a target that a local refers to, or that is pinned, stays. */
static NOINLINE void weak_and_pinned(void)
{
    struct object *kept = new_object(0);
    struct weak *to_kept = new_weak(kept), *to_pinned = new_weak(new_object(0));
    uintptr_t pinned = (uintptr_t)to_pinned->target;
    check(crateld_gc_pin(heap, (void *)pinned));
    for (int i = 0; i < 50; i++)
        new_object(i * 8u);
    require(to_kept->target == kept && kept->number == to_kept->number, "a weak reference's object was lost");
    require(to_pinned->target && to_pinned->target->number == to_pinned->number, "a pinned object was lost");
    crateld_gc_unpin(heap, to_pinned->target);
}

static void count_finalized(void *object, void *data)
{
    (void)data;
    require(((struct object *)object)->number != 0, "an object was lost before its finalizer ran");
    finalized_count++;
}

enum { DROPPED = 20000 };

static NOINLINE void drop_many(void)
{
    for (int i = 0; i < DROPPED; i++)
        check(crateld_gc_finalizer_add(heap, new_object(0), count_finalized, NULL));
}

/* Overwrites what calls have left on the stack. */
static NOINLINE void clear_stack(void)
{
    volatile char bytes[8192];
    memset((void *)bytes, 0, sizeof bytes);
}

/* How many of many objects that nothing refers to are kept all the same, because something looks like a reference. */
static NOINLINE uint64_t measure_retention(void)
{
    finalized_count = 0;
    drop_many();
    clear_stack();
    crateld_gc_collect(heap);
    crateld_gc_run_finalizers(heap);
    return DROPPED - finalized_count;
}

int main(int argc, char **argv)
{
    struct slot slots[SLOTS] = {0};
    if (argc < 4 || argc > 5)
        return 2;
    const char *plan = argc > 4 ? argv[4] : "immix";
    int collects = strcmp(plan, "nogc") != 0;
    long steps = atol(argv[1]);
    seed = strtoull(argv[2], NULL, 10);
    struct crateld_gc_opts opts = {.plan = plan,
                                   .heap_size = collects ? 64 << 20 : 1 << 30,
                                   .stress_interval = (unsigned)atoi(argv[3]),
                                   .is_sane_checked = atoi(argv[3]) != 0,
                                   .is_poisoned = true,
                                   .is_stack_scanned = true};
    check(crateld_gc_heap_create(&opts, &heap));
    check(crateld_gc_type_add(heap, &object_type, &object_number));
    check(crateld_gc_type_add(heap, &weak_type, &weak_number));
    mutator = crateld_gc_mutator(heap);
    uint64_t retained = collects && !opts.stress_interval ? measure_retention() : 0;
    for (long i = 0; i < steps; i++) {
        step(slots);
        if (i % 5000 == 0)
            check_all(slots);
        if (i % 1000 == 0)
            require(count_tree(tree(6)) == 127, "a tree is not whole");
        if (i % 1000 == 500)
            weak_and_pinned();
    }
    check_all(slots);
    crateld_gc_keep(slots);
    printf("seed %s: %ld steps; at most %" PRIu64 " objects (%" PRIu64 " per mille) more kept than reachable\n",
           argv[2], steps, kept_max, kept_share_max);
    if (collects && !opts.stress_interval)
        printf("%" PRIu64 " of %d dropped objects kept\n", retained, DROPPED);
    /* The bound that docs/gc.md states. What hangs on an object that is kept by mistake is kept with it, so the other
     * has none. */
    require(retained * 1000 <= DROPPED, "more than one in a thousand dropped objects was kept");
    crateld_gc_heap_destroy(heap);
    return 0;
}

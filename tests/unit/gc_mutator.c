/* A random mutator whose only roots are its stack and registers: pointers to objects' starts, insides and ends, in
 * locals of many frames. Compiled by several compilers, each with several levels of optimization: gc-mutators.sh.
 *
 * A plan that moves objects can not have such roots, as a word that may be a reference must not be changed: there, the
 * same steps are made with precise roots, a table of words and frames, and pointers to starts.
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
static uint64_t next_number, visit, seed, finalized_count;
static int is_precise; /* the plan moves objects */
static int is_small;   /* nothing is collected, and all has to fit */

/* Of the collections that were compared with what is reachable. */
static struct {
    uint64_t count, live_sum, kept_sum; /* objects; those kept that are not reachable */
    uint64_t words_max;                 /* most words more that looked like references than there are pointers */
} seen;

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

/* What is due is still whole. */
static void check_finalized(void *object, void *data)
{
    (void)data;
    visit++;
    check_graph(object);
    finalized_count++;
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
    slot->off = is_precise ? 0 : slot->off;
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
        extra = is_small ? extra % 64 : extra;
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
        if (from && !random_below(20))
            check(crateld_gc_finalizer_add(heap, from, check_finalized, NULL));
        if (!random_below(4))
            *a = (struct slot){0};
    }
}

/* Collects until no finalizer is due, since what they are for is kept. */
static NOINLINE int collect_all(void)
{
    int did_collect;
    do
        did_collect = crateld_gc_collect(heap);
    while (crateld_gc_run_finalizers(heap));
    return did_collect;
}

/* Checks all, and how much more than that the last collection kept. */
static NOINLINE void check_all(const struct slot *slots)
{
    struct crateld_gc_stats stats;
    uint64_t count = 0, pointers = 0;
    int did_collect = collect_all();
    visit++;
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].pointer) {
            count += check_graph(object_in(&slots[i]));
            pointers++;
        }
    if (!did_collect)
        return;
    crateld_gc_stats(heap, &stats);
    require(stats.live_count >= count, "objects that are reachable were not counted");
    require(!is_precise || stats.live_count == count, "an object is kept that no root leads to");
    seen.count++;
    seen.live_sum += stats.live_count;
    seen.kept_sum += stats.live_count - count;
    if (stats.ambiguous_count > pointers && stats.ambiguous_count - pointers > seen.words_max)
        seen.words_max = stats.ambiguous_count - pointers;
}

static struct object *tree_in_frames(int depth)
{
    void *parts[2] = {0};
    struct crateld_gc_frame frame = {.variables = parts, .count = 2};
    if (!depth)
        return new_object(0);
    crateld_gc_frame_push(heap, &frame);
    for (int i = 0; i < 2; i++)
        parts[i] = tree_in_frames(depth - 1);
    struct object *top = new_object(8);
    for (int i = 0; i < 2; i++)
        link_objects(top, i, parts[i]);
    crateld_gc_frame_pop(heap);
    return top;
}

/* A tree whose parts are only in locals and registers while it grows. */
static struct object *tree(int depth)
{
    if (is_precise)
        return tree_in_frames(depth);
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

/* Not in main(), in whose frame compilers leave dead words of what they inline. */
static NOINLINE void check_tree(void)
{
    require(count_tree(tree(6)) == 127, "a tree is not whole");
}

/* Likewise, of a plan that moves: what is pinned is of the kind that stays. */
static NOINLINE void weak_and_pinned_in_frames(void)
{
    static const struct crateld_gc_alloc_opts still = {.semantics = CRATELD_GC_NONMOVING};
    void *held[4] = {0};
    struct crateld_gc_frame frame = {.variables = held, .count = 4};
    crateld_gc_frame_push(heap, &frame);
    held[0] = new_object(0);
    held[1] = crateld_gc_alloc(mutator, weak_number, sizeof(struct weak));
    held[2] = crateld_gc_alloc(mutator, weak_number, sizeof(struct weak));
    struct object *pinned = held[3] = crateld_gc_alloc_with(mutator, object_number, sizeof *pinned, &still);
    require(held[1] && held[2] && pinned, crateld_gc_why(heap));
    pinned->number = ++next_number;
    *(struct weak *)held[1] = (struct weak){held[0], ((struct object *)held[0])->number};
    *(struct weak *)held[2] = (struct weak){pinned, pinned->number};
    check(crateld_gc_pin(heap, pinned));
    held[3] = NULL;
    for (int i = 0; i < 50; i++)
        new_object(i * 8u);
    const struct weak *to_kept = held[1], *to_pinned = held[2];
    require(to_kept->target == held[0] && to_kept->target->number == to_kept->number,
            "a weak reference's object was lost");
    require(to_pinned->target == pinned && pinned->number == to_pinned->number, "a pinned object was lost");
    crateld_gc_unpin(heap, pinned);
    crateld_gc_frame_pop(heap);
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

/* The table of a plan that moves. */
static void add_roots(struct slot *slots)
{
    struct crateld_gc_root_range ranges[SLOTS];
    for (int i = 0; i < SLOTS; i++)
        ranges[i] = (struct crateld_gc_root_range){&slots[i].pointer, 1, CRATELD_GC_PRECISE};
    check(crateld_gc_roots_add(heap, slots, ranges, SLOTS));
}

static void start(const char *plan, unsigned stress)
{
    is_small = !strcmp(plan, "nogc");
    is_precise = !strcmp(plan, "semispace");
    struct crateld_gc_opts opts = {.plan = plan,
                                   .heap_size = is_small ? 3u << 30 : 64 << 20,
                                   .stress_interval = stress,
                                   .is_sane_checked = stress != 0,
                                   .is_poisoned = true,
                                   .is_stack_scanned = !is_precise};
    check(crateld_gc_heap_create(&opts, &heap));
    check(crateld_gc_type_add(heap, &object_type, &object_number));
    check(crateld_gc_type_add(heap, &weak_type, &weak_number));
    mutator = crateld_gc_mutator(heap);
}

/* The bounds that docs/gc.md states for what is kept by mistake. A sanitizer's frames keep what has left them. */
#ifdef __SANITIZE_ADDRESS__
enum { KEPT_SHARE = 5 };
#else
enum { KEPT_SHARE = 50 }; /* of objects that refer to each other, one in so many, on average */
#endif
enum {
    DROPPED_SHARE = 1000, /* of many dropped objects, one in so many */
    WORDS_MAX = 12,       /* words that look like references, of a program with SLOTS pointers */
};

/* Says what was kept that is not reachable, and that it is not too much. */
static void report(const char *plan, long steps, uint64_t retained)
{
    double share = seen.live_sum ? 100.0 * (double)seen.kept_sum / (double)seen.live_sum : 0;
    printf("%s: %ld steps, %" PRIu64 " finalized; in %" PRIu64 " collections %.3f %% of what lived was not reachable, "
           "at most %" PRIu64 " words too many\n",
           plan, steps, finalized_count, seen.count, share, seen.words_max);
    printf("%s: %" PRIu64 " of %d dropped objects kept\n", plan, retained, DROPPED);
    require(retained * DROPPED_SHARE <= DROPPED, "too many dropped objects were kept");
    require(seen.words_max <= WORDS_MAX, "too many words looked like references");
    require(seen.kept_sum * KEPT_SHARE <= seen.live_sum, "too much was kept that is not reachable");
}

int main(int argc, char **argv)
{
    struct slot slots[SLOTS] = {0};
    if (argc < 4 || argc > 5)
        return 2;
    const char *plan = argc > 4 ? argv[4] : "immix";
    long steps = atol(argv[1]);
    seed = strtoull(argv[2], NULL, 10);
    printf("seed %s\n", argv[2]);
    start(plan, (unsigned)atoi(argv[3]));
    if (is_precise)
        add_roots(slots);
    uint64_t retained = is_small || atoi(argv[3]) ? 0 : measure_retention();
    for (long i = 0; i < steps; i++) {
        step(slots);
        if (i % 500 == 0)
            check_all(slots);
        if (i % 1000 == 0)
            check_tree();
        if (i % 1000 == 250)
            crateld_gc_run_finalizers(heap);
        if (i % 1000 == 500)
            (is_precise ? weak_and_pinned_in_frames : weak_and_pinned)();
    }
    check_all(slots);
    crateld_gc_keep(slots);
    report(plan, steps, retained);
    crateld_gc_heap_destroy(heap);
    return 0;
}

#define _GNU_SOURCE /* pthread_getattr_np(), recursive mutexes */
#include "runtime/heap.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "runtime/heap_list.h"

enum {
    HEAP_SIZE_MIN = 1 << 20,
    TRIGGER_MIN = 4 << 20, /* no heap that may be larger is collected below this */
};
/* How many times what survived a heap becomes before it is collected, if it is not said. Large, since collecting a heap
 * of which much survives is what costs; but where little does, memory that the caches hold is used again, rather than
 * new memory until the limit is reached. */
#define DEFAULT_MULTIPLIER 8
#define HEAP_SIZE_MAX      (UINT64_C(1) << 42) /* counts of pages fit into 32 bits, with what is reserved in addition */

void gc_fail(struct crateld_gc_heap *heap, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(heap->why, sizeof heap->why, format, arguments);
    va_end(arguments);
}

bool gc_is_owner(const struct crateld_gc_heap *heap)
{
    return pthread_equal(heap->owner, pthread_self());
}

/* What is in heap->why is the owner's, which may be reading it. */
const char *crateld_gc_why(const struct crateld_gc_heap *heap)
{
    return gc_is_owner(heap) ? heap->why : "gc: allocation in another thread than the heap's";
}

/* Bytes of address space that this process has; 0 where the system does not say. */
static uint64_t address_space_used(void)
{
    char text[32] = "";
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    return length > 0 ? strtoull(text, NULL, 10) * GC_PAGE : 0;
}

/* A quarter of the memory that there is, and not more than a part of the address space that this process may still
 * have. */
static uint64_t default_heap_size(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    uint64_t size = pages > 0 ? (uint64_t)pages * GC_PAGE / 4 : 256 << 20;
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        uint64_t used = address_space_used(), left = limit.rlim_cur > used ? limit.rlim_cur - used : 0;
        size = left / 16 < size ? left / 16 : size; /* the reservation is some times the heap */
    }
    size = size < HEAP_SIZE_MIN ? HEAP_SIZE_MIN : size;
    return size & ~(uint64_t)(GC_PAGE - 1);
}

/* Where the running thread's stack ends. */
static struct crateld_error *find_stack(struct crateld_gc_heap *heap)
{
    pthread_attr_t attributes;
    void *low;
    size_t size;
    int reason = pthread_getattr_np(pthread_self(), &attributes);
    if (reason)
        return error_errno(reason, "gc: cannot find the thread's stack");
    pthread_attr_getstack(&attributes, &low, &size);
    pthread_attr_destroy(&attributes);
    heap->stack_low = low;
    heap->stack_high = (const char *)low + size;
    return NULL;
}

static struct crateld_error *check_opts(struct crateld_gc_heap *heap)
{
    struct crateld_gc_opts *opts = &heap->opts;
    heap->plan = gc_plan_find(opts->plan ? opts->plan : "immix");
    if (!heap->plan)
        return error_create(CRATELD_ERROR_USAGE, "gc: there is no plan '%s'; wanted nogc, semispace or immix",
                            opts->plan);
    if (!opts->heap_size)
        opts->heap_size = default_heap_size();
    if (opts->heap_size < HEAP_SIZE_MIN || opts->heap_size > HEAP_SIZE_MAX)
        return error_create(CRATELD_ERROR_USAGE, "gc: a heap of %zu bytes is wanted; possible are %d to %" PRIu64,
                            opts->heap_size, HEAP_SIZE_MIN, HEAP_SIZE_MAX);
    if (!opts->multiplier)
        opts->multiplier = DEFAULT_MULTIPLIER;
    if (!(opts->multiplier >= 1 && opts->multiplier <= 1000))
        return error_create(CRATELD_ERROR_USAGE, "gc: the multiplier is %g, wanted 1 to 1000", opts->multiplier);
    if (opts->is_stack_scanned && heap->plan->is_moving)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "gc: a stack is ambiguous, but plan %s moves objects",
                            heap->plan->name);
    return NULL;
}

static uint64_t initial_trigger(const struct crateld_gc_heap *heap)
{
    return heap->opts.heap_size > TRIGGER_MIN ? TRIGGER_MIN : heap->opts.heap_size;
}

static struct crateld_error *init(struct crateld_gc_heap *heap)
{
    TRY(check_opts(heap));
    TRY(object_model_check(heap->model));
    TRY(gc_reserve(heap, heap->opts.heap_size));
    TRY(gc_trace_init(&heap->trace, heap, heap->bound - heap->base));
    if (heap->opts.is_stack_scanned)
        TRY(find_stack(heap));
    heap->trigger_size = initial_trigger(heap);
    heap->mutator.public = (struct crateld_gc_mutator){
        .vo_base = heap->vo_base, .heap = heap, .thread = (uintptr_t)__builtin_thread_pointer()};
    heap->plan->init(heap);
    return NULL;
}

struct crateld_error *gc_heap_create(const struct crateld_gc_opts *opts, const struct object_model *model,
                                     struct crateld_gc_heap **ret)
{
    struct crateld_gc_heap *heap = calloc(1, sizeof *heap);
    if (!heap)
        return error_memory();
    heap->opts = opts ? *opts : (struct crateld_gc_opts){.is_stack_scanned = true};
    heap->owner = pthread_self();
    heap->lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    heap_list_add(heap);
    own_model_init(&heap->own_model);
    heap->model = model ? model : &heap->own_model.base;
    heap->stacks.next = heap->stacks.previous = &heap->stacks;
    struct crateld_error *error = init(heap);
    if (error) {
        crateld_gc_heap_destroy(heap);
        return error;
    }
    *ret = heap;
    return NULL;
}

struct crateld_error *crateld_gc_heap_create(const struct crateld_gc_opts *opts, struct crateld_gc_heap **ret)
{
    return gc_heap_create(opts, NULL, ret);
}

void crateld_gc_heap_destroy(struct crateld_gc_heap *heap)
{
    if (!heap)
        return;
    heap_list_remove(heap);
    gc_roots_deinit(heap);
    gc_trace_deinit(&heap->trace);
    gc_unreserve(heap);
    own_model_deinit(&heap->own_model);
    free(heap);
}

struct crateld_error *crateld_gc_type_add(struct crateld_gc_heap *heap, const struct crateld_gc_type *type,
                                          uint32_t *ret)
{
    if (type->kind == CRATELD_GC_CONSERVATIVE && heap->plan->is_moving)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "gc type '%s': it is conservative, but plan %s moves objects",
                            type->name, heap->plan->name);
    pthread_mutex_lock(&heap->lock);
    struct crateld_error *error = own_model_add(&heap->own_model, type, ret);
    pthread_mutex_unlock(&heap->lock);
    return error;
}

struct crateld_gc_mutator *crateld_gc_mutator(struct crateld_gc_heap *heap)
{
    return &heap->mutator.public;
}

uint64_t gc_used_size(const struct crateld_gc_heap *heap, uint32_t more_blocks)
{
    uint64_t blocks = ((uint64_t)heap->used_block_count + more_blocks) << GC_BLOCK_LOG;
    if (heap->plan->is_moving)
        blocks += (uint64_t)((double)blocks * heap->model->worst_case_copy_expansion);
    return blocks + ((uint64_t)heap->large.used_pages << GC_PAGE_LOG);
}

static bool is_on_own_stack(const struct crateld_gc_heap *heap, const void *here)
{
    return here >= heap->stack_low && here < heap->stack_high;
}

/* Whether the stack that this runs on is one that will be scanned. */
static bool is_stack_known(struct crateld_gc_heap *heap)
{
    const void *here = __builtin_frame_address(0);
    if (!heap->stack_high || is_on_own_stack(heap, here))
        return true;
    for (const struct crateld_gc_stack *stack = heap->stacks.next; stack != &heap->stacks; stack = stack->next)
        if (here >= stack->low && here < stack->high)
            return true;
    /* The main thread's may have become larger than it was allowed to be. */
    struct crateld_error *error = find_stack(heap);
    crateld_error_destroy(error);
    return !error && is_on_own_stack(heap, here);
}

bool gc_may_collect(struct crateld_gc_heap *heap)
{
    if (!heap->plan->can_collect || heap->disable_count || heap->is_collecting)
        return false;
    if (is_stack_known(heap))
        return true;
    gc_fail(heap, "gc: no collection is possible on a stack that was not added to the heap");
    return false;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void tell(const struct crateld_gc_heap *heap, enum crateld_gc_event_kind kind, uint64_t pause_ns)
{
    struct crateld_gc_event event = {kind, pause_ns, heap->stats.live_size};
    if (heap->opts.on_event)
        heap->opts.on_event(&event, heap->opts.context);
}

/* When to collect next: not before the heap is some times what has survived. */
static void set_trigger(struct crateld_gc_heap *heap)
{
    double wanted = heap->opts.multiplier * (double)gc_used_size(heap, 0);
    heap->trigger_size = heap->opts.heap_size;
    if (wanted < (double)heap->opts.heap_size)
        heap->trigger_size = wanted < (double)initial_trigger(heap) ? initial_trigger(heap) : (uint64_t)wanted;
}

/* Counts a collection that took `pause` nanoseconds. */
static void note_collection(struct crateld_gc_heap *heap, uint64_t pause)
{
    heap->stats.collection_count++;
    heap->stats.pause_total_ns += pause;
    if (heap->stats.pause_max_ns < pause)
        heap->stats.pause_max_ns = pause;
    heap->stats.live_size = heap->trace.live_size;
    heap->stats.live_count = heap->trace.live_count;
    heap->stats.ambiguous_count = heap->trace.ambiguous_count;
}

/* With the caller's frame and all above it as the running stack: what it calls has no references, and what calls
 * before have left there is none of its own. */
__attribute__((noinline)) static bool collect_above(struct crateld_gc_heap *heap)
{
    heap->is_collecting = true; /* whoever is told can not allocate */
    heap->stack_here = __builtin_frame_address(0);
    tell(heap, CRATELD_GC_START, 0);
    pthread_mutex_lock(&heap->lock);
    uint64_t start = now_ns();
    bool did = heap->plan->collect(heap);
    heap->mutator.public.limit = heap->mutator.limit;
    uint64_t pause = now_ns() - start;
    if (did) {
        note_collection(heap, pause);
        set_trigger(heap);
    }
    if (did && heap->opts.is_sane_checked)
        gc_sanity_check(heap);
    pthread_mutex_unlock(&heap->lock);
    tell(heap, CRATELD_GC_END, pause);
    heap->is_collecting = false;
    return did;
}

__attribute__((noinline)) bool gc_collect_now(struct crateld_gc_heap *heap)
{
    __builtin_unwind_init(); /* all registers that a callee has to keep are saved in this frame */
    /* What it returns is wanted, so that this frame is still there while it runs. */
    volatile bool did = collect_above(heap);
    return did;
}

bool crateld_gc_collect(struct crateld_gc_heap *heap)
{
    return gc_may_collect(heap) && gc_collect_now(heap);
}

void crateld_gc_disable(struct crateld_gc_heap *heap)
{
    heap->disable_count++;
}

void crateld_gc_enable(struct crateld_gc_heap *heap)
{
    if (heap->disable_count)
        heap->disable_count--;
    if (gc_used_size(heap, 0) > heap->trigger_size)
        crateld_gc_collect(heap);
}

void crateld_gc_stats(const struct crateld_gc_heap *heap, struct crateld_gc_stats *ret)
{
    *ret = heap->stats;
    ret->plan = heap->plan->name;
    ret->heap_size_max = heap->opts.heap_size;
    ret->used_size =
        ((uint64_t)heap->used_block_count << GC_BLOCK_LOG) + ((uint64_t)heap->large.used_pages << GC_PAGE_LOG);
    ret->large_count = heap->large.object_count;
    ret->large_size = heap->large.object_size;
}

void crateld_gc_range(const struct crateld_gc_heap *heap, uintptr_t *base, uintptr_t *bound)
{
    *base = heap->base;
    *bound = heap->bound;
}

bool crateld_gc_is_object(const struct crateld_gc_heap *heap, const void *address)
{
    struct gc_ref ref = gc_find(heap, (uintptr_t)address);
    return ref.address && ref.address == (uintptr_t)address;
}

void *crateld_gc_find_object(const struct crateld_gc_heap *heap, const void *address)
{
    struct gc_ref ref = gc_find(heap, (uintptr_t)address);
    return (uintptr_t)address >= ref.address ? (void *)ref.address : NULL;
}

size_t crateld_gc_size(const void *object)
{
    struct gc_ref ref = {(uintptr_t)object};
    return own_total_size(*own_header(ref)) - (ref.address - own_start(ref));
}

uint32_t crateld_gc_type_of(const void *object)
{
    return own_type_of(*own_header((struct gc_ref){(uintptr_t)object}));
}

struct walking {
    const struct object_model *model;
    void (*visit)(void *object, void *context);
    void *context;
};

static void visit_start(uintptr_t start, void *context)
{
    const struct walking *walking = context;
    walking->visit((void *)walking->model->object_start_to_ref(walking->model, start).address, walking->context);
}

void crateld_gc_walk(struct crateld_gc_heap *heap, void (*visit)(void *object, void *context), void *context)
{
    gc_walk(heap, visit_start, &(struct walking){heap->model, visit, context});
}

struct crateld_error *gc_check_object(const struct crateld_gc_heap *heap, const void *object)
{
    return crateld_gc_is_object(heap, object)
               ? NULL
               : error_create(CRATELD_ERROR_USAGE, "gc: %p is wanted to be an object, and is none", object);
}

struct crateld_error *crateld_gc_finalizer_add(struct crateld_gc_heap *heap, void *object,
                                               crateld_gc_finalizer *finalizer, void *data)
{
    TRY(gc_check_object(heap, object));
    /* Room on the other list too: a collection can not fail. */
    if (!VEC_RESERVE(&heap->due, heap->finalizers.count + 1) ||
        !VEC_PUSH(&heap->finalizers, (struct gc_finalizer){{(uintptr_t)object}, finalizer, data}))
        return error_memory();
    return NULL;
}

size_t crateld_gc_run_finalizers(struct crateld_gc_heap *heap)
{
    /* A finalizer may allocate, and so make more of them due, which are for the next time; may run others; and move
     * objects. */
    size_t count = 0, due = heap->due.count - heap->due_done;
    while (count < due && heap->due_done < heap->due.count) {
        /* Off the list before it runs, as it may ask for finalizers itself; so it is kept here while it does. */
        struct gc_finalizer finalizer = heap->due.at[heap->due_done++];
        void *object = (void *)finalizer.ref.address;
        struct crateld_gc_frame frame = {.variables = &object, .count = 1};
        crateld_gc_frame_push(heap, &frame);
        finalizer.function(object, finalizer.data);
        crateld_gc_frame_pop(heap);
        count++;
    }
    heap->due.count -= heap->due_done;
    if (heap->due.count)
        memmove(heap->due.at, heap->due.at + heap->due_done, heap->due.count * sizeof *heap->due.at);
    heap->due_done = 0;
    return count;
}

/* crateld: collected memory. docs/gc.md.
 *
 * A heap belongs to the thread that created it: all calls with it and its mutators come from there, unless they say
 * that they are for any thread; none comes from a signal handler.
 * Functions that return an error are in the manner of crateld/error.h; allocation returns NULL, and crateld_gc_why()
 * says why.
 */
#ifndef CRATELD_GC_H
#define CRATELD_GC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "crateld/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct crateld_gc_heap;

/* ---- Types ---- */

enum crateld_gc_kind {
    CRATELD_GC_LEAF,         /* holds no references */
    CRATELD_GC_FIXED,        /* references at the offsets of `pointers` */
    CRATELD_GC_ARRAY,        /* likewise, and every word from `size` on to the object's end is one */
    CRATELD_GC_CONSERVATIVE, /* any word may be one. Not with plans that move objects */
    CRATELD_GC_WEAK,      /* like FIXED, but the first word is a weak reference: it becomes NULL when its object dies */
    CRATELD_GC_EPHEMERON, /* two words, key and value: the value lives while the key does; then both become NULL */
};

/* What objects of a type look like. A heap keeps a copy. */
struct crateld_gc_type {
    const char *name;
    enum crateld_gc_kind kind;
    uint32_t size;            /* bytes, a multiple of the word; of an array: without its elements */
    const uint32_t *pointers; /* byte offsets of references, each a multiple of the word, below `size` */
    uint32_t pointer_count;
};

/* Defines `variable`, the type of struct objects whose references are the members at the offsets that follow:
 *     CRATELD_GC_TYPE(node_type, struct node, offsetof(struct node, left), offsetof(struct node, right)); */
#define CRATELD_GC_TYPE(variable, type, ...)                                                                           \
    static const uint32_t variable##_pointers[] = {__VA_ARGS__};                                                       \
    static const struct crateld_gc_type variable = {#type, CRATELD_GC_FIXED, sizeof(type), variable##_pointers,        \
                                                    sizeof variable##_pointers / sizeof variable##_pointers[0]}

/* Makes `type` known: *ret is its number in this heap, and that of any type that is equal, its name included. For any
 * thread. Errors: USAGE for a description that makes no sense, UNSUPPORTED for a conservative type in a plan that moves
 * objects, MEMORY. */
CRATELD_API struct crateld_error *crateld_gc_type_add(struct crateld_gc_heap *heap, const struct crateld_gc_type *type,
                                                      uint32_t *ret);

/* ---- Heaps ---- */

enum crateld_gc_event_kind { CRATELD_GC_START, CRATELD_GC_END };

struct crateld_gc_event {
    enum crateld_gc_event_kind kind;
    uint64_t pause_ns;  /* END: how long the program was stopped */
    uint64_t live_size; /* END: bytes that survived */
};

struct crateld_gc_opts {
    const char *plan;  /* "nogc", "semispace" or "immix"; NULL: immix */
    size_t heap_size;  /* the most bytes of heap; 0: a quarter of the memory there is */
    double multiplier; /* collect when the heap is that many times what survived, and not below 4 MiB; 0: 8 times. When
                          heap_size is reached, in any case */
    unsigned stress_interval; /* collect at every n-th allocation; 0: not */
    bool is_sane_checked;     /* trace the heap again after each collection, in a simple way, and compare. A difference
                                 aborts */
    bool is_poisoned;         /* overwrite what dies */
    bool is_stack_scanned; /* the creating thread's stack and registers are ambiguous roots; only of plans that do not
                              move */
    void (*on_event)(const struct crateld_gc_event *event, void *context); /* can not allocate */
    void *context;
};

/* Fills in `opts` from text like "immix,heap=512M,multiplier=2,stress=100,sanity,poison,stack": what CRATELD_GC holds.
 * `text` must live as long as `opts`' use, and the plan's name in *opts is static. Error USAGE names the word that is
 * not understood. */
CRATELD_API struct crateld_error *crateld_gc_opts_parse(const char *text, struct crateld_gc_opts *ret);

/* A heap, empty; `opts` NULL: defaults, with the stack scanned. Destroy it with crateld_gc_heap_destroy(). Errors:
 * USAGE, MEMORY. */
CRATELD_API struct crateld_error *crateld_gc_heap_create(const struct crateld_gc_opts *opts,
                                                         struct crateld_gc_heap **ret);

/* The heap that the crates of this OS process share: the first call makes it, as the environment's CRATELD_GC says (see
 * crateld_gc_opts_parse()), and the calling thread is its owner, whose stack is scanned unless the plan moves objects.
 * It is never destroyed. For any thread. Errors: those of crateld_gc_opts_parse() and crateld_gc_heap_create(), again
 * at each call. */
CRATELD_API struct crateld_error *crateld_gc_shared_heap(struct crateld_gc_heap **ret);

/* Unmaps the heap with all that is in it; finalizers do not run. NULL is allowed. */
CRATELD_API void crateld_gc_heap_destroy(struct crateld_gc_heap *heap);

struct crateld_gc_stats {
    const char *plan;
    uint64_t collection_count;
    uint64_t pause_total_ns, pause_max_ns;
    uint64_t heap_size_max; /* the limit, bytes */
    uint64_t used_size;     /* blocks and large objects in use, bytes */
    uint64_t live_size;     /* what the last collection found, bytes */
    uint64_t live_count;    /* and objects */
    uint64_t mapped_size;   /* bytes of the heap that have been made accessible */
    uint64_t metadata_size; /* bytes of side metadata of those */
    uint64_t large_count, large_size;
    uint64_t ambiguous_count; /* ambiguous words of the last collection that referred to an object */
};

/* Constant time. */
CRATELD_API void crateld_gc_stats(const struct crateld_gc_heap *heap, struct crateld_gc_stats *ret);

/* The reserved range, for those who must tell collected objects from other memory. */
CRATELD_API void crateld_gc_range(const struct crateld_gc_heap *heap, uintptr_t *base, uintptr_t *bound);

/* Collects now. False if collection is disabled or the plan does not collect. */
CRATELD_API bool crateld_gc_collect(struct crateld_gc_heap *heap);

/* While disabled (calls nest), allocation goes over the limit rather than collect, as far as there is room. The last
 * enabling collects if the limit is exceeded. */
CRATELD_API void crateld_gc_disable(struct crateld_gc_heap *heap);
CRATELD_API void crateld_gc_enable(struct crateld_gc_heap *heap);

/* Why the last allocation returned NULL; "" if none did. Valid until the next one does. For any thread: those that the
 * heap does not belong to are told so. */
CRATELD_API const char *crateld_gc_why(const struct crateld_gc_heap *heap);

/* ---- Allocation ---- */

enum {
    CRATELD_GC_WORD = 8,
    CRATELD_GC_GRANULE = 16,
    CRATELD_GC_SMALL_MAX = 8 << 10, /* bytes, header included; larger objects have pages of their own */
};

/* Where a mutator allocates: compiled code uses it directly. Compilers for other languages find the first three fields'
 * offsets in docs/gc.md; they do not change. */
struct crateld_gc_mutator {
    uintptr_t cursor;  /* the next object's start */
    uintptr_t limit;   /* zeroed memory ends here */
    uintptr_t vo_base; /* the valid-object bits: that of address a is bit a >> 4 & 63 of the word at vo_base + (a >> 10)
                        * 8 */
    struct crateld_gc_heap *heap;
    uintptr_t thread; /* the thread pointer of the thread that may use it */
};

/* The heap's first mutator. */
CRATELD_API struct crateld_gc_mutator *crateld_gc_mutator(struct crateld_gc_heap *heap);

enum crateld_gc_semantics {
    CRATELD_GC_DEFAULT,
    CRATELD_GC_LARGE,     /* pages of its own, whatever its size */
    CRATELD_GC_IMMORTAL,  /* is never collected, and what it refers to neither */
    CRATELD_GC_NONMOVING, /* its address stays, in every plan */
};

struct crateld_gc_alloc_opts {
    size_t align;     /* of the byte at align_off: a power of two up to 4096; 0: 8 */
    size_t align_off; /* a multiple of 8 */
    enum crateld_gc_semantics semantics;
    bool must_not_collect; /* NULL rather than a collection */
};

/* An object of the type numbered `type` and `size` bytes (at least the type's), zeroed. NULL, with crateld_gc_why(), if
 * there is no memory for it or the request makes no sense. May collect, unless `opts` says not. */
CRATELD_API void *crateld_gc_alloc_with(struct crateld_gc_mutator *mutator, uint32_t type, size_t size,
                                        const struct crateld_gc_alloc_opts *opts);

/* The slow path of crateld_gc_alloc(). */
CRATELD_API void *crateld_gc_alloc_slow(struct crateld_gc_mutator *mutator, uint32_t type, size_t size);

/* A header: the type's number, and the object's size in granules, the header included. */
#define CRATELD_GC_HEADER(type, total_size)                                                                            \
    ((uint64_t)(type) << 8 | (uint64_t)((total_size) / CRATELD_GC_GRANULE) << 32)

/* Likewise, in the usual case without a call: moves the cursor, writes the header, sets the valid-object bit. */
static inline void *crateld_gc_alloc(struct crateld_gc_mutator *mutator, uint32_t type, size_t size)
{
    size_t total = (size + CRATELD_GC_WORD + CRATELD_GC_GRANULE - 1) & ~(size_t)(CRATELD_GC_GRANULE - 1);
    uintptr_t start = mutator->cursor;
    uint64_t *valid;
    if (__builtin_expect(size > CRATELD_GC_SMALL_MAX - CRATELD_GC_WORD || total > mutator->limit - start, 0))
        return crateld_gc_alloc_slow(mutator, type, size);
    mutator->cursor = start + total;
    *(uint64_t *)start = CRATELD_GC_HEADER(type, total);
    valid = (uint64_t *)(mutator->vo_base + (start >> 10) * 8);
    *valid |= UINT64_C(1) << (start >> 4 & 63);
    return (void *)(start + CRATELD_GC_WORD);
}

/* Keeps the object alive up to here, where the compiler might otherwise have no pointer to it any more. */
static inline void crateld_gc_keep(const void *object)
{
    const void *volatile kept = object;
    (void)kept;
}

/* ---- Roots ---- */

enum crateld_gc_root_kind {
    CRATELD_GC_PRECISE,   /* every word is a reference or NULL; updated if the object moves */
    CRATELD_GC_AMBIGUOUS, /* a word may be a reference, to an object's inside or its end too. Not with plans that move
                             objects */
};

struct crateld_gc_root_range {
    void *start;  /* aligned to the word; the memory is the caller's */
    size_t count; /* words */
    enum crateld_gc_root_kind kind;
};

/* Adds the ranges under `key`, any address of the caller's, e.g. a crate; a key may be used again and again. Errors:
 * USAGE, UNSUPPORTED for ambiguous ones in a plan that moves objects, MEMORY: none was added. For any thread. */
CRATELD_API struct crateld_error *crateld_gc_roots_add(struct crateld_gc_heap *heap, const void *key,
                                                       const struct crateld_gc_root_range *ranges, size_t count);
/* Withdraws all that was added under `key`; after this nothing of it is read any more. For any thread. */
CRATELD_API void crateld_gc_roots_withdraw(struct crateld_gc_heap *heap, const void *key);

/* A stack other than the creating thread's own: its live part [low, high) is ambiguous; both are read at each
 * collection. While it runs, `low` is the lowest address of the whole stack, and the thread's own is added too, from
 * where it was left. */
struct crateld_gc_stack {
    struct crateld_gc_stack *next, *previous; /* the collector's, while it is added */
    const void *low;
    const void *high;
};

/* The caller's struct, until it is removed. Only of plans that do not move objects (UNSUPPORTED). */
CRATELD_API struct crateld_error *crateld_gc_stack_add(struct crateld_gc_heap *heap, struct crateld_gc_stack *stack);
CRATELD_API void crateld_gc_stack_remove(struct crateld_gc_heap *heap, struct crateld_gc_stack *stack);

/* Variables of a function that are precise roots while it runs: for plans that move objects, and for those who want to
 * know. */
struct crateld_gc_frame {
    struct crateld_gc_frame *next;
    void **variables;
    size_t count;
};

CRATELD_API void crateld_gc_frame_push(struct crateld_gc_heap *heap, struct crateld_gc_frame *frame);
CRATELD_API void crateld_gc_frame_pop(struct crateld_gc_heap *heap);

/* Keeps an object alive and where it is, until it was unpinned as often. Error UNSUPPORTED where the plan moves it all
 * the same: allocate it CRATELD_GC_NONMOVING then; USAGE: it is no object; MEMORY. */
CRATELD_API struct crateld_error *crateld_gc_pin(struct crateld_gc_heap *heap, void *object);
CRATELD_API void crateld_gc_unpin(struct crateld_gc_heap *heap, void *object);

/* ---- Objects ---- */

/* Whether `address` is exactly an object: any value may be asked about. */
CRATELD_API bool crateld_gc_is_object(const struct crateld_gc_heap *heap, const void *address);
/* The object that `address` points into, NULL if none. The header, and what lies behind the object's rounded size, is
 * not inside. */
CRATELD_API void *crateld_gc_find_object(const struct crateld_gc_heap *heap, const void *address);
/* The bytes that can be used of it: at least what was asked for. */
CRATELD_API size_t crateld_gc_size(const void *object);
CRATELD_API uint32_t crateld_gc_type_of(const void *object);

/* Calls `visit` for every object, dead ones that no collection has found yet included, in the order of addresses in
 * each space. It must not allocate. */
CRATELD_API void crateld_gc_walk(struct crateld_gc_heap *heap, void (*visit)(void *object, void *context),
                                 void *context);

/* ---- Finalizers ---- */

typedef void crateld_gc_finalizer(void *object, void *data);

/* Once `object` is dead, crateld_gc_run_finalizers() calls `finalizer` with it, once; it and what it refers to live
 * until then, weak references to it are gone. Several of an object run in the order they were added. Errors: USAGE: it
 * is no object; MEMORY. */
CRATELD_API struct crateld_error *crateld_gc_finalizer_add(struct crateld_gc_heap *heap, void *object,
                                                           crateld_gc_finalizer *finalizer, void *data);
/* Runs what is due now: what a finalizer makes due is for the next time. Collections never do so by themselves. Returns
 * how many it called. A finalizer may do all that programs do, and keep its object. */
CRATELD_API size_t crateld_gc_run_finalizers(struct crateld_gc_heap *heap);

#ifdef __cplusplus
}
#endif

#endif

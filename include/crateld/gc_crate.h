/* crateld: collected memory for code in crates. docs/gc.md.
 *
 * The crates of an OS process share one heap, which is there as soon as a crate that uses it is activated. Their data
 * are roots, as long as they are loaded. Link with -lcrateld-gc.
 *
 *     struct node { struct node *left, *right; };
 *     CRATELD_GC_CRATE_TYPE(node_type, struct node, offsetof(struct node, left), offsetof(struct node, right));
 *     struct node *node = crateld_gc_new(&node_type, sizeof *node);
 */
#ifndef CRATELD_GC_CRATE_H
#define CRATELD_GC_CRATE_H

#include "crateld/gc.h"
#include "crateld/toc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* This crate's TOC. The linker defines it. */
extern struct crateld_toc _TOC_ __attribute__((visibility("hidden")));

/* The crate's types, in the order of their indices. */
extern const struct crateld_gc_type *__start_crateld_gc_types[] __attribute__((visibility("hidden")));

/* Defines `variable`, which stands for the type of struct objects whose references are the members at the offsets that
 * follow: like CRATELD_GC_TYPE, but known to the heap by itself. */
#define CRATELD_GC_CRATE_TYPE(variable, type, ...)                                                                     \
    CRATELD_GC_TYPE(variable##_description, type, __VA_ARGS__);                                                        \
    CRATELD_GC_CRATE_TYPE_OF(variable, variable##_description)

/* Likewise, for any description of static storage. */
#define CRATELD_GC_CRATE_TYPE_OF(variable, description)                                                                \
    static const struct crateld_gc_type *variable __attribute__((section("crateld_gc_types"), used)) = &(description)

/* The mutator of the shared heap. */
static inline struct crateld_gc_mutator *crateld_gc_own_mutator(void)
{
    return (struct crateld_gc_mutator *)_TOC_.gc_heap_data;
}

static inline struct crateld_gc_heap *crateld_gc_own_heap(void)
{
    return crateld_gc_own_mutator()->heap;
}

/* The number of a type in the shared heap. */
static inline uint32_t crateld_gc_own_type(const struct crateld_gc_type **type)
{
    return ((const uint32_t *)_TOC_.type_ids)[type - __start_crateld_gc_types];
}

/* An object of `type`, `size` bytes, zeroed. NULL, with crateld_gc_why(), without memory, and in other threads than the
 * one that the heap belongs to: as a rule the main thread. */
static inline void *crateld_gc_new(const struct crateld_gc_type **type, size_t size)
{
    struct crateld_gc_mutator *mutator = crateld_gc_own_mutator();
    uint32_t number = crateld_gc_own_type(type);
    if (__builtin_expect(mutator->thread != (uintptr_t)__builtin_thread_pointer(), 0))
        return crateld_gc_alloc_slow(mutator, number, size);
    return crateld_gc_alloc(mutator, number, size);
}

#ifdef __cplusplus
}
#endif

#endif

/* References to collected objects, and the places that hold them: types of their own, so that they are not mixed up
 * with addresses. */
#ifndef RUNTIME_REF_H
#define RUNTIME_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* An object, as programs refer to it: an address inside of it, a multiple of the word. 0: none. */
struct gc_ref {
    uintptr_t address;
};

static inline bool gc_ref_is_null(struct gc_ref ref)
{
    return !ref.address;
}

/* A place in memory that holds a reference: as it is; or with bits of a tag below, or with something added to it. The
 * word there is (reference + off) | tag, where the tag's bits are those of `tag_mask`. A word whose other bits are 0 is
 * no reference. */
struct gc_edge {
    uintptr_t at;
    uint32_t tag_mask;
    int32_t off;
};

static inline struct gc_edge gc_edge_plain(void *at)
{
    return (struct gc_edge){(uintptr_t)at, 0, 0};
}

static inline struct gc_ref gc_edge_load(struct gc_edge edge)
{
    uintptr_t word;
    memcpy(&word, (void *)edge.at, sizeof word);
    word &= ~(uintptr_t)edge.tag_mask;
    return (struct gc_ref){word ? word - (uintptr_t)(intptr_t)edge.off : 0};
}

/* Stores `ref`, keeping the tag; for a null one, only the tag stays. */
static inline void gc_edge_store(struct gc_edge edge, struct gc_ref ref)
{
    uintptr_t word;
    memcpy(&word, (void *)edge.at, sizeof word);
    word &= edge.tag_mask;
    word |= ref.address ? ref.address + (uintptr_t)(intptr_t)edge.off : 0;
    memcpy((void *)edge.at, &word, sizeof word);
}

#endif

/* Tells of most names that they are not in a set, by their hashes: four bits for each name, in a word that the hash
 * chooses too.
 */
#ifndef LINKER_NAME_FILTER_H
#define LINKER_NAME_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

struct name_filter {
    uint32_t mask; /* number of words - 1 */
    uint64_t words[];
};

/* A filter without names, from `arena`, for up to `count` of them; NULL without memory. */
struct name_filter *name_filter_create(struct arena *arena, size_t count);

/* The bits of the word that a name with that hash sets. */
static inline uint64_t name_filter_bits(uint64_t hash)
{
    return UINT64_C(1) << (hash >> 40 & 63) | UINT64_C(1) << (hash >> 46 & 63) | UINT64_C(1) << (hash >> 52 & 63) |
           UINT64_C(1) << (hash >> 58);
}

static inline void name_filter_add(struct name_filter *filter, uint64_t hash, uint64_t bits)
{
    filter->words[hash & filter->mask] |= bits;
}

/* Whether a name with that hash may be among them. */
static inline bool name_filter_may_have(const struct name_filter *filter, uint64_t hash, uint64_t bits)
{
    return !(bits & ~filter->words[hash & filter->mask]);
}

#endif

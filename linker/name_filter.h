/* Tells of most names that they are not in a set, by the upper halves of their hashes, which is what crates have in one
 * place: four bits for each name, in a word that the hash chooses too.
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

/* The bits of a word that a name sets. */
static inline uint64_t name_filter_bits(uint32_t hash)
{
    uint64_t spread = hash * UINT64_C(0x9e3779b97f4a7c15); /* multiplicative hashing: Knuth, vol. 3, 6.4 */
    return UINT64_C(1) << (hash >> 26) | UINT64_C(1) << (spread >> 46 & 63) | UINT64_C(1) << (spread >> 52 & 63) |
           UINT64_C(1) << (spread >> 58);
}

static inline void name_filter_add(struct name_filter *filter, uint32_t hash)
{
    filter->words[hash & filter->mask] |= name_filter_bits(hash);
}

/* Whether a name with that hash may be among them. */
static inline bool name_filter_may_have(const struct name_filter *filter, uint32_t hash)
{
    uint64_t word = filter->words[hash & filter->mask];
    return word >> (hash >> 26) & 1 && !(name_filter_bits(hash) & ~word); /* of most the first bit is enough */
}

/* Writes to `numbers`, which has room for all, the numbers of those of `count` hashes whose names may be among them, in
 * their order. Returns how many. */
uint32_t name_filter_select(const struct name_filter *filter, const uint32_t *hashes, uint32_t count,
                            uint32_t *numbers);

#endif

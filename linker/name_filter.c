#include "linker/name_filter.h"

enum { NAMES_PER_WORD = 4 }; /* at the most, on the average: 16 of 64 bits are set */

struct name_filter *name_filter_create(struct arena *arena, size_t count)
{
    size_t words = 1;
    while (words < count / NAMES_PER_WORD + 1 && words < UINT32_MAX / 2)
        words *= 2;
    struct name_filter *filter = arena_alloc(arena, sizeof *filter + words * sizeof *filter->words);
    if (filter)
        filter->mask = (uint32_t)(words - 1);
    return filter;
}

uint32_t name_filter_select(const struct name_filter *filter, const uint32_t *hashes, uint32_t count, uint32_t *numbers)
{
    const uint64_t *words = filter->words;
    uint32_t mask = filter->mask, selected = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t hash = hashes[i];
        uint64_t word = words[hash & mask];
        if (word >> (hash >> 26) & 1 && !(name_filter_bits(hash) & ~word)) /* of most the first bit is enough */
            numbers[selected++] = i;
    }
    return selected;
}

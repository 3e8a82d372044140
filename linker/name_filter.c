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

#include "reloc/howto.h"

#include <string.h>

/* How far `value` lies outside [low, high]; 0 inside. */
static int64_t distance(int64_t value, int64_t low, int64_t high)
{
    if (value < low)
        return value - low;
    return value > high ? value - high : 0;
}

int64_t reloc_write(const struct reloc_howto *howto, uint8_t *place, int64_t value)
{
    uint64_t bits = (uint64_t)value;
    if (howto->range != RELOC_RANGE_WRAP) {
        int64_t unit = INT64_C(1) << (8 * howto->size);
        int64_t low = howto->range == RELOC_RANGE_UNSIGNED ? 0 : -unit / 2;
        int64_t high = howto->range == RELOC_RANGE_SIGNED ? unit / 2 - 1 : unit - 1;
        int64_t excess = distance(value, low, high);
        if (excess)
            return excess;
    }
    memcpy(place, &bits, howto->size); /* little-endian: the low bytes come first */
    return 0;
}

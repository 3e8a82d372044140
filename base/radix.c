#include "base/radix.h"

#include <stdlib.h>
#include <string.h>

enum { DIGIT_BITS = 8, DIGIT_COUNT = 64 / DIGIT_BITS, DIGIT_VALUES = 1 << DIGIT_BITS, FEW = 32 };

static void sort_few(struct keyed *keyed, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct keyed moved = keyed[i];
        size_t k = i;
        for (; k && keyed[k - 1].key > moved.key; k--)
            keyed[k] = keyed[k - 1];
        keyed[k] = moved;
    }
}

static bool is_sorted(const struct keyed *keyed, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (keyed[i - 1].key > keyed[i].key)
            return false;
    return true;
}

bool radix_sort(struct keyed *keyed, size_t count)
{
    if (count <= FEW) {
        sort_few(keyed, count);
        return true;
    }
    if (is_sorted(keyed, count))
        return true;
    size_t counts[DIGIT_COUNT][DIGIT_VALUES] = {{0}};
    struct keyed *other = malloc(count * sizeof *other), *from = keyed, *to = other;
    if (!other)
        return false;
    for (size_t i = 0; i < count; i++)
        for (int digit = 0; digit < DIGIT_COUNT; digit++)
            counts[digit][keyed[i].key >> digit * DIGIT_BITS & (DIGIT_VALUES - 1)]++;
    for (int digit = 0; digit < DIGIT_COUNT; digit++) {
        int shift = digit * DIGIT_BITS;
        if (counts[digit][keyed[0].key >> shift & (DIGIT_VALUES - 1)] == count)
            continue; /* the same in all keys */
        size_t next[DIGIT_VALUES], sum = 0;
        for (int value = 0; value < DIGIT_VALUES; value++) {
            next[value] = sum;
            sum += counts[digit][value];
        }
        for (size_t i = 0; i < count; i++)
            to[next[from[i].key >> shift & (DIGIT_VALUES - 1)]++] = from[i];
        struct keyed *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != keyed)
        memcpy(keyed, from, count * sizeof *keyed);
    free(other);
    return true;
}

/* Radix sort, compared with qsort. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/radix.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(base_radix, .fini = require_no_leaks);

enum { MAX_COUNT = 3000 };

static int compare(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

Test(base_radix, keys_are_sorted_and_equal_ones_stay_in_their_order)
{
    static struct keyed given[MAX_COUNT], wanted[MAX_COUNT];
    uint64_t seed = 1;
    for (int round = 0; round < 300; round++) {
        uint32_t count = random_below(&seed, round % 2 ? 40 : MAX_COUNT), bits = 1 + random_below(&seed, 64);
        uint32_t shift = random_below(&seed, 65 - bits);
        for (uint32_t i = 0; i < count; i++)
            given[i] = (struct keyed){random_next(&seed) >> (64 - bits) << shift, i};
        memcpy(wanted, given, sizeof wanted);
        qsort(wanted, count, sizeof *wanted, compare);
        cr_assert(radix_sort(given, count));
        for (uint32_t i = 0; i < count; i++)
            cr_assert(given[i].key == wanted[i].key && given[i].number == wanted[i].number, "round %d, place %u", round,
                      i);
    }
}

/* Sorting by 64-bit keys, a byte at a time: linear, and stable. */
#ifndef BASE_RADIX_H
#define BASE_RADIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keyed {
    uint64_t key;
    uint32_t number; /* what the key is of */
};

/* Sorts `count` of `keyed` by their keys, those with the same key staying in their order. Takes as much memory again
 * meanwhile; false without it, the array untouched. */
bool radix_sort(struct keyed *keyed, size_t count) __attribute__((warn_unused_result));

#endif

/* Growable arrays in three lines: a pointer, a count and a capacity, grown by doubling. */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* A vector of `type`: declare with `VEC(struct x) xs;`, zero-initialised, release with free(xs.at). */
#define VEC(type)                                                                                                      \
    struct {                                                                                                           \
        type *at; /* owned */                                                                                          \
        size_t count;                                                                                                  \
        size_t capacity;                                                                                               \
    }

/* Makes room for `more` elements of `size` bytes; false without memory, the array untouched. */
static inline bool vec_grow(void **at, size_t *capacity, size_t count, size_t more, size_t size)
{
    size_t wanted, bytes;
    if (__builtin_add_overflow(count, more, &wanted))
        return false;
    if (wanted <= *capacity)
        return true;
    size_t grown = *capacity < 8 ? 8 : *capacity * 2;
    if (grown < wanted)
        grown = wanted;
    if (__builtin_mul_overflow(grown, size, &bytes))
        return false;
    void *moved = realloc(*at, bytes);
    if (!moved)
        return false;
    *at = moved;
    *capacity = grown;
    return true;
}

/* Makes room for `more` further elements; false without memory. */
#define VEC_RESERVE(vec, more) vec_grow((void **)&(vec)->at, &(vec)->capacity, (vec)->count, (more), sizeof *(vec)->at)

/* Appends `...` (an expression of the element's type); false without memory. (Static analysis does not see that there
 * is an array where there is room.) */
#define VEC_PUSH(vec, ...) (VEC_RESERVE(vec, 1) && (vec)->at && ((vec)->at[(vec)->count++] = (__VA_ARGS__), true))

#endif

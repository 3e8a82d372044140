/* Bump allocation, in the slow path: with alignment. */
#ifndef RUNTIME_BUMP_H
#define RUNTIME_BUMP_H

#include <stddef.h>
#include <stdint.h>

/* `size` bytes of [*cursor, limit), at S such that S + align_off is a multiple of `align`; moves *cursor. 0 if it has
 * no room. */
static inline uintptr_t gc_bump(uintptr_t *cursor, uintptr_t limit, size_t size, size_t align, size_t align_off)
{
    uintptr_t start = ((*cursor + align_off + align - 1) & ~(uintptr_t)(align - 1)) - align_off;
    if (!*cursor || start > limit || size > limit - start)
        return 0;
    *cursor = start + size;
    return start;
}

#endif

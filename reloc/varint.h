/* Integers in as few bytes as they need: seven bits a byte, lowest first, the top bit set on all but the last
 * (LEB128). Signed ones are folded first, so that small negative ones are short as well. */
#ifndef RELOC_VARINT_H
#define RELOC_VARINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum { VARINT_MAX_SIZE = 10 };

/* Writes `value` to `at`, which has room for VARINT_MAX_SIZE bytes; returns the number of bytes written. */
static inline uint32_t varint_write(uint8_t *at, uint64_t value)
{
    uint32_t size = 0;
    while (value >= 0x80) {
        at[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    at[size++] = (uint8_t)value;
    return size;
}

/* Reads the number at *off of `bytes` and moves *off behind it; false if it is cut off or has more than 64
 * bits. */
static inline bool varint_read(struct span bytes, uint64_t *off, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (*off >= bytes.size)
            return false;
        uint8_t byte = bytes.data[(*off)++];
        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* Signed to unsigned and back: 0, -1, 1, -2 are 0, 1, 2, 3. */
static inline uint64_t varint_fold(int64_t value)
{
    uint64_t doubled = (uint64_t)value << 1;
    return value < 0 ? ~doubled : doubled;
}

static inline int64_t varint_unfold(uint64_t value)
{
    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

#endif

/* A bounded view of bytes: all that is read from a file goes through here.
 *
 * A span borrows its bytes. Readers check bounds with arithmetic that can not overflow and make no assumption
 * about alignment. Multi-byte integers are little-endian, as in every file crateld reads.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *data; /* borrowed */
    size_t size;         /* bytes */
};

/* Whether [off, off + size) lies within `span`. */
static inline bool span_has(struct span span, uint64_t off, uint64_t size)
{
    return off <= span.size && size <= span.size - off;
}

/* The address of byte `off` <= span.size; an empty span may have no address at all, to which nothing can be added. */
static inline const uint8_t *span_at(struct span span, uint64_t off)
{
    return span.size ? span.data + off : span.data;
}

/* Sets *ret to the `size` bytes at `off`; false, and *ret untouched, if they are not all there. */
static inline bool span_slice(struct span span, uint64_t off, uint64_t size, struct span *ret)
{
    if (!span_has(span, off, size))
        return false;
    *ret = (struct span){span_at(span, off), (size_t)size};
    return true;
}

/* The bytes from `off` to the end; empty if `off` lies behind it. */
static inline struct span span_from(struct span span, uint64_t off)
{
    if (off >= span.size)
        return (struct span){span_at(span, span.size), 0};
    return (struct span){span.data + off, span.size - (size_t)off};
}

/* Copies the `size` bytes at `off` to `ret`; false, and *ret untouched, if they are not all there. */
static inline bool span_read(struct span span, uint64_t off, void *ret, size_t size)
{
    if (!span_has(span, off, size))
        return false;
    if (size)
        memcpy(ret, span.data + off, size);
    return true;
}

/* The NUL-terminated string at `off`, whose NUL lies within the span; NULL if there is none. */
static inline const char *span_string(struct span span, uint64_t off)
{
    struct span rest = span_from(span, off);
    if (!rest.size || !memchr(rest.data, 0, rest.size))
        return NULL;
    return (const char *)rest.data;
}

#endif

/* XXH3, the one hash of crateld: names, contents, build ids. Header-only, so that the run path links libc only. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The hash under which a symbol name stands in import and export tables. */
static inline uint64_t hash_bytes(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

static inline uint64_t hash_string(const char *text)
{
    return XXH3_64bits(text, strlen(text));
}

#endif

/* A string table under construction in which equal strings are one, and a string that is the end of another
 * one lies within it: "main" within ".text.main". Not thread-safe. */
#ifndef RELOC_STRING_POOL_H
#define RELOC_STRING_POOL_H

#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

struct string_pool_entry {
    const char *text; /* borrowed until the pool was laid out */
    uint32_t length;
    uint32_t off;
    uint64_t tail; /* the last eight bytes, the last one highest: what most comparisons end with */
};

struct string_pool {
    struct string_pool_entry *entries; /* owned; in the order in which they were added */
    size_t count;
    size_t capacity;
    uint8_t *bytes; /* owned; set by string_pool_lay_out() */
    uint32_t size;
};

/* An empty pool, and the release of one. */
void string_pool_init(struct string_pool *pool);
void string_pool_deinit(struct string_pool *pool);

/* Adds `text`, whose number is the count of strings added before. Error: MEMORY. */
MUST_CHECK struct crateld_error *string_pool_add(struct string_pool *pool, const char *text);

/* Sets `bytes` and each entry's `off`. The first byte and the last one are NUL; the empty string is at 0.
 * Deterministic. Cost: sorting. Errors: MEMORY; RANGE, when it takes 4 GiB. */
MUST_CHECK struct crateld_error *string_pool_lay_out(struct string_pool *pool);

#endif

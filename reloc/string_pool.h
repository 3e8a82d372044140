/* A string table under construction in which equal strings take the same place, and a string that is the end of another
 * one lies within it: "main" within ".text.main". Not thread-safe. */
#ifndef RELOC_STRING_POOL_H
#define RELOC_STRING_POOL_H

#include <stdint.h>

#include "base/error.h"
#include "base/vec.h"

struct string_pool_entry {
    uint32_t at;     /* in the pool's text */
    uint32_t length; /* without a NUL, which is not there */
    uint32_t off;    /* set by string_pool_lay_out() */
};

struct string_pool {
    VEC(struct string_pool_entry) entries; /* owned; one for each call of string_pool_add() */
    VEC(char) text;                        /* owned; of all entries */
    uint32_t size;                         /* bytes of the table; set by string_pool_lay_out() */
};

/* An empty pool, and the release of one. */
void string_pool_init(struct string_pool *pool);
void string_pool_deinit(struct string_pool *pool);

/* Adds a copy of `text`, and sets *ret to the number of its entry. Errors: MEMORY; RANGE, for 4 GiB of them. */
MUST_CHECK struct crateld_error *string_pool_add(struct string_pool *pool, const char *text, uint32_t *ret);

/* The entry's text, `length` bytes. */
static inline const char *string_pool_text(const struct string_pool *pool, const struct string_pool_entry *entry)
{
    return pool->text.at + entry->at;
}

/* Ends the adding: sets `size` and each entry's `off`. The first byte and the last one are NUL; the empty string is at
 * 0. Deterministic. Cost: sorting. Errors: MEMORY; RANGE, when it takes 4 GiB. */
MUST_CHECK struct crateld_error *string_pool_lay_out(struct string_pool *pool);

/* Writes the table to `at`, `size` bytes that are zero. */
void string_pool_write(const struct string_pool *pool, uint8_t *at);

#endif

#define _GNU_SOURCE
#include "reloc/string_pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/radix.h"

void string_pool_init(struct string_pool *pool)
{
    *pool = (struct string_pool){0};
}

void string_pool_deinit(struct string_pool *pool)
{
    free(pool->entries.at);
    free(pool->text.at);
    *pool = (struct string_pool){0};
}

struct crateld_error *string_pool_add(struct string_pool *pool, const char *text, uint32_t *ret)
{
    size_t length = strlen(text);
    if (length > UINT32_MAX - pool->text.count || pool->entries.count >= UINT32_MAX)
        return error_create(CRATELD_ERROR_RANGE, "names take more than 4 GiB");
    struct string_pool_entry entry = {.at = (uint32_t)pool->text.count, .length = (uint32_t)length};
    *ret = (uint32_t)pool->entries.count;
    if (!VEC_RESERVE(&pool->text, length + 1) || !VEC_PUSH(&pool->entries, entry))
        return error_memory();
    memcpy(pool->text.at + entry.at, text, length);
    pool->text.count += length;
    return NULL;
}

/* The last eight bytes, the last one highest, inverted: what most comparisons end with. */
static uint64_t tail_key(const char *text, uint32_t length)
{
    uint64_t tail = 0;
    if (length >= 8) {
        memcpy(&tail, text + length - 8, 8);
        return ~tail;
    }
    for (uint32_t i = 0; i < 8; i++)
        tail = tail << 8 | (i < length ? (uint8_t)text[length - 1 - i] : 0);
    return ~tail;
}

/* Orders strings with the same last eight bytes by the others, from the last to the first, longer ones before those
 * that are their ends. */
static int compare_rests(const void *left, const void *right, void *context)
{
    const struct string_pool *pool = context;
    const struct string_pool_entry *a = &pool->entries.at[((const struct keyed *)left)->number];
    const struct string_pool_entry *b = &pool->entries.at[((const struct keyed *)right)->number];
    const char *text_a = string_pool_text(pool, a), *text_b = string_pool_text(pool, b);
    uint32_t common = a->length < b->length ? a->length : b->length;
    for (uint32_t i = 8; i < common; i++) {
        uint8_t byte_a = (uint8_t)text_a[a->length - 1 - i], byte_b = (uint8_t)text_b[b->length - 1 - i];
        if (byte_a != byte_b)
            return byte_a < byte_b ? 1 : -1;
    }
    return a->length == b->length ? 0 : a->length < b->length ? 1 : -1;
}

static bool is_ordered(struct string_pool *pool, const struct keyed *sorted, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (compare_rests(&sorted[i - 1], &sorted[i], pool) > 0)
            return false;
    return true;
}

static bool is_end_of(const struct string_pool *pool, const struct string_pool_entry *end,
                      const struct string_pool_entry *whole)
{
    return end->length <= whole->length && !memcmp(string_pool_text(pool, whole) + whole->length - end->length,
                                                   string_pool_text(pool, end), end->length);
}

/* Gives each entry its place, in sorted order: a string that is no end of the one before it starts a new one. */
static struct crateld_error *place_strings(struct string_pool *pool, const struct keyed *sorted)
{
    uint64_t end = 1;
    const struct string_pool_entry *whole = NULL;
    for (size_t i = 0; i < pool->entries.count; i++) {
        struct string_pool_entry *entry = &pool->entries.at[sorted[i].number];
        if (!entry->length) {
            entry->off = 0;
        } else if (whole && is_end_of(pool, entry, whole)) {
            entry->off = whole->off + whole->length - entry->length;
        } else {
            entry->off = (uint32_t)end;
            end += (uint64_t)entry->length + 1;
            whole = entry;
        }
        if (end > UINT32_MAX)
            return error_create(CRATELD_ERROR_RANGE, "names take more than 4 GiB");
    }
    pool->size = (uint32_t)end;
    return NULL;
}

struct crateld_error *string_pool_lay_out(struct string_pool *pool)
{
    size_t count = pool->entries.count;
    struct keyed *sorted AUTO_FREE = calloc(count + 1, sizeof *sorted);
    if (!sorted)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        const struct string_pool_entry *entry = &pool->entries.at[i];
        sorted[i] = (struct keyed){tail_key(string_pool_text(pool, entry), entry->length), (uint32_t)i};
    }
    if (!radix_sort(sorted, count))
        return error_memory();
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && sorted[end].key == sorted[i].key; end++)
            ;
        if (!is_ordered(pool, sorted + i, end - i)) /* many are equal */
            qsort_r(sorted + i, end - i, sizeof *sorted, compare_rests, pool);
    }
    return place_strings(pool, sorted);
}

void string_pool_write(const struct string_pool *pool, uint8_t *at)
{
    for (size_t i = 0; i < pool->entries.count; i++) {
        const struct string_pool_entry *entry = &pool->entries.at[i];
        if (!at[entry->off]) /* else it is there: it is an end of another one, or the same */
            memcpy(at + entry->off, string_pool_text(pool, entry), entry->length);
    }
}

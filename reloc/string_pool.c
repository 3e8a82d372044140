#define _GNU_SOURCE
#include "reloc/string_pool.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/radix.h"
#include "base/vec.h"

void string_pool_init(struct string_pool *pool)
{
    *pool = (struct string_pool){0};
}

void string_pool_deinit(struct string_pool *pool)
{
    free(pool->entries);
    *pool = (struct string_pool){0};
}

struct crateld_error *string_pool_add(struct string_pool *pool, const char *text, uint32_t *ret)
{
    struct string_pool_entry entry = {.text = text};
    if (pool->count >= UINT32_MAX)
        return error_create(CRATELD_ERROR_RANGE, "more than %u names", UINT32_MAX);
    if (!vec_grow((void **)&pool->entries, &pool->capacity, pool->count, 1, sizeof entry))
        return error_memory();
    *ret = (uint32_t)pool->count;
    pool->entries[pool->count++] = entry;
    return NULL;
}

/* The last eight bytes, the last one highest, inverted: what most comparisons end with. */
static uint64_t tail_key(const struct string_pool_entry *entry)
{
    uint64_t tail = 0;
    if (entry->length >= 8) {
        memcpy(&tail, entry->text + entry->length - 8, 8);
        return ~tail;
    }
    for (uint32_t i = 0; i < 8; i++)
        tail = tail << 8 | (i < entry->length ? (uint8_t)entry->text[entry->length - 1 - i] : 0);
    return ~tail;
}

/* Orders strings with the same last eight bytes by the others, from the last to the first, longer ones before those
 * that are their ends. */
static int compare_rests(const void *left, const void *right, void *pool)
{
    const struct string_pool_entry *entries = ((const struct string_pool *)pool)->entries;
    const struct string_pool_entry *a = &entries[((const struct keyed *)left)->number];
    const struct string_pool_entry *b = &entries[((const struct keyed *)right)->number];
    uint32_t common = a->length < b->length ? a->length : b->length;
    for (uint32_t i = 8; i < common; i++) {
        uint8_t byte_a = (uint8_t)a->text[a->length - 1 - i], byte_b = (uint8_t)b->text[b->length - 1 - i];
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

static bool is_end_of(const struct string_pool_entry *end, const struct string_pool_entry *whole)
{
    return end->length <= whole->length &&
           memcmp(whole->text + whole->length - end->length, end->text, end->length) == 0;
}

/* Gives each entry its place, in sorted order: a string that is no end of the one before it starts a new one. */
static struct crateld_error *place_strings(struct string_pool *pool, const struct keyed *sorted)
{
    uint64_t end = 1;
    const struct string_pool_entry *whole = NULL;
    for (size_t i = 0; i < pool->count; i++) {
        struct string_pool_entry *entry = &pool->entries[sorted[i].number];
        if (!entry->length) {
            entry->off = 0;
        } else if (whole && is_end_of(entry, whole)) {
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
    struct keyed *sorted AUTO_FREE = calloc(pool->count + 1, sizeof *sorted);
    if (!sorted)
        return error_memory();
    for (size_t i = 0; i < pool->count; i++) {
        size_t length = strlen(pool->entries[i].text);
        if (length >= UINT32_MAX)
            return error_create(CRATELD_ERROR_RANGE, "a name of %zu bytes", length);
        pool->entries[i].length = (uint32_t)length;
        sorted[i] = (struct keyed){tail_key(&pool->entries[i]), (uint32_t)i};
    }
    if (!radix_sort(sorted, pool->count))
        return error_memory();
    for (size_t i = 0, end; i < pool->count; i = end) {
        for (end = i + 1; end < pool->count && sorted[end].key == sorted[i].key; end++)
            ;
        if (!is_ordered(pool, sorted + i, end - i)) /* many are equal */
            qsort_r(sorted + i, end - i, sizeof *sorted, compare_rests, pool);
    }
    return place_strings(pool, sorted);
}

void string_pool_write(const struct string_pool *pool, uint8_t *at)
{
    for (size_t i = 0; i < pool->count; i++)
        if (!at[pool->entries[i].off]) /* else it is there: it is an end of another one, or the same */
            memcpy(at + pool->entries[i].off, pool->entries[i].text, pool->entries[i].length);
}

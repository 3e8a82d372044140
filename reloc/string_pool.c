#include "reloc/string_pool.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/vec.h"

void string_pool_init(struct string_pool *pool)
{
    *pool = (struct string_pool){0};
}

void string_pool_deinit(struct string_pool *pool)
{
    free(pool->entries);
    free(pool->bytes);
    *pool = (struct string_pool){0};
}

static uint64_t tail_of(const char *text, size_t length)
{
    uint64_t tail = 0;
    for (size_t i = 0; i < 8; i++)
        tail = tail << 8 | (i < length ? (uint8_t)text[length - 1 - i] : 0);
    return tail;
}

struct crateld_error *string_pool_add(struct string_pool *pool, const char *text)
{
    size_t length = strlen(text);
    if (length >= UINT32_MAX)
        return error_create(CRATELD_ERROR_RANGE, "a name of %zu bytes", length);
    struct string_pool_entry entry = {.text = text, .length = (uint32_t)length, .tail = tail_of(text, length)};
    if (!vec_grow((void **)&pool->entries, &pool->capacity, pool->count, 1, sizeof entry))
        return error_memory();
    pool->entries[pool->count++] = entry;
    return NULL;
}

/* Orders strings by their bytes from the last to the first, longer ones before those that are their ends. */
static int compare_tails(const void *left, const void *right)
{
    const struct string_pool_entry *a = *(struct string_pool_entry *const *)left;
    const struct string_pool_entry *b = *(struct string_pool_entry *const *)right;
    if (a->tail != b->tail)
        return a->tail < b->tail ? 1 : -1;
    uint32_t common = a->length < b->length ? a->length : b->length;
    for (uint32_t i = 8; i < common; i++) {
        uint8_t byte_a = (uint8_t)a->text[a->length - 1 - i], byte_b = (uint8_t)b->text[b->length - 1 - i];
        if (byte_a != byte_b)
            return byte_a < byte_b ? 1 : -1;
    }
    return a->length == b->length ? 0 : a->length < b->length ? 1 : -1;
}

static bool is_end_of(const struct string_pool_entry *end, const struct string_pool_entry *whole)
{
    return end->length <= whole->length &&
           memcmp(whole->text + whole->length - end->length, end->text, end->length) == 0;
}

/* Gives each entry its place, in sorted order: a string that is no end of the one before it starts a new one.
 * Sets *size. */
static struct crateld_error *place_strings(struct string_pool_entry **sorted, size_t count, uint32_t *size)
{
    uint64_t end = 1;
    const struct string_pool_entry *whole = NULL;
    for (size_t i = 0; i < count; i++) {
        struct string_pool_entry *entry = sorted[i];
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
    *size = (uint32_t)end;
    return NULL;
}

struct crateld_error *string_pool_lay_out(struct string_pool *pool)
{
    struct string_pool_entry **sorted AUTO_FREE = calloc(pool->count + 1, sizeof *sorted);
    if (!sorted)
        return error_memory();
    for (size_t i = 0; i < pool->count; i++)
        sorted[i] = &pool->entries[i];
    qsort(sorted, pool->count, sizeof *sorted, compare_tails);
    TRY(place_strings(sorted, pool->count, &pool->size));
    pool->bytes = calloc(pool->size, 1);
    if (!pool->bytes)
        return error_memory();
    for (size_t i = 0; i < pool->count; i++)
        memcpy(pool->bytes + pool->entries[i].off, pool->entries[i].text, pool->entries[i].length);
    return NULL;
}

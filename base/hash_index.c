#include "base/hash_index.h"

#include <stdlib.h>
#include <string.h>

void hash_index_init(struct hash_index *index)
{
    *index = (struct hash_index){0};
}

void hash_index_deinit(struct hash_index *index)
{
    free(index->slots);
    free(index->hashes);
    *index = (struct hash_index){0};
}

static void enter(struct hash_index_slot *slots, size_t mask, uint64_t hash, uint32_t number)
{
    size_t at = hash & mask;
    while (slots[at].number)
        at = (at + 1) & mask;
    slots[at] = (struct hash_index_slot){(uint32_t)(hash >> 32), number + 1};
}

bool hash_index_reserve(struct hash_index *index, size_t count)
{
    if (count >= UINT32_MAX / 4)
        return false;
    size_t slot_count = 16;
    while (slot_count * 5 < count * 8) /* at most 5/8 full */
        slot_count *= 2;
    if (index->slots && slot_count <= index->mask + 1)
        return true;
    uint64_t *hashes = realloc(index->hashes, slot_count * sizeof *hashes);
    if (!hashes)
        return false;
    index->hashes = hashes;
    index->hash_capacity = slot_count;
    struct hash_index_slot *slots = calloc(slot_count, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < index->count; i++)
        enter(slots, slot_count - 1, hashes[i], (uint32_t)i);
    free(index->slots);
    index->slots = slots;
    index->mask = slot_count - 1;
    return true;
}

uint32_t hash_index_next(const struct hash_index *index, uint64_t hash, size_t *cursor)
{
    if (!index->slots)
        return HASH_INDEX_NONE;
    for (size_t step = *cursor;; step++) {
        struct hash_index_slot slot = index->slots[(hash + step) & index->mask];
        if (!slot.number)
            return HASH_INDEX_NONE;
        if (slot.tag == (uint32_t)(hash >> 32)) {
            *cursor = step + 1;
            return slot.number - 1;
        }
    }
}

bool hash_index_add(struct hash_index *index, uint64_t hash)
{
    if (!hash_index_reserve(index, index->count + 1))
        return false;
    index->hashes[index->count] = hash;
    enter(index->slots, index->mask, hash, (uint32_t)index->count);
    index->count++;
    return true;
}

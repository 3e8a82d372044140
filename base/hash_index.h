/* An open-addressing index from 64-bit hashes to 32-bit numbers. The caller owns the things that are numbered
 * and compares them, so the index works for any key. */
#ifndef BASE_HASH_INDEX_H
#define BASE_HASH_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_index_slot {
    uint32_t tag;    /* high half of the hash */
    uint32_t number; /* what it stands for, + 1; 0 is an empty slot */
};

struct hash_index {
    struct hash_index_slot *slots; /* owned; a power of two of them, or none */
    size_t mask;                   /* number of slots - 1 */
    size_t count;
    uint64_t *hashes; /* owned; by insertion: needed to grow */
    size_t hash_capacity;
};

enum { HASH_INDEX_NONE = UINT32_MAX };

void hash_index_init(struct hash_index *index);
void hash_index_deinit(struct hash_index *index);

/* Makes room for `count` entries in all; false without memory. */
bool hash_index_reserve(struct hash_index *index, size_t count) __attribute__((warn_unused_result));

/* Walks the numbers entered under `hash`: start with *cursor = 0; HASH_INDEX_NONE ends the walk. A number whose
 * hash differs may be among them (the caller compares keys). */
uint32_t hash_index_next(const struct hash_index *index, uint64_t hash, size_t *cursor);

/* Gets what hash_index_next() will look at into the processor's cache. */
static inline void hash_index_prefetch(const struct hash_index *index, uint64_t hash)
{
    if (index->slots)
        __builtin_prefetch(&index->slots[hash & index->mask]);
}

/* Enters the next number, which is the count of entries before the call, under `hash`; false without memory. */
bool hash_index_add(struct hash_index *index, uint64_t hash) __attribute__((warn_unused_result));

#endif

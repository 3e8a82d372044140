#include "loader/vague.h"

#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

void vague_table_init(struct vague_table *table)
{
    *table = (struct vague_table){0};
    hash_index_init(&table->index);
}

void vague_table_deinit(struct vague_table *table)
{
    hash_index_deinit(&table->index);
    free(table->at);
    *table = (struct vague_table){0};
}

struct crateld_error *vague_table_enter(struct vague_table *table, uint64_t hash,
                                        const struct vague_definition *candidate, struct vague_definition *ret)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&table->index, hash, &cursor)) != HASH_INDEX_NONE) {
        if (strcmp(table->at[i].name, candidate->name) == 0) {
            *ret = table->at[i];
            return NULL;
        }
    }
    if (!VEC_RESERVE(table, 1) || !hash_index_add(&table->index, hash))
        return error_memory();
    table->at[table->count++] = *candidate;
    *ret = *candidate;
    return NULL;
}

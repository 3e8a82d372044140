#include "arena.h"

#include <stdlib.h>

struct block {
    struct block *next;
    size_t size;
};

struct arena {
    struct block *blocks;
    size_t used;
};

struct arena *arena_create(void)
{
    return calloc(1, sizeof(struct arena));
}

void *arena_take(struct arena *arena, size_t size)
{
    struct block *block = calloc(1, sizeof *block + size);
    if (!block)
        abort();
    block->size = size;
    block->next = arena->blocks;
    arena->blocks = block;
    arena->used += size;
    return block + 1;
}

size_t arena_used(const struct arena *arena)
{
    return arena->used;
}

void arena_destroy(struct arena *arena)
{
    while (arena->blocks) {
        struct block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    free(arena);
}

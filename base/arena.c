#include "base/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ARENA_ALIGN = 16,
    ARENA_FIRST_SIZE = 8 << 10, /* most arenas stay small; each further block is twice as big */
    ARENA_BLOCK_SIZE = 256 << 10,
    ARENA_HUGE_SIZE = 2 << 20, /* blocks of large arenas: a huge page of x86-64 and of aarch64 */
};

struct arena_block {
    struct arena_block *older;
    _Alignas(ARENA_ALIGN) char bytes[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

void arena_deinit(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks; block;) {
        struct arena_block *older = block->older;
        free(block);
        block = older;
    }
    *arena = (struct arena){0};
}

/* Gets a block of ARENA_HUGE_SIZE, which the kernel may provide as a whole. */
static struct arena_block *allocate_huge(void)
{
    void *block = aligned_alloc(ARENA_HUGE_SIZE, ARENA_HUGE_SIZE);
    if (block)
        (void)madvise(block, ARENA_HUGE_SIZE, MADV_HUGEPAGE);
    return block;
}

/* Takes `size` bytes; *is_zeroed tells whether they are zero. */
static void *take(struct arena *arena, size_t size, bool wants_zeroed, bool *is_zeroed)
{
    *is_zeroed = false;
    if (size > SIZE_MAX - sizeof(struct arena_block) - ARENA_ALIGN)
        return NULL;
    size = size ? (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    if (size <= arena->left) {
        void *result = arena->next;
        arena->next += size;
        arena->left -= size;
        return result;
    }
    /* Big requests get a block of their own, and the current block stays current. */
    if (!arena->block_size)
        arena->block_size = ARENA_FIRST_SIZE;
    bool is_big = size > arena->block_size / 4;
    size_t block_size = sizeof(struct arena_block) + (is_big ? size : arena->block_size);
    bool is_huge = !is_big && arena->block_size == ARENA_HUGE_SIZE - sizeof(struct arena_block);
    *is_zeroed = is_big && wants_zeroed;
    struct arena_block *block = is_huge ? allocate_huge() : *is_zeroed ? calloc(1, block_size) : malloc(block_size);
    if (!block)
        return NULL;
    block->older = arena->blocks;
    arena->blocks = block;
    if (is_big)
        return block->bytes;
    arena->next = block->bytes + size;
    arena->left = arena->block_size - size;
    if (arena->block_size < ARENA_BLOCK_SIZE)
        arena->block_size *= 2;
    else if (arena->is_large)
        arena->block_size = ARENA_HUGE_SIZE - sizeof(struct arena_block);
    return block->bytes;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    bool is_zeroed;
    void *result = take(arena, size, true, &is_zeroed);
    if (result && !is_zeroed)
        memset(result, 0, size ? size : 1);
    return result;
}

void *arena_alloc_bytes(struct arena *arena, size_t size)
{
    bool is_zeroed;
    return take(arena, size, false, &is_zeroed);
}

void *arena_alloc_array(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return arena_alloc(arena, bytes);
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
    char *copy = length == SIZE_MAX ? NULL : arena_alloc(arena, length + 1);
    if (copy)
        memcpy(copy, text, length);
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : arena_alloc(arena, (size_t)length + 1);
    if (!text)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

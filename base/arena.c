#define _GNU_SOURCE
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
    PAGE_MASK = 4095,
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

void arena_reserve(struct arena *arena, size_t size)
{
    struct arena_block *block = size > arena->left ? malloc(sizeof *block + size) : NULL;
    if (!block)
        return;
    block->older = arena->blocks;
    arena->blocks = block;
    arena->next = block->bytes;
    arena->left = size;
    /* One call in place of a page fault for each page. It may fail (before Linux 5.14). */
    uintptr_t start = ((uintptr_t)block->bytes + PAGE_MASK) & ~(uintptr_t)PAGE_MASK;
    uintptr_t end = ((uintptr_t)block->bytes + size) & ~(uintptr_t)PAGE_MASK;
    if (start < end)
        (void)madvise((void *)start, end - start, MADV_POPULATE_WRITE);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct arena_block) - ARENA_ALIGN)
        return NULL;
    size = size ? (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    if (size <= arena->left) {
        void *result = arena->next;
        arena->next += size;
        arena->left -= size;
        return memset(result, 0, size);
    }
    /* Big requests get a block of their own, and the current block stays current. */
    if (!arena->block_size)
        arena->block_size = ARENA_FIRST_SIZE;
    bool is_big = size > arena->block_size / 4;
    size_t block_size = is_big ? size : arena->block_size;
    struct arena_block *block = is_big ? calloc(1, sizeof *block + size) : malloc(sizeof *block + block_size);
    if (!block)
        return NULL;
    block->older = arena->blocks;
    arena->blocks = block;
    if (is_big)
        return block->bytes;
    if (arena->block_size < ARENA_BLOCK_SIZE)
        arena->block_size *= 2;
    arena->next = block->bytes + size;
    arena->left = block_size - size;
    return memset(block->bytes, 0, size);
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

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
    ARENA_LINE_SIZE = 64,       /* of the processor's cache: what is as big begins with one */
    ARENA_FIRST_SIZE = 8 << 10, /* most arenas stay small; each further block is twice as big */
    ARENA_BLOCK_SIZE = 256 << 10,
    ARENA_HUGE_SIZE = 2 << 20, /* blocks of large arenas: a huge page of x86-64 and of aarch64 */
    PAGE_MASK = 4095,
};

struct arena_block {
    struct arena_block *older;
    size_t mapped_size; /* of the mapping that it is; 0: it is malloc'ed */
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
        if (block->mapped_size)
            munmap(block, block->mapped_size);
        else
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
    block->mapped_size = 0;
    block->older = arena->blocks;
    arena->blocks = block;
    arena->next = block->bytes;
    arena->left = size;
    arena->is_zeroed = false;
    /* One call in place of a page fault for each page. It may fail (before Linux 5.14). */
    uintptr_t start = ((uintptr_t)block->bytes + PAGE_MASK) & ~(uintptr_t)PAGE_MASK;
    uintptr_t end = ((uintptr_t)block->bytes + size) & ~(uintptr_t)PAGE_MASK;
    if (start < end)
        (void)madvise((void *)start, end - start, MADV_POPULATE_WRITE);
}

/* Maps a block of ARENA_HUGE_SIZE, aligned to that: the kernel may provide it as a whole. NULL without memory. */
static struct arena_block *map_huge(void)
{
    uint8_t *room = mmap(NULL, 2 * ARENA_HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)room & (ARENA_HUGE_SIZE - 1);
    if (before)
        munmap(room, before);
    munmap(room + before + ARENA_HUGE_SIZE, ARENA_HUGE_SIZE - before);
    struct arena_block *block = (struct arena_block *)(void *)(room + before);
    (void)madvise(block, ARENA_HUGE_SIZE, MADV_HUGEPAGE);
    block->mapped_size = ARENA_HUGE_SIZE;
    return block;
}

/* The bytes from `at` to where something of `size` bytes begins. */
static size_t padding(const char *at, size_t size)
{
    return size < ARENA_LINE_SIZE ? 0 : -(uintptr_t)at & (ARENA_LINE_SIZE - 1);
}

/* Makes the block for a request of `size` bytes that the current one has no room for, and returns the first of its
 * bytes; *is_zeroed tells whether they are zero. Big requests get a block of their own, and the current block stays
 * current. */
static void *add_block(struct arena *arena, size_t size, bool wants_zeroed, bool *is_zeroed)
{
    if (!arena->block_size)
        arena->block_size = ARENA_FIRST_SIZE;
    bool is_big = size > arena->block_size / 4;
    bool is_huge = !is_big && arena->block_size == ARENA_HUGE_SIZE;
    size_t block_size = is_big ? sizeof(struct arena_block) + ARENA_LINE_SIZE + size : arena->block_size;
    *is_zeroed = is_huge || (is_big && wants_zeroed);
    struct arena_block *block = is_huge ? map_huge() : *is_zeroed ? calloc(1, block_size) : malloc(block_size);
    if (!block)
        return NULL;
    if (!is_huge)
        block->mapped_size = 0;
    block->older = arena->blocks;
    arena->blocks = block;
    char *first = block->bytes + padding(block->bytes, size);
    if (is_big)
        return first;
    arena->next = first + size;
    arena->left = (size_t)((char *)block + block_size - arena->next);
    arena->is_zeroed = is_huge;
    if (arena->block_size < (arena->is_large ? ARENA_HUGE_SIZE : ARENA_BLOCK_SIZE))
        arena->block_size *= 2;
    return first;
}

static void *take(struct arena *arena, size_t size, bool wants_zeroed, bool *is_zeroed)
{
    if (size > SIZE_MAX - sizeof(struct arena_block) - ARENA_LINE_SIZE - ARENA_ALIGN)
        return NULL;
    size = size ? (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    size_t before = padding(arena->next, size);
    if (size + before > arena->left)
        return add_block(arena, size, wants_zeroed, is_zeroed);
    void *result = arena->next + before;
    arena->next += before + size;
    arena->left -= before + size;
    *is_zeroed = arena->is_zeroed;
    return result;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    bool is_zeroed = false;
    void *result = take(arena, size, true, &is_zeroed);
    return result && !is_zeroed ? memset(result, 0, size ? size : 1) : result;
}

void *arena_alloc_bytes(struct arena *arena, size_t size)
{
    bool is_zeroed = false;
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

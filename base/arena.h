/* An arena: allocations that live and die together. Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* owned; newest first */
    char *next;                 /* free bytes of the newest block */
    size_t left;
    bool is_zeroed;    /* they are zero */
    size_t block_size; /* of the next block; 0: none yet */
    bool is_large;     /* may be set at first: grows in blocks of huge pages, when it has become large */
};

/* An arena that owns nothing yet; never fails. */
void arena_init(struct arena *arena);

/* Releases everything that was allocated from `arena`. */
void arena_deinit(struct arena *arena);

/* Makes room for `size` bytes in one go, of memory that is there: for a caller that is about to need it. Without memory
 * nothing happens. */
void arena_reserve(struct arena *arena, size_t size);

/* `size` zeroed bytes aligned for any type (16); NULL without memory. Size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((malloc, warn_unused_result));

/* The same, of any contents. */
void *arena_alloc_bytes(struct arena *arena, size_t size) __attribute__((malloc, warn_unused_result));

/* `count` zeroed elements of `size` bytes; NULL without memory or when the product overflows. */
void *arena_alloc_array(struct arena *arena, size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* A NUL-terminated copy of the `length` bytes at `text`; NULL without memory. */
char *arena_strndup(struct arena *arena, const char *text, size_t length) __attribute__((warn_unused_result));

/* A printf-formatted string; NULL without memory. */
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

#endif

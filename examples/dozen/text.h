/* A file in memory. */
#pragma once

#include "arena.h"
#include <stddef.h>
struct text {
    const char *at;
    size_t size;
};
struct text text_read(struct arena *arena, const char *path);

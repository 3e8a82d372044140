#include "text.h"

#include <stdio.h>
#include <stdlib.h>

struct text text_read(struct arena *arena, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(1);
    }
    size_t capacity = 1 << 20;
    char *at = arena_take(arena, capacity);
    size_t size = fread(at, 1, capacity - 1, file);
    fclose(file);
    return (struct text){at, size};
}

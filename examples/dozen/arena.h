/* Memory that is released as a whole. */
#pragma once

#include <stddef.h>
struct arena;
struct arena *arena_create(void);
void *arena_take(struct arena *arena, size_t size);
size_t arena_used(const struct arena *arena);
void arena_destroy(struct arena *arena);

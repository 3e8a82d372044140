/* Words and their counts. */
#pragma once

#include "arena.h"
#include <stddef.h>
struct entry {
    const char *word;
    long count;
};
struct table {
    struct entry *entries;
    size_t count, capacity;
};
void table_add(struct table *table, const char *word, long by);
extern long table_additions;

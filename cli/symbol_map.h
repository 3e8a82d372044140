/* What is where in one crate: names by rva. */
#ifndef CLI_SYMBOL_MAP_H
#define CLI_SYMBOL_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum symbol_map_kind {
    SYMBOL_MAP_FUNCTION,
    SYMBOL_MAP_DATA,
    SYMBOL_MAP_ENTRY_STUB,
    SYMBOL_MAP_STUB_PLAIN, /* import stub of plain code */
    SYMBOL_MAP_STUB_TOC,
};

struct symbol_map_entry {
    uint32_t rva;
    uint32_t kind;    /* enum symbol_map_kind */
    uint64_t size;    /* bytes; 0: not known */
    const char *name; /* borrowed from the crate's file */
};

struct symbol_map {
    struct symbol_map_entry *at; /* owned */
    size_t count;
    size_t capacity;
};

/* Adds an entry; after the last one comes symbol_map_sort(). A zeroed map is empty; free(map.at) releases it.
 * Error: MEMORY. */
MUST_CHECK struct crateld_error *symbol_map_add(struct symbol_map *map, struct symbol_map_entry entry);

/* Sorts by rva, and removes doubles. */
void symbol_map_sort(struct symbol_map *map);

/* The entry that `rva` lies in: the last one that begins at or before it and, if it has a size, does not end
 * before it. NULL if there is none. Logarithmic. */
const struct symbol_map_entry *symbol_map_find(const struct symbol_map *map, uint64_t rva);

#endif

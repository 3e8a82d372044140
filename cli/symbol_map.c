#include "cli/symbol_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

struct crateld_error *symbol_map_add(struct symbol_map *map, struct symbol_map_entry entry)
{
    return VEC_PUSH(map, entry) ? NULL : error_memory();
}

static int compare_entries(const void *left, const void *right)
{
    const struct symbol_map_entry *a = left, *b = right;
    if (a->rva != b->rva)
        return a->rva < b->rva ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    return strcmp(a->name, b->name);
}

void symbol_map_sort(struct symbol_map *map)
{
    if (!map->count)
        return;
    qsort(map->at, map->count, sizeof *map->at, compare_entries);
    size_t kept = 1;
    for (size_t i = 1; i < map->count; i++) {
        if (compare_entries(&map->at[kept - 1], &map->at[i]) != 0)
            map->at[kept++] = map->at[i];
        else if (!map->at[kept - 1].size)
            map->at[kept - 1].size = map->at[i].size;
    }
    map->count = kept;
}

const struct symbol_map_entry *symbol_map_find(const struct symbol_map *map, uint64_t rva)
{
    size_t low = 0, high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->at[middle].rva <= rva)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low)
        return NULL;
    /* Of those with one rva the first: functions before stubs, names in their order. */
    size_t found = low - 1;
    while (found && map->at[found - 1].rva == map->at[found].rva)
        found--;
    const struct symbol_map_entry *entry = &map->at[found];
    return !entry->size || rva - entry->rva < entry->size || rva == entry->rva ? entry : NULL;
}

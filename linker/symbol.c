#include "linker/symbol.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/vec.h"

void link_symbol_table_init(struct link_symbol_table *table)
{
    *table = (struct link_symbol_table){0};
    hash_index_init(&table->index);
}

void link_symbol_table_deinit(struct link_symbol_table *table)
{
    hash_index_deinit(&table->index);
    free(table->at);
    *table = (struct link_symbol_table){0};
}

static struct link_symbol *find(const struct link_symbol_table *table, const char *name, uint64_t hash)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&table->index, hash, &cursor)) != HASH_INDEX_NONE)
        if (table->at[i]->hash == hash && !strcmp(table->at[i]->name, name))
            return table->at[i];
    return NULL;
}

struct link_symbol *link_symbol_table_find(const struct link_symbol_table *table, const char *name)
{
    return find(table, name, hash_string(name));
}

struct link_symbol *link_symbol_table_enter(struct link_symbol_table *table, struct arena *arena,
                                            const char *name, uint64_t hash)
{
    struct link_symbol *symbol = find(table, name, hash);
    if (symbol)
        return symbol;
    if (!VEC_RESERVE(table, 1) || !(symbol = arena_alloc(arena, sizeof *symbol)))
        return NULL;
    symbol->name = name;
    symbol->hash = hash;
    symbol->binding = STB_WEAK;
    symbol->provider = UINT32_MAX;
    if (!hash_index_add(&table->index, hash))
        return NULL;
    table->at[table->count++] = symbol;
    return symbol;
}

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

bool link_versioned_name_read(struct arena *arena, const char *text, struct link_versioned_name *ret)
{
    const char *at = strchr(text, '@');
    *ret = (struct link_versioned_name){.name = text, .is_default = true};
    if (!at || at == text || !at[1] || !strcmp(at, "@@"))
        return true;
    ret->is_default = at[1] == '@';
    ret->version = at + (ret->is_default ? 2 : 1);
    ret->name = arena_strndup(arena, text, (size_t)(at - text));
    return ret->name != NULL;
}

static bool is_same_version(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static struct link_symbol *find(const struct link_symbol_table *table, const char *name, const char *bound_version,
                                uint64_t hash)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&table->index, hash, &cursor)) != HASH_INDEX_NONE) {
        struct link_symbol *symbol = table->at[i];
        if (symbol->hash == hash && !strcmp(symbol->name, name) &&
            is_same_version(symbol->bound_version, bound_version))
            return symbol;
    }
    return NULL;
}

struct link_symbol *link_symbol_table_find(const struct link_symbol_table *table, const char *name)
{
    return find(table, name, NULL, hash_string(name));
}

struct link_symbol *link_symbol_table_enter(struct link_symbol_table *table, struct arena *arena, const char *name,
                                            const char *bound_version)
{
    return link_symbol_table_enter_hashed(table, arena, name, hash_string(name), bound_version);
}

struct link_symbol *link_symbol_table_enter_hashed(struct link_symbol_table *table, struct arena *arena,
                                                   const char *name, uint64_t hash, const char *bound_version)
{
    struct link_symbol *symbol = find(table, name, bound_version, hash);
    if (symbol)
        return symbol;
    if (!VEC_RESERVE(table, 1) || !(symbol = arena_alloc(arena, sizeof *symbol)))
        return NULL;
    symbol->name = name;
    symbol->bound_version = bound_version;
    symbol->hash = hash;
    symbol->binding = STB_WEAK;
    symbol->provider = UINT32_MAX;
    if (!hash_index_add(&table->index, hash))
        return NULL;
    table->has_bound |= bound_version != NULL;
    table->at[table->count++] = symbol;
    return symbol;
}

#include "linker/stub.h"

#include "base/hash.h"

struct crateld_error *link_stub_check(struct link *link)
{
    if (!link->options->is_stub)
        return NULL;
    bool is_good = link->providers.count && !link->objects.count && !link->archives.count;
    for (size_t i = 0; i < link->providers.count; i++) {
        struct link_provider *provider = link->providers.at[i];
        is_good &= provider->kind == LINK_PROVIDER_ELF;
        provider->is_used = !provider->is_as_needed;
    }
    if (is_good)
        return NULL;
    return error_create(CRATELD_ERROR_USAGE, "%s: wanted an ELF shared library to make a stub of",
                        link->options->arguments[0].value);
}

/* What an export of the library is; false for what nobody can link to. */
static bool export_kind_of(const struct shared_library *library, const struct shared_symbol *symbol, uint8_t *ret)
{
    struct shared_symbol linked;
    /* Absolute are the names of versions, and _edata and its kin. */
    if (!symbol->is_defined || symbol->is_absolute || !shared_library_find(library, symbol->name, NULL, &linked) ||
        linked.idx != symbol->idx)
        return false;
    switch (symbol->type) {
    case STT_FUNC:
    case STT_GNU_IFUNC:
        *ret = CRATE_EXPORT_FUNCTION_PLAIN;
        return true;
    case STT_OBJECT:
    case STT_COMMON:
        *ret = CRATE_EXPORT_DATA;
        return true;
    case STT_TLS:
        *ret = CRATE_EXPORT_TLS;
        return true;
    case STT_NOTYPE:
        *ret = shared_library_is_executable(library, symbol->value) ? CRATE_EXPORT_FUNCTION_PLAIN : CRATE_EXPORT_DATA;
        return true;
    default:
        return false;
    }
}

/* Whether an earlier library of the link exports the name: a link finds that one. */
static bool is_taken(const struct link *link, size_t provider, const char *name)
{
    struct shared_symbol found;
    for (size_t i = 0; i < provider; i++)
        if (link->providers.at[i]->is_used && shared_library_find(link->providers.at[i]->library, name, NULL, &found))
            return true;
    return false;
}

static struct crateld_error *add_symbol(struct crate_tables *tables, const struct link_provider *provider,
                                        const struct shared_symbol *symbol, uint8_t kind)
{
    struct crate_import import = {
        .hash = hash_string(symbol->name),
        .slot = CRATE_NONE,
        .kind = CRATE_IMPORT_FORWARD,
        .needed = provider->needed - 1,
    };
    TRY(crate_tables_string(tables, symbol->name, &import.name));
    if (symbol->version)
        TRY(crate_tables_string(tables, symbol->version, &import.version));
    struct crate_export export = {
        .hash = import.hash,
        .name = import.name,
        .size = symbol->size > UINT32_MAX ? UINT32_MAX : (uint32_t)symbol->size,
        .kind = kind,
        .flags = CRATE_EXPORT_FLAG_FORWARD,
        .import = (uint32_t)tables->imports.count,
    };
    return VEC_PUSH(&tables->imports, import) && VEC_PUSH(&tables->exports, export) ? NULL : error_memory();
}

static struct crateld_error *add_library(struct link *link, struct crate_tables *tables, size_t provider_index)
{
    const struct link_provider *provider = link->providers.at[provider_index];
    for (uint32_t i = 1; i < provider->library->symbol_count; i++) {
        struct shared_symbol symbol;
        uint8_t kind;
        if (shared_library_symbol(provider->library, i, &symbol) && export_kind_of(provider->library, &symbol, &kind) &&
            !is_taken(link, provider_index, symbol.name))
            TRY(add_symbol(tables, provider, &symbol, kind));
    }
    return NULL;
}

struct crateld_error *link_stub_tables(struct link *link, struct crate_tables *tables)
{
    for (size_t i = 0; i < link->providers.count; i++)
        if (link->providers.at[i]->is_used)
            TRY(add_library(link, tables, i));
    if (tables->exports.count)
        return NULL;
    return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: exports nothing", link->options->arguments[0].value);
}

#include "linker/wanted.h"

#include <stdio.h>
#include <string.h>

#include "linker/own.h"
#include "linker/resolve.h"

struct crateld_error *link_want(struct link *link, struct link_symbol *symbol)
{
    if (symbol->is_queued)
        return NULL;
    symbol->is_queued = true;
    return VEC_PUSH(&link->wanted, symbol) ? NULL : error_memory();
}

/* Archives. */

/* Whether `text`, as an archive's index has it ("f", "f@@V", "f@V"), is a definition of `symbol`. */
static bool is_definition_of(const char *text, const struct link_symbol *symbol)
{
    size_t length = strlen(symbol->name);
    if (strncmp(text, symbol->name, length) != 0)
        return false;
    const char *rest = text + length;
    if (!symbol->bound_version)
        return !*rest || (rest[0] == '@' && rest[1] == '@');
    if (*rest != '@')
        return false;
    return !strcmp(rest + (rest[1] == '@' ? 2 : 1), symbol->bound_version);
}

/* Bytes and name of member `idx`, for the link to read it. */
static struct crateld_error *open_member(struct link *link, struct link_archive *archive, uint32_t idx,
                                         struct span *data, const char **path)
{
    TRY(archive_member_data(&archive->archive, idx, data));
    *path = arena_printf(&link->arena, "%s(%s)", archive->archive.path, archive->archive.members[idx].name);
    return *path ? NULL : error_memory();
}

/* Takes member `idx` of an archive into the link. */
static struct crateld_error *take_member(struct link *link, struct link_archive *archive, uint32_t idx)
{
    struct span data;
    const char *path;
    archive->is_taken[idx] = true;
    TRY(open_member(link, archive, idx, &data, &path));
    if (link->options->is_verbose)
        fprintf(stderr, "%s\n", path);
    return link_add_object(link, path, data);
}

/* Whether symbol `i` of an object is a variable with an initial value, and is called like `symbol`. */
static bool is_initialised(const struct link_object *object, uint32_t i, const struct link_symbol *symbol)
{
    uint32_t section = link_object_symbol_section(object, i);
    return section != SHN_UNDEF && section != LINK_SHN_COMMON &&
           ELF64_ST_BIND(object->elf_symbols[i].st_info) == STB_GLOBAL &&
           ELF64_ST_TYPE(object->elf_symbols[i].st_info) != STT_FUNC &&
           is_definition_of(link_object_symbol_name(object, i), symbol);
}

/* Whether member `idx` is worth taking for a common symbol: not when it has but a common symbol, or a function, of that
 * name (as GNU ld decides: bfd/elflink.c, elf_link_is_defined_archive_symbol). */
static struct crateld_error *is_worth_taking(struct link *link, struct link_archive *archive, uint32_t idx,
                                             const struct link_symbol *symbol, bool *ret)
{
    struct span data;
    const char *path;
    struct link_object object;
    *ret = symbol->state != LINK_SYMBOL_COMMON;
    if (*ret)
        return NULL;
    TRY(open_member(link, archive, idx, &data, &path));
    TRY(link_object_align(&link->arena, &data));
    TRY(link_object_read(&link->arena, path, data, link->machine->elf_machine, &object));
    for (uint32_t i = object.first_global; i < object.symbol_count && !*ret; i++)
        *ret = is_initialised(&object, i, symbol);
    return NULL;
}

/* Takes the first member that the archive's index names for `symbol`; *ret tells whether there is one. */
static struct crateld_error *search_archive(struct link *link, struct link_archive *archive,
                                            const struct link_symbol *symbol, bool *ret)
{
    size_t cursor = 0;
    uint32_t i;
    *ret = false;
    while ((i = hash_index_next(&archive->by_name, symbol->hash, &cursor)) != HASH_INDEX_NONE) {
        const struct archive_symbol *known = &archive->archive.symbols[i];
        if (archive->is_taken[known->member_idx] || !is_definition_of(known->name, symbol))
            continue;
        TRY(is_worth_taking(link, archive, known->member_idx, symbol, ret));
        if (*ret)
            return take_member(link, archive, known->member_idx);
    }
    return NULL;
}

/* Providers. */

static const uint8_t export_types[] = {
    [CRATE_EXPORT_FUNCTION_PLAIN] = STT_FUNC, [CRATE_EXPORT_FUNCTION_TOC] = STT_FUNC,
    [CRATE_EXPORT_DATA] = STT_OBJECT,         [CRATE_EXPORT_TLS] = STT_TLS,
    [CRATE_EXPORT_ABSOLUTE] = STT_NOTYPE,
};

/* Whether the provider defines `symbol`; if so *found tells what it is. */
static struct crateld_error *find_in_provider(struct link *link, struct link_provider *provider,
                                              const struct link_symbol *symbol, struct shared_symbol *found, bool *ret)
{
    *ret = false;
    if (provider->kind == LINK_PROVIDER_ELF) {
        *ret = shared_library_find(provider->library, symbol->name, symbol->bound_version, found);
    } else if (provider->kind == LINK_PROVIDER_CRATE) {
        const struct source_export *export;
        TRY(crate_source_find(&link->arena, &provider->crate, symbol->hash, symbol->name, &export));
        *ret = export;
        if (!*ret)
            return NULL;
        *found = (struct shared_symbol){.type = export_types[export->kind], .size = export->size};
        if (export->flags & CRATE_EXPORT_FLAG_FORWARD) /* the library may have the version that is asked for */
            found->version = symbol->bound_version;
    }
    return NULL;
}

/* The first of the crates of a source that is known to export `symbol`; UINT32_MAX: none does. */
static uint32_t find_known(const struct link *link, const struct link_source *source, const struct link_symbol *symbol)
{
    uint32_t first = UINT32_MAX, i;
    size_t cursor = 0;
    while ((i = hash_index_next(&link->known_export_names, symbol->hash, &cursor)) != HASH_INDEX_NONE) {
        const struct link_known_export *known = &link->known_exports.at[i];
        if (known->provider >= source->index && known->provider - source->index < source->count &&
            known->provider < first && !strcmp(known->name, symbol->name))
            first = known->provider;
    }
    return first;
}

/* Makes the filter of what all crates export, unless it is there. */
static struct crateld_error *filter_exports(struct link *link)
{
    size_t count = 0;
    if (link->exported)
        return NULL;
    for (size_t i = 0; i < link->providers.count; i++)
        if (link->providers.at[i]->kind == LINK_PROVIDER_CRATE)
            count += link->providers.at[i]->crate.export_total;
    link->exported = name_filter_create(&link->arena, count);
    if (!link->exported)
        return error_memory();
    for (size_t i = 0; i < link->providers.count; i++)
        if (link->providers.at[i]->kind == LINK_PROVIDER_CRATE)
            for (uint32_t k = 0; k < link->providers.at[i]->crate.export_total; k++)
                name_filter_add(link->exported, link->providers.at[i]->crate.hashes[k]);
    return NULL;
}

/* Finds out which of the source's crates may define `symbol`: *count from *first on. */
static struct crateld_error *narrow(struct link *link, const struct link_source *source,
                                    const struct link_symbol *symbol, uint32_t *first, uint32_t *count)
{
    uint32_t hash = (uint32_t)(symbol->hash >> 32);
    if (name_filter_may_have(link->expected, hash)) {
        *first = find_known(link, source, symbol);
        *count = *first != UINT32_MAX;
        return NULL;
    }
    TRY(filter_exports(link));
    if (!name_filter_may_have(link->exported, hash))
        *count = 0;
    return NULL;
}

struct crateld_error *link_source_find(struct link *link, const struct link_source *source,
                                       const struct link_symbol *symbol, struct shared_symbol *found, uint32_t *ret)
{
    uint32_t first = source->index, count = source->count;
    *ret = UINT32_MAX;
    if (source->is_crates)
        TRY(narrow(link, source, symbol, &first, &count));
    for (uint32_t i = 0; i < count && *ret == UINT32_MAX; i++) {
        bool is_found = false;
        TRY(find_in_provider(link, link->providers.at[first + i], symbol, found, &is_found));
        if (is_found)
            *ret = first + i;
    }
    return NULL;
}

/* Whether `symbol` may come from another file than the link's objects, as far as it itself says. */
static bool can_import(const struct link_symbol *symbol)
{
    return symbol->visibility == STV_DEFAULT && symbol->state != LINK_SYMBOL_COMMON && symbol->is_referenced;
}

static void import_from(struct link_symbol *symbol, uint32_t provider, const struct shared_symbol *found)
{
    symbol->state = LINK_SYMBOL_IMPORTED;
    symbol->provider = provider;
    symbol->type = found->type;
    symbol->size = found->size;
    symbol->version = found->version;
}

/* Looks for one symbol in the sources, in their order. */
static struct crateld_error *search_sources(struct link *link, struct link_symbol *symbol)
{
    /* What the linker itself defines old libraries export as well (_end, _edata). */
    bool is_own = link->sources.count && link_own_is_name(symbol->name);
    for (size_t i = 0; i < link->sources.count; i++) {
        struct link_source source = link->sources.at[i];
        uint8_t state = symbol->state;
        if (source.is_archive) {
            bool is_found;
            /* A weak reference takes no member, as in every ELF linker (gABI ch. 4); what start files of programs refer
             * to does. */
            if (!symbol->is_strongly_referenced && symbol->state != LINK_SYMBOL_COMMON && symbol != link->entry)
                continue;
            TRY(search_archive(link, link->archives.at[source.index], symbol, &is_found));
            if (is_found && symbol->state != state)
                return NULL;
            continue;
        }
        struct shared_symbol found;
        uint32_t provider;
        if (is_own || !can_import(symbol))
            continue;
        TRY(link_source_find(link, &source, symbol, &found, &provider));
        if (provider == UINT32_MAX)
            continue;
        import_from(symbol, provider, &found);
        return NULL;
    }
    return NULL;
}

/* Whether there may be a better place for the symbol than the one that is known. */
static bool is_open(const struct link *link, const struct link_symbol *symbol)
{
    switch (symbol->state) {
    case LINK_SYMBOL_UNDEFINED:
    case LINK_SYMBOL_COMMON:
        return true;
    case LINK_SYMBOL_IMPORTED:
        return link->providers.at[symbol->provider]->kind != LINK_PROVIDER_DECLARED;
    default:
        return false;
    }
}

struct crateld_error *link_resolve_undefined(struct link *link)
{
    while (link->next_wanted < link->wanted.count) {
        struct link_symbol *symbol = link->wanted.at[link->next_wanted++];
        symbol->is_queued = false;
        if (is_open(link, symbol))
            TRY(search_sources(link, symbol));
    }
    return NULL;
}

#include "linker/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/lto_pass.h"
#include "linker/own.h"

/* How strong a definition is; between two of the same strength the first one stays. */
enum { STRENGTH_NONE, STRENGTH_WEAK, STRENGTH_COMMON, STRENGTH_STRONG };

static int strength_of(uint8_t state, uint8_t binding)
{
    switch (state) {
    case LINK_SYMBOL_DEFINED:
    case LINK_SYMBOL_ABSOLUTE:
        return binding == STB_WEAK ? STRENGTH_WEAK : STRENGTH_STRONG;
    case LINK_SYMBOL_COMMON:
        return STRENGTH_COMMON;
    default:
        return STRENGTH_NONE;
    }
}

/* Drops the members of COMDAT groups whose signature has been seen. */
static struct crateld_error *claim_groups(struct link *link, struct link_object *object)
{
    for (uint32_t i = 0; i < object->group_count; i++) {
        const struct link_group *group = &object->groups[i];
        if (!group->is_comdat)
            continue;
        uint64_t hash = hash_string(group->signature);
        size_t cursor = 0;
        uint32_t seen;
        while ((seen = hash_index_next(&link->groups, hash, &cursor)) != HASH_INDEX_NONE)
            if (!strcmp(link->group_signatures.at[seen], group->signature))
                break;
        if (seen == HASH_INDEX_NONE) {
            if (!hash_index_add(&link->groups, hash) || !VEC_PUSH(&link->group_signatures, group->signature))
                return error_memory();
            continue;
        }
        for (uint32_t k = 0; k < group->member_count; k++) {
            uint32_t member;
            memcpy(&member, group->members + 4 * k, 4);
            object->sections[member].kind = LINK_SECTION_DROPPED;
        }
    }
    return NULL;
}

/* Where ELF symbol `i` of `object` is defined, in the terms of struct link_symbol. */
static void describe_definition(struct link_object *object, uint32_t i, struct link_symbol *ret)
{
    const Elf64_Sym *elf = &object->elf_symbols[i];
    uint32_t section = link_object_symbol_section(object, i);
    ret->object = object;
    ret->value = elf->st_value;
    ret->size = elf->st_size;
    ret->type = ELF64_ST_TYPE(elf->st_info);
    ret->binding = ELF64_ST_BIND(elf->st_info);
    ret->section = NULL;
    if (section == LINK_SHN_ABS) {
        ret->state = LINK_SYMBOL_ABSOLUTE;
    } else if (section == LINK_SHN_COMMON) {
        ret->state = LINK_SYMBOL_COMMON;
    } else if (section == SHN_UNDEF) {
        ret->state = LINK_SYMBOL_UNDEFINED;
    } else {
        ret->section = &object->sections[section];
        /* A symbol of a dropped section refers to the copy that was kept, by name. */
        ret->state = ret->section->kind == LINK_SECTION_DROPPED ? LINK_SYMBOL_UNDEFINED : LINK_SYMBOL_DEFINED;
        /* Assembly may leave types out, or lie. */
        if ((ret->section->flags & SHF_TLS) && ret->type != STT_SECTION)
            ret->type = STT_TLS;
        else if (ret->type == STT_FUNC && !(ret->section->flags & SHF_EXECINSTR))
            ret->type = STT_OBJECT;
    }
}

static void report_duplicate(struct link *link, struct link_symbol *symbol, const struct link_object *second)
{
    if (symbol->is_reported)
        return;
    symbol->is_reported = true;
    link_report(link,
                error_create(CRATELD_ERROR_DUPLICATE, "%s: '%s' is defined here and in %s", second->path,
                             symbol->name, symbol->object ? symbol->object->path : "the linker itself"));
}

/* Lets a definition or reference in an object bear on the global symbol of its name. */
static void merge_global(struct link *link, struct link_symbol *symbol, const struct link_symbol *seen,
                         uint8_t visibility, bool is_weak_reference)
{
    symbol->visibility = link_visibility_merge(symbol->visibility, visibility);
    if (seen->state == LINK_SYMBOL_UNDEFINED) {
        symbol->is_referenced = true;
        symbol->is_strongly_referenced |= !is_weak_reference;
        if (!symbol->object)
            symbol->object = seen->object;
        if (symbol->type == STT_NOTYPE)
            symbol->type = seen->type;
        return;
    }
    int old_strength = strength_of(symbol->state, symbol->binding);
    int new_strength = strength_of(seen->state, seen->binding);
    if (old_strength == STRENGTH_STRONG && new_strength == STRENGTH_STRONG && seen->binding != STB_GNU_UNIQUE)
        report_duplicate(link, symbol, seen->object);
    if (old_strength == STRENGTH_COMMON && new_strength == STRENGTH_COMMON) {
        if (seen->size > symbol->size) {
            symbol->size = seen->size;
            symbol->object = seen->object;
        }
        if (seen->value > symbol->value)
            symbol->value = seen->value;
        return;
    }
    if (new_strength <= old_strength)
        return;
    symbol->state = seen->state;
    symbol->object = seen->object;
    symbol->section = seen->section;
    symbol->value = seen->value;
    symbol->size = seen->size;
    symbol->type = seen->type;
    symbol->binding = seen->binding;
    symbol->version = NULL;
    symbol->provider = UINT32_MAX;
}

struct crateld_error *link_add_symbol(struct link *link, const struct link_symbol *seen, uint8_t visibility,
                                      bool is_weak_reference)
{
    struct link_symbol *symbol =
        link_symbol_table_enter(&link->symbols, &link->arena, seen->name, hash_string(seen->name));
    if (!symbol)
        return error_memory();
    merge_global(link, symbol, seen, visibility, is_weak_reference);
    return NULL;
}

/* An unversioned view of an object's symbol name: "foo@@V1" and "foo@V1" (from .symver) define and ask for
 * foo. */
static const char *strip_version(struct link *link, const char *name, const char **version)
{
    const char *at = strchr(name, '@');
    *version = NULL;
    if (!at || at == name)
        return name;
    *version = at[1] == '@' ? at + 2 : at + 1;
    return arena_strndup(&link->arena, name, (size_t)(at - name));
}

static struct crateld_error *add_global(struct link *link, struct link_object *object, uint32_t i)
{
    const char *version;
    const char *name = strip_version(link, link_object_symbol_name(object, i), &version);
    struct link_symbol seen = {0};
    describe_definition(object, i, &seen);
    struct link_symbol *symbol =
        name ? link_symbol_table_enter(&link->symbols, &link->arena, name, hash_string(name)) : NULL;
    if (!symbol)
        return error_memory();
    object->symbols[i] = symbol;
    bool is_weak = ELF64_ST_BIND(object->elf_symbols[i].st_info) == STB_WEAK;
    merge_global(link, symbol, &seen, ELF64_ST_VISIBILITY(object->elf_symbols[i].st_other), is_weak);
    if (version && *version && symbol->state == LINK_SYMBOL_UNDEFINED)
        symbol->version = version;
    return NULL;
}

static struct crateld_error *add_symbols(struct link *link, struct link_object *object)
{
    object->symbols = arena_alloc_array(&link->arena, object->symbol_count, sizeof *object->symbols);
    object->locals = arena_alloc_array(&link->arena, object->first_global, sizeof *object->locals);
    if (!object->symbols || !object->locals)
        return error_memory();
    for (uint32_t i = 0; i < object->first_global; i++) {
        struct link_symbol *symbol = &object->locals[i];
        describe_definition(object, i, symbol);
        symbol->name = link_object_symbol_name(object, i);
        symbol->provider = UINT32_MAX;
        symbol->is_local = true;
        object->symbols[i] = symbol;
    }
    for (uint32_t i = object->first_global; i < object->symbol_count; i++)
        TRY(add_global(link, object, i));
    return NULL;
}

/* The members of archives are only 2-aligned; ELF structures want 8. */
static struct crateld_error *align_image(struct link *link, struct span *image)
{
    if ((uintptr_t)image->data % 8 == 0)
        return NULL;
    uint8_t *copy = arena_alloc(&link->arena, image->size);
    if (!copy)
        return error_memory();
    memcpy(copy, image->data, image->size);
    image->data = copy;
    return NULL;
}

struct crateld_error *link_add_object(struct link *link, const char *path, struct span image)
{
    struct link_object *object = arena_alloc(&link->arena, sizeof *object);
    if (!object)
        return error_memory();
    TRY(align_image(link, &image));
    TRY(link_object_read(&link->arena, path, image, link->machine->elf_machine, object));
    if (object->is_lto)
        return link_add_lto_object(link, object);
    object->priority = (uint32_t)link->objects.count;
    if (object->has_exec_stack)
        link_warn(link, "%s: asks for an executable stack, which crates do not have", path);
    if (!VEC_PUSH(&link->objects, object))
        return error_memory();
    TRY(claim_groups(link, object));
    return add_symbols(link, object);
}

/* Takes member `idx` of an archive into the link, once. */
static struct crateld_error *take_member(struct link *link, struct link_archive *archive, uint32_t idx)
{
    if (archive->is_taken[idx])
        return NULL;
    archive->is_taken[idx] = true;
    struct span data;
    TRY(archive_member_data(&archive->archive, idx, &data));
    const char *path =
        arena_printf(&link->arena, "%s(%s)", archive->archive.path, archive->archive.members[idx].name);
    if (!path)
        return error_memory();
    if (link->options->is_verbose)
        fprintf(stderr, "%s\n", path);
    return link_add_object(link, path, data);
}

/* Whether the archive's index knows `symbol`; then its member is taken. */
static struct crateld_error *search_archive(struct link *link, struct link_archive *archive,
                                            const struct link_symbol *symbol, bool *ret)
{
    size_t cursor = 0;
    uint32_t i;
    *ret = false;
    while ((i = hash_index_next(&archive->by_name, symbol->hash, &cursor)) != HASH_INDEX_NONE) {
        const struct archive_symbol *known = &archive->archive.symbols[i];
        if (strcmp(known->name, symbol->name) || archive->is_taken[known->member_idx])
            continue;
        *ret = true;
        return take_member(link, archive, known->member_idx);
    }
    return NULL;
}

static void import_from(struct link_symbol *symbol, uint32_t provider, uint8_t type, uint64_t size)
{
    symbol->state = LINK_SYMBOL_IMPORTED;
    symbol->provider = provider;
    symbol->type = type;
    symbol->size = size;
}

static const uint8_t export_types[] = {
    [CRATE_EXPORT_FUNCTION_PLAIN] = STT_FUNC, [CRATE_EXPORT_FUNCTION_TOC] = STT_FUNC,
    [CRATE_EXPORT_DATA] = STT_OBJECT,         [CRATE_EXPORT_TLS] = STT_TLS,
    [CRATE_EXPORT_ABSOLUTE] = STT_NOTYPE,
};

/* Whether the provider defines `symbol`; if so *type and *size tell what it is. */
static struct crateld_error *search_provider(struct link *link, uint32_t index,
                                             const struct link_symbol *symbol, struct shared_symbol *found,
                                             bool *ret)
{
    const struct link_provider *provider = link->providers.at[index];
    *ret = false;
    if (provider->kind == LINK_PROVIDER_ELF) {
        *ret = shared_library_find(&provider->library, symbol->name, symbol->version, found);
    } else if (provider->kind == LINK_PROVIDER_CRATE) {
        struct crate_export entry;
        uint32_t i = crate_view_find_export(&provider->crate, symbol->hash, symbol->name);
        if (i == CRATE_NONE)
            return NULL;
        TRY(crate_view_export(&provider->crate, i, &entry));
        *found = (struct shared_symbol){.type = export_types[entry.kind], .size = entry.size};
        *ret = true;
    }
    return NULL;
}

/* Looks for one undefined symbol in the sources, in their order. */
static struct crateld_error *search_sources(struct link *link, struct link_symbol *symbol)
{
    for (size_t i = 0; i < link->sources.count; i++) {
        struct link_source source = link->sources.at[i];
        bool is_found;
        if (source.is_archive) {
            /* A weak reference takes no member, as in every ELF linker (gABI ch. 4). */
            if (!symbol->is_strongly_referenced)
                continue;
            TRY(search_archive(link, link->archives.at[source.index], symbol, &is_found));
            if (is_found && symbol->state != LINK_SYMBOL_UNDEFINED)
                return NULL;
            continue;
        }
        struct shared_symbol found;
        TRY(search_provider(link, source.index, symbol, &found, &is_found));
        if (!is_found)
            continue;
        import_from(symbol, source.index, found.type, found.size);
        if (link->providers.at[source.index]->kind == LINK_PROVIDER_ELF)
            symbol->version = found.version;
        return NULL;
    }
    return NULL;
}

static bool is_wanted(const struct link_symbol *symbol)
{
    return symbol->state == LINK_SYMBOL_UNDEFINED && symbol->is_referenced;
}

struct crateld_error *link_resolve_undefined(struct link *link)
{
    /* New symbols only come in behind the ones that there are, but an old one may have become strongly
     * referenced: go round until nothing is taken. */
    size_t object_count;
    do {
        object_count = link->objects.count + link->lto_objects.count;
        for (size_t i = 0; i < link->symbols.count; i++)
            if (is_wanted(link->symbols.at[i]))
                TRY(search_sources(link, link->symbols.at[i]));
    } while (link->objects.count + link->lto_objects.count != object_count);
    return NULL;
}

/* A default-visibility datum of which every loaded copy must be the same one. */
static bool is_vague(const struct link_symbol *symbol)
{
    if (symbol->state != LINK_SYMBOL_DEFINED || !symbol->is_exported || symbol->visibility != STV_DEFAULT)
        return false;
    if (symbol->type != STT_OBJECT && symbol->type != STT_TLS && symbol->type != STT_NOTYPE)
        return false;
    if (symbol->section->flags & SHF_EXECINSTR)
        return false;
    return symbol->binding == STB_WEAK || symbol->binding == STB_GNU_UNIQUE || symbol->section->in_group;
}

/* Whether a defined symbol can be imported by others. */
static bool is_exported(const struct link *link, const struct link_symbol *symbol)
{
    if (symbol->state != LINK_SYMBOL_DEFINED && symbol->state != LINK_SYMBOL_COMMON &&
        symbol->state != LINK_SYMBOL_ABSOLUTE)
        return false;
    if (symbol->visibility == STV_HIDDEN || symbol->visibility == STV_INTERNAL)
        return false;
    if (symbol->state == LINK_SYMBOL_DEFINED &&
        (symbol->section->object == &link->own || !link_section_is_loaded(symbol->section)))
        return false;
    enum version_scope scope = version_script_scope(link->scripts, symbol->name);
    return scope == VERSION_GLOBAL || (scope == VERSION_UNSPECIFIED && !link->options->export_count);
}

/* A provider that defines a vague symbol too: at run time an ELF library's copy wins. */
static struct crateld_error *find_other_definition(struct link *link, struct link_symbol *symbol)
{
    for (size_t i = 0; i < link->sources.count; i++) {
        struct link_source source = link->sources.at[i];
        struct shared_symbol found;
        bool is_found = false;
        if (!source.is_archive)
            TRY(search_provider(link, source.index, symbol, &found, &is_found));
        if (is_found && link->providers.at[source.index]->kind == LINK_PROVIDER_ELF) {
            symbol->provider = source.index;
            symbol->version = found.version;
            return NULL;
        }
    }
    return NULL;
}

struct crateld_error *link_settle_symbols(struct link *link)
{
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        symbol->is_exported = is_exported(link, symbol);
        if (symbol->is_exported && symbol->state == LINK_SYMBOL_DEFINED && symbol->value > symbol->section->size)
            return error_create(CRATELD_ERROR_FORMAT, "%s: '%s' lies outside its section %s", symbol->object->path,
                                symbol->name, symbol->section->name);
        if (symbol->state == LINK_SYMBOL_COMMON)
            TRY(link_own_common(link, symbol));
        symbol->is_vague = is_vague(symbol);
        if (symbol->is_vague)
            TRY(find_other_definition(link, symbol));
    }
    return NULL;
}

struct crateld_error *link_refuse_allocators(struct link *link)
{
    static const char *const names[] = {"malloc",         "free",     "calloc", "realloc", "memalign",
                                        "aligned_alloc", "posix_memalign"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct link_symbol *symbol = link_symbol_table_find(&link->symbols, names[i]);
        if (!symbol || symbol->state != LINK_SYMBOL_DEFINED || symbol->object == &link->own)
            continue;
        link_report(link, error_create(CRATELD_ERROR_UNSUPPORTED,
                                       "%s: defines '%s', but libc and the ELF libraries keep their own: memory of one would "
                                       "be freed by the other; rename it (objcopy --redefine-sym %s=my_%s)",
                                       symbol->object->path, names[i], names[i], names[i]));
    }
    return NULL;
}

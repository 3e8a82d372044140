#include "linker/resolve.h"

#include <string.h>

#include "base/hash.h"
#include "crateld/reload.h"
#include "linker/lto_pass.h"
#include "linker/own.h"
#include "linker/shape.h"
#include "linker/wanted.h"

/* How strong a definition is; between two of the same strength the first one stays. */
enum { STRENGTH_NONE, STRENGTH_WEAK, STRENGTH_COMMON, STRENGTH_STRONG, STRENGTH_FINAL };

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

/* Drops the members of COMDAT groups whose signature has been seen; *has_dropped tells whether there are such. */
static struct crateld_error *claim_groups(struct link *link, struct link_object *object, bool *has_dropped)
{
    *has_dropped = false;
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
        *has_dropped = true;
        for (uint32_t k = 0; k < group->member_count; k++)
            object->sections[group->members[k]].kind = LINK_SECTION_DROPPED;
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
    link_report(link, error_create(CRATELD_ERROR_DUPLICATE, "%s: '%s' is defined here and in %s", second->path,
                                   symbol->name, symbol->object ? symbol->object->path : "the linker itself"));
}

struct crateld_error *link_refer(struct link *link, struct link_symbol *symbol, bool is_weak)
{
    bool is_new = !symbol->is_referenced || (!is_weak && !symbol->is_strongly_referenced);
    symbol->is_referenced = true;
    symbol->is_strongly_referenced |= !is_weak;
    return is_new ? link_want(link, symbol) : NULL;
}

/* What the linker defines itself: --defsym is stronger than any object, its other symbols are there where nothing else
 * is. */
static int standing_strength(const struct link *link, const struct link_symbol *symbol)
{
    if (symbol->object != &link->own || symbol->state == LINK_SYMBOL_UNDEFINED)
        return strength_of(symbol->state, symbol->binding);
    return symbol->section && symbol->section->type == SHT_NULL ? STRENGTH_NONE : STRENGTH_FINAL;
}

/* Lets a definition or reference in an object bear on the global symbol of its name. */
static struct crateld_error *merge_global(struct link *link, struct link_symbol *symbol, const struct link_symbol *seen,
                                          uint8_t visibility, bool is_weak_reference)
{
    symbol->visibility = link_visibility_merge(symbol->visibility, visibility);
    if (seen->state == LINK_SYMBOL_UNDEFINED) {
        if (!symbol->object)
            symbol->object = seen->object;
        if (symbol->type == STT_NOTYPE)
            symbol->type = seen->type;
        return link_refer(link, symbol, is_weak_reference);
    }
    int old_strength = standing_strength(link, symbol);
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
        return NULL;
    }
    if (new_strength <= old_strength)
        return NULL;
    symbol->name = seen->name; /* the same, but where the object has it: it is wanted when the object is looked at */
    symbol->state = seen->state;
    symbol->object = seen->object;
    symbol->section = seen->section;
    symbol->value = seen->value;
    symbol->size = seen->size;
    symbol->type = seen->type;
    symbol->binding = seen->binding;
    symbol->version = seen->version;
    symbol->provider = UINT32_MAX;
    return symbol->state == LINK_SYMBOL_COMMON ? link_want(link, symbol) : NULL;
}

struct crateld_error *link_add_symbol(struct link *link, const struct link_symbol *seen, uint8_t visibility,
                                      bool is_weak_reference)
{
    struct link_symbol *symbol = link_symbol_table_enter(&link->symbols, &link->arena, seen->name, NULL);
    if (!symbol)
        return error_memory();
    return merge_global(link, symbol, seen, visibility, is_weak_reference);
}

/* The name that a global symbol of an object means in the end: ld's manual, --wrap. */
static struct crateld_error *wrapped_name(struct link *link, const char *name, bool is_reference, const char **ret)
{
    static const char real[] = "__real_";
    *ret = name;
    for (size_t i = 0; is_reference && i < link->options->wrap_count; i++) {
        const char *wrap = link->options->wraps[i];
        if (!strcmp(name, wrap))
            *ret = arena_printf(&link->arena, "__wrap_%s", wrap);
        else if (!strncmp(name, real, sizeof real - 1) && !strcmp(name + sizeof real - 1, wrap))
            *ret = name + sizeof real - 1;
        else
            continue;
        return *ret ? NULL : error_memory();
    }
    return NULL;
}

static struct crateld_error *add_global(struct link *link, struct link_object *object, uint32_t i)
{
    struct link_versioned_name versioned;
    struct link_symbol seen = {0};
    describe_definition(object, i, &seen);
    const char *name;
    TRY(wrapped_name(link, link_object_symbol_name(object, i), object->elf_symbols[i].st_shndx == SHN_UNDEF, &name));
    if (!link_versioned_name_read(&link->arena, name, &versioned))
        return error_memory();
    bool is_bound = versioned.version && (!versioned.is_default || seen.state == LINK_SYMBOL_UNDEFINED);
    bool is_name = versioned.name == link_object_symbol_name(object, i); /* nothing was changed about it */
    struct link_symbol *symbol = link_symbol_table_enter_hashed(&link->symbols, &link->arena, versioned.name,
                                                                is_name ? object->name_hashes[i - object->first_global]
                                                                        : hash_string(versioned.name),
                                                                is_bound ? versioned.version : NULL);
    if (!symbol)
        return error_memory();
    seen.name = versioned.name;
    seen.version = versioned.version;
    object->symbols[i] = symbol;
    bool is_weak = ELF64_ST_BIND(object->elf_symbols[i].st_info) == STB_WEAK;
    return merge_global(link, symbol, &seen, ELF64_ST_VISIBILITY(object->elf_symbols[i].st_other), is_weak);
}

static void describe_locals(struct link_object *object)
{
    for (uint32_t i = 0; i < object->first_global; i++) {
        struct link_symbol *symbol = &object->locals[i];
        describe_definition(object, i, symbol);
        symbol->name = link_object_symbol_name(object, i);
        symbol->provider = UINT32_MAX;
        symbol->is_local = true;
        object->symbols[i] = symbol;
    }
}

/* All about an object's symbols that needs no other object. */
static struct crateld_error *prepare_symbols(struct arena *arena, struct link_object *object)
{
    uint32_t global_count = object->symbol_count - object->first_global;
    object->symbols = arena_alloc_array(arena, object->symbol_count, sizeof *object->symbols);
    object->locals = arena_alloc_array(arena, object->first_global, sizeof *object->locals);
    object->name_hashes = arena_alloc_array(arena, global_count, sizeof *object->name_hashes);
    if (!object->symbols || !object->locals || !object->name_hashes)
        return error_memory();
    describe_locals(object);
    for (uint32_t i = 0; i < global_count; i++)
        object->name_hashes[i] = hash_string(link_object_symbol_name(object, object->first_global + i));
    return NULL;
}

struct crateld_error *link_read_object(const struct link *link, struct arena *arena, const char *path,
                                       struct span image, struct link_object **ret)
{
    struct link_object *object = arena_alloc(arena, sizeof *object);
    if (!object)
        return error_memory();
    TRY(link_object_align(arena, &image));
    TRY(link_object_read(arena, path, image, link->machine->elf_machine, object));
    if (object->is_lto) {
        *ret = object;
        return NULL;
    }
    TRY(prepare_symbols(arena, object));
    if (link->keeps_state)
        object->shape = link_shape(link->machine, object);
    *ret = object;
    return NULL;
}

struct crateld_error *link_enter_object(struct link *link, struct link_object *object)
{
    bool has_dropped;
    if (object->is_lto) {
        link->journal.is_incomplete = true;
        return link_add_lto_object(link, object);
    }
    object->priority = (uint32_t)link->objects.count;
    if (object->has_exec_stack && link->options->stack == LINK_STACK_OF_OBJECTS) {
        link_warn(link, "%s: asks for an executable stack: all stacks of its process will be that", object->path);
        link->flags |= CRATE_FLAG_EXEC_STACK;
    }
    if (!VEC_PUSH(&link->objects, object))
        return error_memory();
    TRY(claim_groups(link, object, &has_dropped));
    if (has_dropped) {
        describe_locals(object);
        object->shape = 0; /* it was taken when nothing was dropped */
    }
    uint32_t count = object->symbol_count - object->first_global;
    if (!hash_index_reserve(&link->symbols.index, link->symbols.count + count))
        return error_memory();
    for (uint32_t i = 0; i < count; i++) {
        enum { AHEAD = 4 };
        if (i + 2 * AHEAD < count)
            hash_index_prefetch(&link->symbols.index, object->name_hashes[i + 2 * AHEAD]);
        if (i + AHEAD < count)
            link_symbol_table_prefetch(&link->symbols, object->name_hashes[i + AHEAD]);
        TRY(add_global(link, object, object->first_global + i));
    }
    return NULL;
}

struct crateld_error *link_add_object(struct link *link, const char *path, struct span image)
{
    struct link_object *object;
    TRY(link_read_object(link, &link->arena, path, image, &object));
    return link_enter_object(link, object);
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

/* Whether the object is a member of an archive of which nothing is exported: --exclude-libs. */
static bool is_excluded(const struct link *link, const struct link_object *object)
{
    const char *end = object && object->path ? strrchr(object->path, '(') : NULL;
    if (!end)
        return false;
    const char *name = end;
    while (name > object->path && name[-1] != '/')
        name--;
    for (size_t i = 0; i < link->options->excluded_archive_count; i++) {
        const char *excluded = link->options->excluded_archives[i];
        if (!strcmp(excluded, "ALL") || (!strncmp(excluded, name, (size_t)(end - name)) && !excluded[end - name]))
            return true;
    }
    return false;
}

/* Whether a defined symbol can be imported by others. */
static bool is_exported(const struct link *link, const struct link_symbol *symbol)
{
    if (symbol->state != LINK_SYMBOL_DEFINED && symbol->state != LINK_SYMBOL_COMMON &&
        symbol->state != LINK_SYMBOL_ABSOLUTE)
        return false;
    if (symbol->visibility == STV_HIDDEN || symbol->visibility == STV_INTERNAL || symbol->bound_version)
        return false;
    if (link->patch) /* what others import is the base's, and what the loader calls may be new */
        return !strcmp(symbol->name, CRATELD_MIGRATE_HOOK) || !strcmp(symbol->name, CRATELD_RELOADED_HOOK);
    if (symbol->state == LINK_SYMBOL_DEFINED &&
        (symbol->section->object == &link->own || !link_section_is_loaded(symbol->section)))
        return false;
    if (link->options->excluded_archive_count && is_excluded(link, symbol->object))
        return false;
    enum version_scope scope = version_script_scope(link->scripts, symbol->name);
    return scope == VERSION_GLOBAL || (scope == VERSION_UNSPECIFIED && !link->options->export_count);
}

/* The providers that define a vague symbol too: at run time an ELF library's copy wins, and a crate's may. */
static struct crateld_error *find_rivals(struct link *link, struct link_symbol *symbol)
{
    symbol->version = NULL;
    for (size_t i = 0; i < link->sources.count; i++) {
        const struct link_source *source = &link->sources.at[i];
        struct shared_symbol found = {0};
        uint32_t provider = UINT32_MAX;
        if (!source->is_archive)
            TRY(link_source_find(link, source, symbol, &found, &provider));
        if (provider == UINT32_MAX)
            continue;
        symbol->has_rival = true;
        if (link->providers.at[provider]->kind == LINK_PROVIDER_ELF) {
            symbol->provider = provider;
            symbol->version = found.version;
            return NULL;
        }
    }
    return NULL;
}

/* Lets references to "f@V" mean f where the link defines that as "f@@V". */
static void bind_versions(struct link *link)
{
    for (size_t i = 0; link->symbols.has_bound && i < link->objects.count; i++) {
        struct link_object *object = link->objects.at[i];
        for (uint32_t k = object->first_global; k < object->symbol_count; k++) {
            const struct link_symbol *symbol = object->symbols[k];
            if (!symbol->bound_version || symbol->state == LINK_SYMBOL_DEFINED)
                continue;
            struct link_symbol *same = link_symbol_table_find(&link->symbols, symbol->name);
            if (same && same->state == LINK_SYMBOL_DEFINED && same->version &&
                !strcmp(same->version, symbol->bound_version))
                object->symbols[k] = same;
        }
    }
}

struct crateld_error *link_settle_symbols(struct link *link)
{
    bind_versions(link);
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        /* Some object has found out, after it was imported, that it must not be. */
        if (symbol->state == LINK_SYMBOL_IMPORTED && symbol->visibility != STV_DEFAULT)
            symbol->state = LINK_SYMBOL_UNDEFINED;
        symbol->is_exported = is_exported(link, symbol);
        if (symbol->is_exported && symbol->state == LINK_SYMBOL_DEFINED && symbol->value > symbol->section->size)
            return error_create(CRATELD_ERROR_FORMAT, "%s: '%s' lies outside its section %s", symbol->object->path,
                                symbol->name, symbol->section->name);
        if (symbol->state == LINK_SYMBOL_COMMON)
            TRY(link_own_common(link, symbol));
        symbol->is_vague = is_vague(symbol);
        if (symbol->is_vague)
            TRY(find_rivals(link, symbol));
    }
    return NULL;
}

struct crateld_error *link_refuse_allocators(struct link *link)
{
    static const char *const names[] = {"malloc",   "free",          "calloc",        "realloc",
                                        "memalign", "aligned_alloc", "posix_memalign"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct link_symbol *symbol = link_symbol_table_find(&link->symbols, names[i]);
        if (!symbol || symbol->state != LINK_SYMBOL_DEFINED || symbol->object == &link->own)
            continue;
        link_report(link,
                    error_create(CRATELD_ERROR_UNSUPPORTED,
                                 "%s: defines '%s', but libc and the ELF libraries keep their own: memory of one would "
                                 "be freed by the other; rename it (objcopy --redefine-sym %s=my_%s)",
                                 symbol->object->path, names[i], names[i], names[i]));
    }
    return NULL;
}

/* What symbols mean in a bundle: of variables of which there is one in a process the first member's copy, of imports
 * the export that they name. */
#include <elf.h>
#include <string.h>

#include "base/hash.h"
#include "linker/bundle_member.h"
#include "linker/function.h"
#include "linker/own.h"

/* The entry for `name` among the vague symbols; NULL if there is none. */
static struct bundle_vague *find_vague(const struct link_bundle *bundle, const char *name)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&bundle->vague_index, hash_string(name), &cursor)) != HASH_INDEX_NONE)
        if (!strcmp(bundle->vague.at[i].name, name))
            return &bundle->vague.at[i];
    return NULL;
}

/* The import of the crate by which it has the symbol called `name`; CRATE_NONE if there is none. */
static uint32_t find_import(const struct bundle_member *member, const char *name)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&member->import_index, hash_string(name), &cursor)) != HASH_INDEX_NONE) {
        const struct crate_import *import = &member->view.imports[i];
        const char *own = crate_view_string(&member->view, import->name);
        if (!(import->flags & CRATE_IMPORT_FLAG_SELF) && import->kind != CRATE_IMPORT_FORWARD && own &&
            !strcmp(own, name))
            return i;
    }
    return CRATE_NONE;
}

static uint32_t import_of(const struct bundle_member *member, const struct relink_symbol *known)
{
    static const enum relink_ref refs[] = {RELINK_REF_IMPORT_PLAIN, RELINK_REF_IMPORT_TOC, RELINK_REF_IMPORT_ADDRESS};
    for (size_t i = 0; i < sizeof refs / sizeof *refs; i++)
        if (known->refs[refs[i]] != RELINK_NONE)
            return known->refs[refs[i]];
    return find_import(member, known->name);
}

/* What a library, or a crate beside the bundle, provides; `provider` CRATE_NONE: whoever does when it is used. */
static struct crateld_error *use_outside(struct link *link, const struct relink_symbol *known,
                                         const struct crate_import *import, uint32_t provider, const char *version,
                                         struct link_symbol **ret)
{
    bool is_weak = import->flags & CRATE_IMPORT_FLAG_WEAK;
    bool is_open = provider == CRATE_NONE;
    const char *scope = is_open ? (is_weak ? "?weak" : "?") : arena_printf(&link->arena, "%u@%s", provider, version);
    struct link_symbol *symbol =
        scope ? link_symbol_table_enter(&link->symbols, &link->arena, known->name, scope) : NULL;
    if (!symbol)
        return error_memory();
    if (!is_open) {
        symbol->state = LINK_SYMBOL_IMPORTED;
        symbol->provider = provider;
        symbol->version = *version ? version : NULL;
    }
    symbol->is_strongly_referenced |= !is_weak;
    if (symbol->type == STT_NOTYPE)
        symbol->type = known->type;
    if (symbol->type == STT_NOTYPE && import->kind <= CRATE_IMPORT_CALL_TOC)
        symbol->type = STT_FUNC;
    *ret = symbol;
    return NULL;
}

static struct crateld_error *undefined(const struct bundle_member *member, const char *name,
                                       const struct bundle_member *provider)
{
    return error_create(CRATELD_ERROR_UNDEFINED, "%s: undefined symbol '%s': crate '%s' (%s) does not export it",
                        member->path, name, provider->name, provider->path);
}

/* What another crate of the bundle exports, or hands on. */
static struct crateld_error *use_export(struct link *link, const struct bundle_member *member,
                                        const struct relink_symbol *known, const struct crate_import *import,
                                        const struct bundle_member *provider, struct link_symbol **ret)
{
    struct crate_export export;
    uint32_t i = crate_view_find_export(&provider->view, import->hash, known->name);
    const char *version = crate_view_string(&member->view, import->version);
    if (i == CRATE_NONE && import->flags & CRATE_IMPORT_FLAG_WEAK)
        return use_outside(link, known, import, CRATE_NONE, version, ret);
    if (i == CRATE_NONE)
        return undefined(member, known->name, provider);
    TRY(crate_view_export(&provider->view, i, &export));
    if (export.flags & CRATE_EXPORT_FLAG_FORWARD) {
        struct crate_import forward;
        TRY(crate_view_import(&provider->view, export.import, &forward));
        if (!*version)
            version = crate_view_string(&provider->view, forward.version);
        return use_outside(link, known, import, provider->needs[forward.needed].provider, version, ret);
    }
    struct bundle_vague *vague = export.flags & CRATE_EXPORT_FLAG_VAGUE ? find_vague(link->bundle, known->name) : NULL;
    struct link_symbol *symbol =
        vague ? vague->symbol : link_symbol_table_enter(&link->symbols, &link->arena, known->name, provider->name);
    if (!symbol)
        return error_memory();
    if (!symbol->is_exported)
        return error_create(CRATELD_ERROR_FORMAT, "%s: exports '%s', and its relink section does not", provider->path,
                            known->name);
    *ret = symbol;
    return NULL;
}

static struct crateld_error *bind_import(struct link *link, const struct bundle_member *member,
                                         const struct relink_symbol *known, struct link_symbol **ret)
{
    uint32_t i = import_of(member, known);
    if (!*known->name)
        return error_create(CRATELD_ERROR_FORMAT, "%s: relink section: something without a name is imported",
                            member->path);
    struct crate_import import = {.flags = CRATE_IMPORT_FLAG_WEAK, .needed = CRATE_NONE};
    if (i != CRATE_NONE)
        TRY(crate_view_import(&member->view, i, &import));
    if (import.needed == CRATE_NONE)
        return use_outside(link, known, &import, CRATE_NONE, "", ret);
    const struct bundle_need *need = &member->needs[import.needed];
    if (need->member)
        return use_export(link, member, known, &import, need->member, ret);
    return use_outside(link, known, &import, need->provider, crate_view_string(&member->view, import.version), ret);
}

/* The library that defines a vague symbol too, whose copy wins. */
static struct crateld_error *find_rival(const struct bundle_member *member, const struct relink_symbol *known,
                                        struct link_symbol *symbol)
{
    struct crate_import import;
    uint32_t i = import_of(member, known);
    if (i == CRATE_NONE)
        return NULL;
    TRY(crate_view_import(&member->view, i, &import));
    if (import.needed == CRATE_NONE || member->needs[import.needed].member)
        return NULL;
    symbol->provider = member->needs[import.needed].provider;
    symbol->version = import.version ? crate_view_string(&member->view, import.version) : NULL;
    return NULL;
}

/* Enters the crate's copies, unless a member before it has one: that is the one then. */
static struct crateld_error *enter_vague(struct link *link, struct bundle_member *member)
{
    struct link_bundle *bundle = link->bundle;
    for (uint32_t i = 0; i < member->relink.module_count; i++)
        for (uint32_t k = 0; k < member->modules[i].symbol_count; k++) {
            const struct relink_symbol *known = &member->records[i][k];
            struct link_symbol **symbol = &member->symbols[member->modules[i].first_symbol + k];
            if (!*symbol || !(*symbol)->is_vague)
                continue;
            const struct bundle_vague *first = find_vague(bundle, known->name);
            if (first) {
                (*symbol)->is_vague = false;
                *symbol = first->symbol;
                continue;
            }
            struct bundle_vague vague = {known->name, *symbol};
            TRY(find_rival(member, known, *symbol));
            if (!VEC_PUSH(&bundle->vague, vague) || !hash_index_add(&bundle->vague_index, hash_string(known->name)))
                return error_memory();
        }
    return NULL;
}

static struct crateld_error *bind_imports(struct link *link, struct bundle_member *member)
{
    for (uint32_t i = 0; i < member->relink.module_count; i++)
        for (uint32_t k = 0; k < member->modules[i].symbol_count; k++) {
            struct link_symbol **symbol = &member->symbols[member->modules[i].first_symbol + k];
            struct crateld_error *error = *symbol ? NULL : bind_import(link, member, &member->records[i][k], symbol);
            if (error && crateld_error_code(error) != CRATELD_ERROR_UNDEFINED)
                return error;
            link_report(link, error);
        }
    return NULL;
}

static struct crateld_error *index_imports(struct bundle_member *member)
{
    uint32_t count = crate_view_count(&member->view, CRATE_TABLE_IMPORTS);
    for (uint32_t i = 0; i < count; i++)
        if (!hash_index_add(&member->import_index, member->view.imports[i].hash))
            return error_memory();
    return NULL;
}

/* Functions of TOC code that may be entered from outside: what the records in their objects said. */
static struct crateld_error *enter_functions(struct link *link, const struct bundle_member *member)
{
    const struct crate_header *header = &member->view.header;
    uint64_t refs_off = header->toc_rva + member->view.toc.func_refs;
    for (uint32_t i = 0; i < member->relink.module_count; i++)
        for (uint32_t k = 0; k < member->modules[i].symbol_count; k++) {
            const struct relink_symbol *known = &member->records[i][k];
            uint32_t ref = known->refs[RELINK_REF_FUNC_REF];
            if (known->where != RELINK_IN_SECTION || ref == RELINK_NONE)
                continue;
            struct link_section *section = member->sections[known->section];
            struct link_function *function;
            if (!section->is_live || !section->is_toc)
                continue;
            TRY(link_function_enter(link, section, known->value, &function));
            function->has_record = true;
            if (known->refs[RELINK_REF_STACK_ARGUMENTS] != RELINK_NONE)
                function->stack_arguments = known->refs[RELINK_REF_STACK_ARGUMENTS];
            if (!(known->flags & RELINK_SYMBOL_VARARGS))
                continue;
            struct crateld_function slot;
            if (ref >= header->func_refs ||
                !span_read(member->bytes, refs_off + ref * sizeof slot, &slot, sizeof slot) ||
                slot.toc - header->preferred_base - section->record->rva > section->size)
                return error_create(CRATELD_ERROR_FORMAT, "%s: relink section: '%s' has no entry for varargs",
                                    member->path, known->name);
            function->is_varargs = true;
            function->varargs_entry = slot.toc - header->preferred_base - section->record->rva;
        }
    return NULL;
}

/* The function that the first member's header names as its entry. */
static struct crateld_error *find_entry(struct link *link, const struct bundle_member *member)
{
    uint32_t entry = member->view.header.entry_rva;
    for (uint32_t i = 0; entry && i < member->relink.module_count; i++)
        for (uint32_t k = 0; k < member->modules[i].symbol_count; k++) {
            const struct relink_symbol *known = &member->records[i][k];
            struct link_symbol *symbol = member->symbols[member->modules[i].first_symbol + k];
            if (known->where != RELINK_IN_SECTION || known->type != STT_FUNC || symbol->state != LINK_SYMBOL_DEFINED)
                continue;
            if (known->refs[RELINK_REF_ENTRY_STUB] == entry || symbol->section->record->rva + known->value == entry) {
                link->entry = symbol;
                return NULL;
            }
        }
    return entry ? error_create(CRATELD_ERROR_FORMAT, "%s: relink section: no function is at the entry 0x%x",
                                member->path, entry)
                 : NULL;
}

struct crateld_error *link_bundle_bind(struct link *link)
{
    struct link_bundle *bundle = link->bundle;
    link->own.symbols = arena_alloc_array(&link->arena, LINK_OWN_SYMBOL_COUNT, sizeof *link->own.symbols);
    if (!link->own.symbols)
        return error_memory();
    for (size_t i = 0; i < bundle->count; i++) {
        TRY(index_imports(bundle->members.at[i]));
        TRY(enter_vague(link, bundle->members.at[i]));
    }
    for (size_t i = 0; i < bundle->count; i++)
        TRY(bind_imports(link, bundle->members.at[i]));
    if (link->errors)
        return NULL;
    TRY(link_own_symbols(link));
    TRY(find_entry(link, bundle->members.at[0]));
    for (size_t i = 0; i < bundle->count; i++) {
        TRY(bundle_make_objects(link, bundle->members.at[i]));
        TRY(enter_functions(link, bundle->members.at[i]));
    }
    return NULL;
}

/* What a crate's relink section says, as objects of a link: sections and the symbols that are defined. */
#include <elf.h>
#include <string.h>

#include "linker/bundle_member.h"
#include "linker/output.h"
#include "linker/own.h"

static struct crateld_error *section_error(const struct bundle_member *member, const struct relink_section *section,
                                           const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "%s: relink section: section %s at 0x%x: %s", member->path, section->name,
                        section->rva, what);
}

/* Whether sections of that name are read-only, but for addresses in them: what they are in the crate does not tell. */
static bool is_constant_name(const char *name)
{
    static const char *const names[] = {".rodata", ".lrodata", ".gnu.linkonce.r", ".gcc_except_table"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i]);
        if (!strncmp(name, names[i], length) && (!name[length] || name[length] == '.'))
            return true;
    }
    return false;
}

static uint64_t section_flags(const struct relink_section *record)
{
    uint64_t flags = SHF_ALLOC;
    if (record->flags & RELINK_SECTION_TEXT)
        flags |= SHF_EXECINSTR;
    if (record->flags & (RELINK_SECTION_DATA | RELINK_SECTION_BSS) && !is_constant_name(record->name))
        flags |= SHF_WRITE;
    if (record->flags & RELINK_SECTION_TLS)
        flags |= SHF_TLS;
    if (record->flags & RELINK_SECTION_MERGE)
        flags |= SHF_MERGE;
    if (record->flags & RELINK_SECTION_STRINGS)
        flags |= SHF_STRINGS;
    return flags;
}

static uint32_t section_type(const struct relink_section *record)
{
    if (record->flags & RELINK_SECTION_BSS)
        return SHT_NOBITS;
    if (record->flags & RELINK_SECTION_INIT)
        return !strncmp(record->name, ".preinit", 8)                                       ? SHT_PREINIT_ARRAY
               : !strncmp(record->name, ".fini", 5) || !strncmp(record->name, ".dtors", 6) ? SHT_FINI_ARRAY
                                                                                           : SHT_INIT_ARRAY;
    return !strncmp(record->name, ".note", 5) ? SHT_NOTE : SHT_PROGBITS;
}

/* Fills `ret` for the crate's section `record`. What was left out of the crate is listed, for who makes patches. */
static struct crateld_error *read_section(const struct bundle_member *member, const struct relink_section *record,
                                          struct link_section *ret)
{
    bool is_placed = !(record->flags & RELINK_SECTION_DROPPED) && record->rva != RELINK_NONE;
    ret->name = record->name;
    ret->record = record;
    ret->size = record->size;
    ret->flags = section_flags(record);
    ret->type = section_type(record);
    ret->align_log2 = record->align_log2;
    ret->is_toc = record->flags & RELINK_SECTION_TOC_CODE;
    ret->in_group = record->flags & RELINK_SECTION_COMDAT || !is_placed;
    ret->kind = is_placed ? LINK_SECTION_PLAIN : LINK_SECTION_DROPPED;
    ret->is_live = is_placed;
    if (!is_placed)
        return NULL;
    ret->order = bundle_order_of(member->number, record->rva);
    if (ret->type == SHT_NOBITS)
        return NULL;
    if (!span_slice(member->bytes, record->rva, record->size, &ret->data))
        return section_error(member, record, "it is not within the file");
    return NULL;
}

static int compare_placed(const void *a, const void *b)
{
    const struct link_section *x = *(struct link_section *const *)a, *y = *(struct link_section *const *)b;
    if (x->record->rva != y->record->rva)
        return x->record->rva < y->record->rva ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size);
}

struct link_section *bundle_section_at(const struct bundle_member *member, uint64_t rva)
{
    uint32_t low = 0, high = member->placed_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (member->placed[middle]->record->rva <= rva)
            low = middle + 1;
        else
            high = middle;
    }
    struct link_section *section = low ? member->placed[low - 1] : NULL;
    return section && rva - section->record->rva <= section->size ? section : NULL;
}

/* The object of module `i`, with its sections; [0] is the null section, and the last one is kept for unwind tables. */
static struct crateld_error *make_object(struct link *link, struct bundle_member *member, uint32_t i)
{
    const struct relink_module *module = &member->modules[i];
    struct link_object *object = arena_alloc(&link->arena, sizeof *object);
    struct link_section *sections = arena_alloc_array(&link->arena, module->section_count + 2, sizeof *sections);
    struct relink_section *records = arena_alloc_array(&link->arena, module->section_count, sizeof *records);
    if (!object || !sections || !records || !VEC_PUSH(&link->objects, object))
        return error_memory();
    object->path = !*module->path    ? member->path
                   : *module->member ? arena_printf(&link->arena, "%s(%s)", module->path, module->member)
                                     : module->path;
    if (!object->path)
        return error_memory();
    object->member = member->number;
    object->record = module;
    object->sections = sections;
    object->section_count = module->section_count + 2;
    object->priority = (uint32_t)link->objects.count;
    member->objects[i] = object;
    for (uint32_t k = 0; k < object->section_count; k++) {
        sections[k].object = object;
        sections[k].name = "";
        sections[k].index = k;
    }
    for (uint32_t k = 0; k < module->section_count; k++) {
        uint32_t number = module->first_section + k;
        TRY(relink_view_section(&member->relink, number, &records[k]));
        TRY(read_section(member, &records[k], &sections[k + 1]));
        member->sections[number] = &sections[k + 1];
        if (sections[k + 1].is_live)
            member->placed[member->placed_count++] = &sections[k + 1];
    }
    return NULL;
}

/* Sections of C's names are walked from __start_x to __stop_x, in each crate its own: where several crates have some,
 * each crate's get a name that makes an output of their own. */
static bool is_set(const struct link_section *section)
{
    return section->is_live && link_is_set_name(section->name) && strcmp(section->name, LINK_TYPES_SECTION) != 0;
}

static struct crateld_error *rename_sets(struct link *link, const struct bundle_member *member)
{
    for (uint32_t i = 0; i < member->placed_count; i++) {
        struct link_section *section = member->placed[i];
        if (member->number && is_set(section))
            section->name = arena_printf(&link->arena, "%s:%s", section->name, member->name);
        if (!section->name)
            return error_memory();
    }
    return NULL;
}

/* A place that the linker makes and finds again by its name. */
static struct crateld_error *use_own_place(struct link *link, const struct bundle_member *member, const char *name,
                                           struct link_symbol **ret)
{
    bool is_start = !strncmp(name, "__start_", 8), is_stop = !strncmp(name, "__stop_", 7);
    if (link_own_is_name(name)) {
        *ret = link_symbol_table_enter(&link->symbols, &link->arena, name, NULL);
        return *ret ? NULL : error_memory();
    }
    if (!is_start && !is_stop)
        return error_create(
            CRATELD_ERROR_UNSUPPORTED,
            "%s: '%s' was defined (--defsym) as a place of the linker's own, which a bundle does not have",
            member->path, name);
    const char *set = name + (is_start ? 8 : 7);
    bool is_shared = !member->number || !strcmp(set, LINK_TYPES_SECTION);
    set = is_shared ? set : arena_printf(&link->arena, "%s:%s", set, member->name);
    *ret = link_symbol_table_enter(&link->symbols, &link->arena, name, is_shared ? NULL : member->name);
    if (!*ret || !set)
        return error_memory();
    return (*ret)->state == LINK_SYMBOL_UNDEFINED ? link_own_bound(link, *ret, set, is_start) : NULL;
}

static struct crateld_error *symbol_error(const struct bundle_member *member, uint32_t number, const char *name,
                                          const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "%s: relink section: symbol %u (%s) %s", member->path, number, name,
                        what);
}

/* Whether the symbol is what its type says, where it is. */
static struct crateld_error *check_symbol(const struct bundle_member *member, uint32_t number,
                                          const struct link_symbol *symbol)
{
    bool is_function = symbol->type == STT_FUNC || symbol->type == STT_GNU_IFUNC;
    if (symbol->type > STT_TLS && symbol->type != STT_GNU_IFUNC)
        return symbol_error(member, number, symbol->name, "is of an unknown type");
    if (symbol->state != LINK_SYMBOL_DEFINED)
        return NULL;
    if (symbol->type != STT_SECTION && (symbol->type == STT_TLS) != ((symbol->section->flags & SHF_TLS) != 0))
        return symbol_error(member, number, symbol->name, "is a thread-local, or its section is one, but not both");
    if (is_function && !(symbol->section->flags & SHF_EXECINSTR))
        return symbol_error(member, number, symbol->name, "is a function that is no code");
    if (symbol->type != STT_SECTION && symbol->value > symbol->section->size)
        return symbol_error(member, number, symbol->name, "lies outside its section");
    if (symbol->is_vague && (symbol->section->flags & SHF_EXECINSTR || is_function))
        return symbol_error(member, number, symbol->name, "is vague, and code");
    return NULL;
}

/* A symbol that is defined by the crate, or nowhere; those that are imported come later: *ret NULL. */
static struct crateld_error *read_symbol(struct link *link, struct bundle_member *member, uint32_t number,
                                         const struct relink_symbol *known, struct link_symbol *local,
                                         struct link_symbol **ret)
{
    *ret = NULL;
    if (known->binding != STB_LOCAL && !*known->name)
        return symbol_error(member, number, "", "is not local, and has no name");
    if (known->where == RELINK_IMPORTED || (known->where == RELINK_UNDEFINED && known->binding != STB_LOCAL))
        return NULL;
    if (known->where == RELINK_ABSOLUTE && !*member->modules[known->module].path)
        return use_own_place(link, member, known->name, ret);
    struct link_symbol *symbol = local;
    if (!symbol)
        symbol = link_symbol_table_enter(&link->symbols, &link->arena, known->name, member->name);
    if (symbol && symbol->state != LINK_SYMBOL_UNDEFINED) /* f@V beside f */
        symbol = arena_alloc(&link->arena, sizeof *symbol);
    if (!symbol)
        return error_memory();
    symbol->name = known->name;
    symbol->provider = UINT32_MAX;
    symbol->is_local = known->binding == STB_LOCAL;
    symbol->binding = known->binding;
    symbol->type = known->type;
    symbol->visibility = known->visibility;
    symbol->value = known->value;
    symbol->size = known->size;
    symbol->object = member->objects[known->module];
    symbol->is_exported = known->flags & RELINK_SYMBOL_EXPORTED;
    symbol->is_vague = known->flags & RELINK_SYMBOL_VAGUE;
    symbol->state = known->where == RELINK_ABSOLUTE ? LINK_SYMBOL_ABSOLUTE : LINK_SYMBOL_UNDEFINED;
    if (known->where == RELINK_IN_SECTION) {
        symbol->section = member->sections[known->section];
        symbol->state = symbol->section->is_live ? LINK_SYMBOL_DEFINED : LINK_SYMBOL_UNDEFINED;
        symbol->object = symbol->section->object;
        if (symbol->state == LINK_SYMBOL_UNDEFINED)
            symbol->is_exported = symbol->is_vague = false;
        if (symbol->state == LINK_SYMBOL_DEFINED && symbol->type == STT_SECTION && !symbol->value)
            member->section_symbols[known->section] = symbol;
    }
    TRY(check_symbol(member, number, symbol));
    *ret = symbol;
    return NULL;
}

static struct crateld_error *read_symbols(struct link *link, struct bundle_member *member, uint32_t i)
{
    const struct relink_module *module = &member->modules[i];
    struct relink_symbol *known = arena_alloc_array(&link->arena, module->symbol_count, sizeof *known);
    if (!known)
        return error_memory();
    TRY(relink_view_symbols(&member->relink, module->first_symbol, module->symbol_count, known));
    uint32_t local_count = 1;
    for (uint32_t k = 0; k < module->symbol_count; k++)
        local_count += known[k].binding == STB_LOCAL;
    struct link_symbol *locals = arena_alloc_array(&link->arena, local_count, sizeof *locals);
    if (!locals)
        return error_memory();
    struct link_object *object = member->objects[i];
    object->locals = locals;
    object->first_global = 1;
    locals[0] = (struct link_symbol){.name = "", .provider = UINT32_MAX, .is_local = true};
    member->records[i] = known;
    for (uint32_t k = 0; k < module->symbol_count; k++) {
        struct link_symbol *local = known[k].binding == STB_LOCAL ? &locals[object->first_global] : NULL;
        uint32_t number = module->first_symbol + k;
        TRY(read_symbol(link, member, number, &known[k], local, &member->symbols[number]));
        if (local) {
            object->first_global++;
            if (!local->name) /* a place of the linker's own */
                local->name = "";
        }
        struct link_symbol *symbol = member->symbols[number];
        struct bundle_export export = {known[k].name, number};
        if (symbol && symbol->is_exported && !VEC_PUSH(&member->exports, export))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *read_member(struct link *link, struct bundle_member *member)
{
    const struct relink_view *relink = &member->relink;
    struct arena *arena = &link->arena;
    member->modules = arena_alloc_array(arena, relink->module_count, sizeof *member->modules);
    member->objects = arena_alloc_array(arena, relink->module_count, sizeof *member->objects);
    member->records = arena_alloc_array(arena, relink->module_count, sizeof *member->records);
    member->sections = arena_alloc_array(arena, relink->section_count, sizeof *member->sections);
    member->placed = arena_alloc_array(arena, relink->section_count, sizeof *member->placed);
    member->section_symbols = arena_alloc_array(arena, relink->section_count, sizeof *member->section_symbols);
    member->symbols = arena_alloc_array(arena, relink->header.symbol_count, sizeof *member->symbols);
    if (!relink->module_count)
        return error_create(CRATELD_ERROR_FORMAT, "%s: relink section: it has no modules", member->path);
    if (!member->modules || !member->objects || !member->records || !member->sections || !member->placed ||
        !member->section_symbols || !member->symbols)
        return error_memory();
    for (uint32_t i = 0; i < relink->module_count; i++) {
        TRY(relink_view_module(relink, i, &member->modules[i]));
        if (!i && (member->modules[i].first_section || member->modules[i].first_symbol))
            return error_create(CRATELD_ERROR_FORMAT,
                                "%s: relink section: its first sections or symbols are no module's", member->path);
        TRY(make_object(link, member, i));
    }
    qsort(member->placed, member->placed_count, sizeof(struct link_section *), compare_placed);
    TRY(rename_sets(link, member));
    for (uint32_t i = 0; i < relink->module_count; i++)
        TRY(read_symbols(link, member, i));
    return NULL;
}

struct crateld_error *link_bundle_read_modules(struct link *link)
{
    for (size_t i = 0; i < link->bundle->count; i++)
        TRY(read_member(link, link->bundle->members.at[i]));
    return NULL;
}

#include "linker/patch.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "crate/build_id.h"
#include "linker/address.h"
#include "linker/function.h"
#include "linker/inputs.h"
#include "linker/patch_base.h"
#include "linker/patch_fresh_functions.h"
#include "linker/patch_known.h"
#include "linker/patch_modules.h"
#include "linker/patch_private.h"
#include "linker/patch_types.h"
#include "linker/wanted.h"

/* The base. */

struct crateld_error *link_base_open(const char *path, const char *name, struct link_base *ret)
{
    struct span relink;
    *ret = (struct link_base){.path = name};
    hash_index_init(&ret->file_names);
    TRY(link_base_types_create(&ret->types));
    TRY(link_base_modules_create(&ret->modules));
    TRY(file_open(path, &ret->file));
    TRY(crate_view_open(name, ret->file.data, &ret->view));
    TRY(crate_check_meta(name, ret->file.data, &ret->view.header));
    if (ret->view.header.flags & CRATE_FLAG_PATCH)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: is a patch: name the crate that it is for", name);
    TRY(crate_view_relink(&ret->view, ret->file.data, &relink));
    if (!relink.size)
        return error_create(
            CRATELD_ERROR_UNSUPPORTED,
            "%s: has no relink section (it was stripped, or linked with --no-relink): no patch can be made "
            "for it",
            name);
    TRY(relink_view_open(name, relink, &ret->relink));
    return patch_index_modules(ret);
}

void link_base_close(struct link_base *base)
{
    link_base_types_destroy(base->types);
    link_base_modules_destroy(base->modules);
    file_close(&base->file);
    hash_index_deinit(&base->file_names);
}

/* The base comes first, then what it needs, in its order: provider i + 1 is needed i. */
static struct crateld_error *add_providers(struct link *link, const struct crate_view *base)
{
    uint32_t count = crate_view_count(base, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; i <= count; i++) {
        struct crate_needed needed;
        struct link_provider *provider = arena_alloc(&link->arena, sizeof *provider);
        if (!provider)
            return error_memory();
        if (i)
            TRY(crate_view_needed(base, i - 1, &needed));
        *provider = (struct link_provider){
            .kind = LINK_PROVIDER_BASE,
            .path = patch_base_name(link),
            .name = i ? crate_view_string(base, needed.name) : crate_view_name(base),
            .is_used = !i,
        };
        TRY(link_enter_provider(link, provider));
    }
    return NULL;
}

struct crateld_error *link_patch_open(struct link *link)
{
    if (!link->options->base && !link->options->opened_base)
        return NULL;
    link->patch = calloc(1, sizeof *link->patch);
    if (!link->patch)
        return error_memory();
    link->patch->base = link->options->opened_base ? link->options->opened_base : &link->patch->own;
    if (!link->options->opened_base)
        TRY(link_base_open(link->options->base, link->options->base, &link->patch->own));
    return add_providers(link, &link->patch->base->view);
}

void link_patch_destroy(struct link_patch *patch)
{
    if (!patch)
        return;
    link_base_close(&patch->own);
    free(patch->objects.at);
    free(patch->moves.at);
    free(patch->units.at);
    free(patch->inits.at);
    free(patch->grown.at);
    free(patch->fresh.at);
    free(patch->sites.at);
    free(patch->vanished.at);
    free(patch->starters.at);
    free(patch->functions.at);
    free(patch);
}

struct crateld_error *link_patch_fill_needed(const struct link *link, const struct link_provider *provider,
                                             struct crate_needed *needed, const char **path)
{
    const struct crate_view *base = &link->patch->base->view;
    uint32_t index = 0;
    while (link->providers.at[index] != provider)
        index++;
    if (!index) {
        memcpy(needed->build_id, base->header.build_id, sizeof needed->build_id);
        *path = patch_file_name(patch_base_name(link));
        return NULL;
    }
    struct crate_needed of_base;
    TRY(crate_view_needed(base, index - 1, &of_base));
    of_base.name = needed->name; /* in the patch's strings */
    *path = crate_view_string(base, of_base.path);
    *needed = of_base;
    return NULL;
}

/* Places in the base. */

static struct link_base_place *make_place(struct link *link, uint32_t rva, uint32_t canonical_rva, bool is_function)
{
    struct link_base_place *place = arena_alloc(&link->arena, sizeof *place);
    if (place)
        *place = (struct link_base_place){.rva = rva, .canonical_rva = canonical_rva, .is_function = is_function};
    return place;
}

struct crateld_error *patch_use_base(struct link *link, struct link_symbol *symbol, uint32_t rva)
{
    if (!symbol->base)
        symbol->base = make_place(link, rva, rva, false);
    if (!symbol->base)
        return error_memory();
    symbol->base->rva = rva;
    symbol->is_base = true;
    symbol->state = LINK_SYMBOL_IMPORTED;
    symbol->provider = 0;
    symbol->version = NULL;
    return NULL;
}

struct crateld_error *patch_use_fresh(struct link *link, struct link_symbol *symbol)
{
    struct link_section *section = symbol->section;
    TRY(patch_use_base(link, symbol, (uint32_t)symbol->value));
    symbol->base->fresh = section;
    symbol->is_fresh = true;
    return NULL;
}

/* The address for all who hold it, an rva, of the base's function at `rva`: plain code's is that of its text where it
 * has no entry stub. */
static uint32_t canonical_rva(const struct relink_symbol *symbol, uint32_t rva, bool is_toc)
{
    uint32_t stub = symbol->refs[RELINK_REF_ENTRY_STUB];
    if (symbol->type == STT_GNU_IFUNC && symbol->refs[RELINK_REF_STUB_PLAIN] != RELINK_NONE)
        return symbol->refs[RELINK_REF_STUB_PLAIN];
    return stub != RELINK_NONE || is_toc ? stub : rva;
}

struct crateld_error *patch_note_function(struct link *link, struct link_symbol *symbol, uint32_t rva,
                                          const struct relink_symbol *known, const struct relink_section *section)
{
    bool is_toc = section->flags & RELINK_SECTION_TOC_CODE && known->type == STT_FUNC;
    symbol->base = make_place(link, rva, canonical_rva(known, rva, is_toc), true);
    if (!symbol->base)
        return error_memory();
    symbol->base->is_toc = is_toc;
    return NULL;
}

struct link_symbol *patch_make_symbol(struct link *link, const char *name, uint8_t type, uint32_t rva)
{
    struct link_symbol *symbol = arena_alloc(&link->arena, sizeof *symbol);
    if (!symbol)
        return NULL;
    *symbol = (struct link_symbol){.name = name, .type = type, .is_local = true, .is_strongly_referenced = true};
    struct crateld_error *error = patch_use_base(link, symbol, rva);
    if (!error)
        return symbol;
    crateld_error_destroy(error);
    return NULL;
}

struct link_symbol *link_patch_tls_block(struct link *link)
{
    if (!link->patch->tls_block)
        link->patch->tls_block = patch_make_symbol(link, "", STT_TLS, 0);
    return link->patch->tls_block;
}

struct crateld_error *link_patch_use_toc(struct link *link, struct link_symbol *symbol)
{
    symbol->visibility = STV_DEFAULT; /* it was defined here */
    return patch_use_base(link, symbol, link->patch->base->view.header.toc_rva);
}

struct link_symbol *link_patch_toc(struct link *link)
{
    if (!link->patch->toc)
        link->patch->toc = patch_make_symbol(link, "_TOC_", STT_OBJECT, link->patch->base->view.header.toc_rva);
    return link->patch->toc;
}

/* The canonical address of the base's function `symbol`. */
static struct crateld_error *use_address(struct link *link, const struct link_symbol *symbol, struct link_symbol **ret)
{
    struct link_base_place *place = symbol->base;
    if (place->canonical_rva == RELINK_NONE)
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: '%s' is TOC code, and nothing in %s enters it from plain code, or takes its address, "
                            "yet",
                            link->options->output, symbol->name, patch_base_name(link));
    if (!place->address)
        place->address = patch_make_symbol(link, symbol->name, STT_FUNC, place->canonical_rva);
    *ret = place->address;
    return *ret ? NULL : error_memory();
}

/* Another module's function, whichever version of it is in effect. */
static struct crateld_error *use_entry(struct link *link, struct link_symbol *symbol, struct link_symbol **ret)
{
    struct link_base_place *place = symbol->base;
    if (!place->entry)
        place->entry = patch_make_symbol(link, symbol->name, STT_FUNC, place->rva);
    *ret = place->entry;
    return *ret ? NULL : error_memory();
}

/* What a branch to the symbol leads to. */
static struct crateld_error *branch_target(struct link *link, const struct link_section *from,
                                           struct link_symbol *symbol, struct link_symbol **ret)
{
    bool is_others = symbol->state != LINK_SYMBOL_DEFINED || symbol->section->object != from->object;
    *ret = symbol;
    if (!is_others || !symbol->base || !symbol->base->is_function)
        return NULL;
    if (symbol->base->is_toc && !from->is_toc)
        return use_address(link, symbol, ret);
    return symbol->state == LINK_SYMBOL_DEFINED ? use_entry(link, symbol, ret) : NULL;
}

struct crateld_error *link_patch_target(struct link *link, const struct link_section *from, struct link_symbol *symbol,
                                        uint64_t value, bool is_branch, struct link_patch_target *ret)
{
    struct link_symbol *function = symbol, *address = NULL;
    *ret = (struct link_patch_target){symbol, 0};
    if (is_branch)
        return branch_target(link, from, symbol, &ret->symbol);
    if (symbol->section && symbol->section->object != &link->own && (symbol->section->flags & SHF_EXECINSTR))
        TRY(patch_function_at(link, symbol->section, value, &function));
    else if (value != symbol->value)
        return NULL;
    if (function && function->base && function->base->is_function)
        TRY(use_address(link, function, &address));
    else if (function)
        TRY(patch_fresh_function_address(link, function, &address));
    if (address) /* a section's symbol means the function by its offset */
        *ret = (struct link_patch_target){address, value - symbol->value};
    return NULL;
}

/* What the objects do not define. */

/* The import of the base's that the symbol is: the provider is what the base has it from. */
static struct crateld_error *use_import(struct link *link, struct link_symbol *symbol, uint32_t index, bool *ret)
{
    struct crate_import import;
    const struct crate_view *base = &link->patch->base->view;
    *ret = false;
    if (index == RELINK_NONE)
        return NULL;
    TRY(crate_view_import(base, index, &import));
    if (import.needed == CRATE_NONE)
        return NULL;
    symbol->state = LINK_SYMBOL_IMPORTED;
    symbol->provider = import.needed + 1;
    symbol->version = import.version ? crate_view_string(base, import.version) : NULL;
    if (symbol->type == STT_NOTYPE)
        symbol->type = import.kind <= CRATE_IMPORT_IFUNC ? STT_FUNC : STT_NOTYPE;
    *ret = true;
    return NULL;
}

static struct crateld_error *use_imported(struct link *link, struct link_symbol *symbol,
                                          const struct relink_symbol *known, bool *ret)
{
    static const enum relink_ref refs[] = {RELINK_REF_IMPORT_PLAIN, RELINK_REF_IMPORT_TOC, RELINK_REF_IMPORT_ADDRESS};
    *ret = false;
    for (size_t i = 0; i < sizeof refs / sizeof *refs && !*ret; i++)
        TRY(use_import(link, symbol, known->refs[refs[i]], ret));
    if (*ret && symbol->type == STT_NOTYPE)
        symbol->type = known->type;
    return NULL;
}

/* The linker's own places have an rva as value; numbers that objects define are local to them, as a rule, and never
 * have such names. */
static bool is_own_place(const struct relink_symbol *known)
{
    return known->where == RELINK_ABSOLUTE &&
           (!strncmp(known->name, "__start_", 8) || !strncmp(known->name, "__stop_", 7));
}

struct crateld_error *link_patch_has_place(struct link *link, const char *name, bool *ret)
{
    struct relink_symbol known;
    uint32_t number = RELINK_NONE;
    if (link->patch)
        TRY(relink_view_find(&link->patch->base->relink, name, 0, &number));
    *ret = number != RELINK_NONE;
    if (*ret) {
        TRY(relink_view_symbol(&link->patch->base->relink, number, &known));
        *ret = is_own_place(&known);
    }
    return NULL;
}

/* What the base's relink section knows by that name. */
static struct crateld_error *bind_known(struct link *link, struct link_symbol *symbol,
                                        const struct relink_symbol *known, bool *ret)
{
    struct relink_section section;
    *ret = true;
    if (is_own_place(known))
        return patch_use_base(link, symbol, (uint32_t)known->value);
    if (known->where == RELINK_ABSOLUTE) {
        symbol->state = LINK_SYMBOL_ABSOLUTE;
        symbol->value = known->value;
        return NULL;
    }
    if (known->where != RELINK_IN_SECTION)
        return use_imported(link, symbol, known, ret);
    TRY(relink_view_section(&link->patch->base->relink, known->section, &section));
    if (section.rva == RELINK_NONE) {
        *ret = false;
        return NULL;
    }
    uint32_t rva = section.rva + (uint32_t)known->value;
    symbol->type = known->type == STT_GNU_IFUNC ? STT_FUNC : known->type;
    symbol->size = known->size;
    if (section.flags & RELINK_SECTION_TEXT)
        TRY(patch_note_function(link, symbol, rva, known, &section));
    else if (section.flags & RELINK_SECTION_TLS)
        rva -= link->patch->base->view.header.tls_rva;
    if (known->type == STT_GNU_IFUNC)
        rva = symbol->base->canonical_rva;
    return patch_use_base(link, symbol, rva);
}

/* Opens what the base needs, where it was found or beside the base. */
static struct crateld_error *open_sources(struct link *link)
{
    const struct crate_view *base = &link->patch->base->view;
    if (link->patch->has_sources)
        return NULL;
    link->patch->has_sources = true;
    TRY(search_add_defaults(&link->search, link->machine->triplet));
    for (uint32_t i = 0; i < crate_view_count(base, CRATE_TABLE_NEEDED); i++) {
        struct crate_needed needed;
        TRY(crate_view_needed(base, i, &needed));
        const char *path = crate_view_string(base, needed.path), *folder = patch_base_name(link);
        int length = (int)(patch_file_name(folder) - folder);
        if (needed.kind == CRATE_NEEDED_CRATE)
            path = arena_printf(&link->arena, "%.*s%s", length, folder, path);
        if (!path)
            return error_memory();
        if (*path)
            link_report(link, link_add_library_file(link, path));
    }
    link_add_default_libraries(link);
    return NULL;
}

static struct crateld_error *bind_symbol(struct link *link, const struct link_object *object,
                                         struct link_symbol *symbol)
{
    const struct relink_view *relink = &link->patch->base->relink;
    struct relink_symbol known;
    uint32_t number;
    bool is_bound = false;
    TRY(patch_find(link, object, symbol->name, &number));
    if (number != RELINK_NONE) {
        TRY(relink_view_symbol(relink, number, &known));
        TRY(bind_known(link, symbol, &known, &is_bound));
    }
    if (is_bound || !symbol->is_strongly_referenced)
        return NULL;
    TRY(open_sources(link));
    return link_want(link, symbol);
}

/* Binds what the section refers to. */
static void bind_section(struct link *link, const struct link_section *section)
{
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(section->relocs[i].r_info)];
        if (symbol->state == LINK_SYMBOL_UNDEFINED && !symbol->is_local && symbol->is_referenced &&
            !symbol->is_looked_up)
            link_report(link, bind_symbol(link, section->object, symbol));
        symbol->is_looked_up = true;
    }
}

/* Of sections that are the base's nothing is in the patch. */
struct crateld_error *patch_bind_undefined(struct link *link)
{
    TRY(patch_check_scope(link));
    for (size_t i = 0; i < link->patch->objects.count; i++) {
        const struct patch_object *object = &link->patch->objects.at[i];
        for (uint32_t k = 1; k < object->object->section_count; k++) {
            const struct link_section *section = &object->object->sections[k];
            bool is_bases = section->kind == LINK_SECTION_PLAIN && object->sections[k].fate == PATCH_SAME;
            if (!is_bases && section->flags & SHF_ALLOC)
                bind_section(link, section);
        }
    }
    return link_resolve_undefined(link);
}

/* The tables. */

static struct crateld_error *count_code(struct link_patch *patch, struct crate_tables *tables)
{
    for (size_t i = 0; i < patch->vanished.count; i++) {
        struct crate_vanished vanished = {.module = patch->vanished.at[i].module};
        TRY(crate_tables_string(tables, patch->vanished.at[i].name, &vanished.name));
        if (!VEC_PUSH(&tables->vanished, vanished))
            return error_memory();
    }
    for (size_t i = 0; i < patch->starters.count; i++) {
        TRY(crate_tables_string(tables, patch->starters.at[i].name, &patch->starters.at[i].starter.name));
        if (!VEC_PUSH(&tables->starters, patch->starters.at[i].starter))
            return error_memory();
    }
    return NULL;
}

struct crateld_error *link_patch_count(struct link *link, struct crate_tables *tables)
{
    struct link_patch *patch = link->patch;
    if (link->flags & CRATE_FLAG_LOW && !(patch->base->view.header.flags & CRATE_FLAG_LOW))
        return error_create(
            CRATELD_ERROR_UNSUPPORTED,
            "%s: the modules are position-dependent (-fno-pie), and %s, which is not, lies out of their reach: "
            "compile with -fPIE or -fPIC",
            link->options->output, patch_base_name(link));
    uint32_t flags;
    TRY(patch_private_flags(link, &flags));
    link->flags |= flags;
    patch_group_modules(link);
    TRY(patch_count_fresh_functions(link, tables));
    for (size_t i = 0; i < patch->objects.count; i++) {
        struct crate_module module = {.group = patch->objects.at[i].group};
        TRY(crate_tables_string(tables, patch->objects.at[i].module.path, &module.path));
        TRY(crate_tables_string(tables, patch->objects.at[i].module.member, &module.member));
        if (!VEC_PUSH(&tables->modules, module))
            return error_memory();
    }
    for (size_t i = 0; i < patch->moves.count; i++) {
        TRY(crate_tables_string(tables, patch->moves.at[i].symbol->name, &patch->moves.at[i].move.name));
        if (!VEC_PUSH(&tables->moves, patch->moves.at[i].move))
            return error_memory();
    }
    for (size_t i = 0; i < patch->units.count; i++)
        if (!VEC_PUSH(&tables->units, patch->units.at[i]))
            return error_memory();
    for (size_t i = 0; i < patch->inits.count; i++) {
        TRY(crate_tables_string(tables, patch->inits.at[i].name, &patch->inits.at[i].init.name));
        if (!VEC_PUSH(&tables->inits, patch->inits.at[i].init))
            return error_memory();
    }
    for (size_t i = 0; i < patch->grown.count; i++) {
        TRY(crate_tables_string(tables, patch->grown.at[i].name, &patch->grown.at[i].grown.name));
        TRY(crate_tables_string(tables, patch->grown.at[i].difference, &patch->grown.at[i].grown.difference));
        TRY(crate_tables_string(tables, patch->grown.at[i].stranger, &patch->grown.at[i].grown.stranger));
        if (!VEC_PUSH(&tables->grown, patch->grown.at[i].grown))
            return error_memory();
    }
    for (size_t i = 0; i < patch->fresh.count; i++) {
        struct crate_fresh fresh = {.module = patch->fresh.at[i].module,
                                    .size = (uint32_t)patch->fresh.at[i].section->size,
                                    .type = patch->fresh.at[i].type,
                                    .align = UINT32_C(1) << patch->fresh.at[i].section->align_log2};
        if (!patch->fresh.at[i].section->is_live)
            continue;
        TRY(crate_tables_string(tables, patch->fresh.at[i].name, &fresh.name));
        bool is_tls = patch->fresh.at[i].section->flags & SHF_TLS;
        if (!(is_tls ? VEC_PUSH(&tables->fresh_tls, fresh) : VEC_PUSH(&tables->fresh, fresh)))
            return error_memory();
    }
    for (size_t i = 0; i < patch->sites.count; i++)
        if (!VEC_PUSH(&tables->sites, patch->sites.at[i]))
            return error_memory();
    return count_code(patch, tables);
}

static int compare_fresh(const void *a, const void *b)
{
    const struct crate_fresh *x = a, *y = b;
    return (x->rva > y->rva) - (x->rva < y->rva);
}

static void sort_fresh(struct crate_fresh *fresh, size_t count)
{
    if (count)
        qsort(fresh, count, sizeof *fresh, compare_fresh);
}

static void fill_fresh(const struct link *link, struct crate_tables *tables)
{
    size_t count = 0, tls_count = 0;
    for (size_t i = 0; i < link->patch->fresh.count; i++) {
        const struct link_section *section = link->patch->fresh.at[i].section;
        uint32_t rva = section->is_live ? (uint32_t)link_section_rva(section, 0) : 0;
        if (section->is_live && section->flags & SHF_TLS)
            tables->fresh_tls.at[tls_count++].rva = rva - (uint32_t)link->tls_rva;
        else if (section->is_live)
            tables->fresh.at[count++].rva = rva;
    }
    sort_fresh(tables->fresh.at, count);
    sort_fresh(tables->fresh_tls.at, tls_count);
}

void link_patch_fill(const struct link *link, struct crate_tables *tables)
{
    fill_fresh(link, tables);
    patch_fill_fresh_functions(link, tables);
    for (size_t i = 0; i < link->patch->starters.count; i++)
        tables->starters.at[i].rva = (uint32_t)link_symbol_rva(link->patch->starters.at[i].symbol, 0);
    for (size_t i = 0; i < link->patch->moves.count; i++)
        tables->moves.at[i].new_rva = (uint32_t)link_symbol_rva(link->patch->moves.at[i].symbol, 0);
    for (size_t i = 0; i < link->patch->inits.count; i++) {
        const struct patch_init *init = &link->patch->inits.at[i];
        tables->inits.at[i].image_rva = (uint32_t)link_section_rva(init->section, init->off);
    }
    for (size_t i = 0; i < link->patch->grown.count; i++)
        tables->grown.at[i].image_rva = (uint32_t)link_section_rva(link->patch->grown.at[i].section, 0);
}

void link_patch_roots(const struct link *link, void (*visit)(void *context, struct link_section *section),
                      void *context)
{
    for (size_t i = 0; i < link->patch->moves.count; i++)
        visit(context, link->patch->moves.at[i].symbol->section);
    for (size_t i = 0; i < link->patch->inits.count; i++)
        visit(context, link->patch->inits.at[i].section);
    for (size_t i = 0; i < link->patch->grown.count; i++)
        visit(context, link->patch->grown.at[i].section);
    for (size_t i = 0; i < link->patch->starters.count; i++)
        visit(context, link->patch->starters.at[i].symbol->section);
}

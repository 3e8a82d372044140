#include "linker/patch_fresh_functions.h"

#include <stdlib.h>
#include <string.h>

#include "linker/address.h"
#include "linker/function.h"
#include "linker/patch_base.h"
#include "linker/patch_known.h"
#include "linker/relink_section.h"
#include "toc/stubs.h"

/* Names. */

/* Of the function's names the one that it is known by: a global one, and of several the first of the alphabet. The list
 * is sorted by place. */
static const struct link_symbol *best_name(const struct link_object *object, const struct link_section *section,
                                           uint64_t value)
{
    const struct link_symbol *best = NULL;
    for (uint32_t i = 0; i < object->function_count; i++) {
        const struct link_symbol *symbol = object->functions[i];
        if (symbol->section != section || symbol->value != value || symbol->type != STT_FUNC)
            continue;
        if (!best || (best->is_local && !symbol->is_local) ||
            (best->is_local == symbol->is_local && strcmp(symbol->name, best->name) < 0))
            best = symbol;
    }
    return best;
}

struct crateld_error *patch_function_at(struct link *link, const struct link_section *section, uint64_t value,
                                        struct link_symbol **ret)
{
    const struct link_object *object = section->object;
    TRY(link_function_symbol(link, section, value, ret));
    for (uint32_t i = 0; *ret && !(*ret)->base && i < object->function_count; i++) {
        struct link_symbol *symbol = object->functions[i];
        if (symbol->section == section && symbol->value == value && symbol->base)
            *ret = symbol;
    }
    return NULL;
}

/* The object's number among the patch's modules. */
static uint32_t module_of(const struct link_patch *patch, const struct link_object *object)
{
    uint32_t i = 0;
    while (i < patch->objects.count && patch->objects.at[i].object != object)
        i++;
    return i;
}

/* What identifies the function among those of all patches; of a bundle's, within its crate. NULL without memory. */
static const char *identity(struct link *link, const struct link_symbol *symbol, uint32_t module)
{
    const struct link_patch *patch = link->patch;
    const struct relink_module *of = &patch->objects.at[module].module;
    if (symbol->is_local)
        return arena_printf(&link->arena, "%s of %s(%s)", symbol->name, of->path, of->member);
    return patch->has_scope ? arena_printf(&link->arena, "%s in %u", symbol->name, patch->scope) : symbol->name;
}

/* Entering. */

/* Compilers number functions that share a name, so of which version they are can not be told. */
static bool is_numbered(const struct link_symbol *symbol)
{
    return symbol->is_local && patch_stem_size(symbol->name) < strlen(symbol->name);
}

/* Whether the symbol is one of a function that only the patch has. */
static struct crateld_error *is_fresh(struct link *link, const struct link_symbol *symbol, bool *ret)
{
    const struct link_patch *patch = link->patch;
    struct link_symbol *known;
    *ret = false;
    if (symbol->state != LINK_SYMBOL_DEFINED || symbol->type != STT_FUNC || symbol->section->object == &link->own ||
        !(symbol->section->flags & SHF_EXECINSTR))
        return NULL;
    TRY(patch_function_at(link, symbol->section, symbol->value, &known));
    uint32_t module = module_of(patch, symbol->section->object);
    *ret = known && !known->base && module < patch->objects.count &&
           patch->objects.at[module].sections[symbol->section->index].fate != PATCH_SAME;
    return NULL;
}

static struct crateld_error *enter(struct link *link, struct link_function *function, uint64_t hash)
{
    struct link_patch *patch = link->patch;
    const struct link_symbol *symbol = best_name(function->section->object, function->section, function->value);
    uint32_t module = module_of(patch, function->section->object);
    if (!symbol || is_numbered(symbol))
        return NULL;
    struct patch_fresh_function fresh = {function, identity(link, symbol, module), module, hash};
    return fresh.name && VEC_PUSH(&patch->functions, fresh) ? NULL : error_memory();
}

struct crateld_error *link_patch_enter_function(struct link *link, struct link_symbol *symbol)
{
    struct link_function *function;
    bool is_it;
    TRY(is_fresh(link, symbol, &is_it));
    if (!is_it)
        return NULL;
    TRY(link_function_enter_symbol(link, symbol, &function));
    bool can_have_stub = symbol->section->is_toc ? function->has_record : !function->is_leaked;
    if (link->patch->is_counted || function->func_ref || !can_have_stub)
        return NULL;
    size_t count = link->patch->functions.count;
    TRY(enter(link, function, 0));
    return link->patch->functions.count > count ? link_function_need_stub(link, function) : NULL;
}

/* Notes that who takes the address of the new version of the base's function gets another. */
static void mark_move(struct link_patch *patch, const struct link_symbol *symbol)
{
    for (size_t i = 0; i < patch->moves.count; i++)
        if (patch->moves.at[i].move.old_rva == symbol->base->rva)
            patch->moves.at[i].move.flags |= CRATE_MOVE_FLAG_LEAKED;
}

struct crateld_error *link_patch_enter_leaked(struct link *link, struct link_function *function)
{
    struct link_symbol *symbol;
    bool is_it = false;
    TRY(patch_function_at(link, function->section, function->value, &symbol));
    if (symbol && symbol->state == LINK_SYMBOL_DEFINED && symbol->base && symbol->base->is_function)
        mark_move(link->patch, symbol);
    else if (symbol)
        TRY(is_fresh(link, symbol, &is_it));
    for (size_t i = 0; is_it && i < link->patch->functions.count; i++)
        if (link->patch->functions.at[i].function == function)
            return NULL;
    return is_it ? enter(link, function, link_relink_hash(function->section)) : NULL;
}

/* What stands for the function's entry stub. */
static struct crateld_error *make_address(struct link *link, const struct link_symbol *symbol,
                                          struct link_function *function)
{
    function->address = patch_make_symbol(link, symbol->name, STT_FUNC, 0);
    if (!function->address)
        return error_memory();
    function->address->base->function = function;
    function->address->is_fresh = true;
    return NULL;
}

struct crateld_error *patch_fresh_function_address(struct link *link, struct link_symbol *symbol,
                                                   struct link_symbol **ret)
{
    bool is_it;
    *ret = NULL;
    TRY(is_fresh(link, symbol, &is_it));
    if (!is_it)
        return NULL;
    TRY(link_patch_enter_function(link, symbol));
    struct link_function *function = link_function_of_symbol(link, symbol);
    if (!function || !function->func_ref)
        return NULL;
    if (!function->address)
        TRY(make_address(link, symbol, function));
    *ret = function->address;
    return NULL;
}

/* The table. */

struct crateld_error *patch_count_fresh_functions(struct link *link, struct crate_tables *tables)
{
    struct link_patch *patch = link->patch;
    patch->is_counted = true;
    for (size_t i = 0; i < patch->functions.count; i++) {
        struct crate_fresh_function entry = {.module = patch->functions.at[i].module};
        TRY(crate_tables_string(tables, patch->functions.at[i].name, &entry.name));
        if (!VEC_PUSH(&tables->fresh_functions, entry))
            return error_memory();
    }
    return NULL;
}

static void fill(const struct link *link, const struct patch_fresh_function *fresh, struct crate_fresh_function *entry)
{
    const struct toc_stub_ops *ops = link->machine->stubs;
    const struct link_function *function = fresh->function;
    bool is_toc = function->section->is_toc, has_stub = function->func_ref;
    entry->hash = fresh->hash;
    entry->rva = (uint32_t)link_section_rva(function->section, function->value);
    entry->stub_rva = has_stub ? (uint32_t)link_entry_stub_rva(link, function) : entry->rva;
    entry->func_ref = has_stub ? function->func_ref - 1 : CRATE_NONE;
    entry->flags = (is_toc ? CRATE_FRESH_FUNCTION_FLAG_TOC : 0) | (has_stub ? 0 : CRATE_FRESH_FUNCTION_FLAG_LEAKED);
    if (!has_stub)
        return;
    entry->jump_rva = entry->stub_rva + (is_toc ? ops->entry_toc_field_off : ops->entry_plain_field_off);
    entry->jump_addend = (int32_t)-link->machine->operand_bias;
    entry->stack_arguments = function->stack_arguments;
    if (function->is_varargs)
        entry->varargs_rva = (uint32_t)link_section_rva(function->section, function->varargs_entry);
}

static int compare_stubs(const void *a, const void *b)
{
    const struct crate_fresh_function *x = a, *y = b;
    return (x->stub_rva > y->stub_rva) - (x->stub_rva < y->stub_rva);
}

void patch_fill_fresh_functions(const struct link *link, struct crate_tables *tables)
{
    const struct link_patch *patch = link->patch;
    for (size_t i = 0; i < patch->functions.count; i++)
        fill(link, &patch->functions.at[i], &tables->fresh_functions.at[i]);
    if (patch->functions.count)
        qsort(tables->fresh_functions.at, patch->functions.count, sizeof *tables->fresh_functions.at, compare_stubs);
}

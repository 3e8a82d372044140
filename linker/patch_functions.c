#include "linker/patch_functions.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "linker/demangle.h"
#include "linker/function.h"

/* What the relocation means, by name: a function that is meant by its place in its section has one too. */
static struct crateld_error *name_of(struct matching *m, const struct link_section *section, const Elf64_Rela *reloc,
                                     const char **ret)
{
    struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)], *function = NULL;
    *ret = symbol->name;
    if (symbol->type != STT_SECTION || !symbol->section)
        return NULL;
    *ret = symbol->section->name;
    if (!patch_is_text(symbol->section))
        return NULL;
    TRY(link_function_symbol(m->link, symbol->section, symbol->value + (uint64_t)reloc->r_addend, &function));
    if (function)
        *ret = function->name;
    return NULL;
}

/* Likewise, of a relocation of the base. */
static struct crateld_error *base_name_of(struct matching *m, const struct relink_reloc *reloc, const char **ret)
{
    const struct relink_view *relink = &m->link->patch->base->relink;
    struct relink_symbol symbol;
    struct relink_section section;
    struct relink_module module;
    const struct relink_symbol *symbols = NULL;
    TRY(relink_view_symbol(relink, reloc->symbol, &symbol));
    *ret = symbol.name;
    if (symbol.type != STT_SECTION || symbol.where != RELINK_IN_SECTION)
        return NULL;
    TRY(relink_view_section(relink, symbol.section, &section));
    *ret = section.name;
    if (!(section.flags & RELINK_SECTION_TEXT))
        return NULL;
    TRY(relink_view_module(relink, symbol.module, &module));
    TRY(patch_module_symbols(m->link->patch->base, &module, &symbols));
    for (uint32_t i = 0; i < module.symbol_count; i++)
        if (symbols[i].type == STT_FUNC && symbols[i].where == RELINK_IN_SECTION &&
            symbols[i].section == symbol.section && symbols[i].value == symbol.value + (uint64_t)reloc->addend)
            *ret = symbols[i].name;
    return NULL;
}

/* The first relocation at or behind `off`; they are sorted. */
static uint32_t first_reloc(const struct link_section *section, uint64_t off)
{
    uint32_t i = 0;
    while (i < section->reloc_count && section->relocs[i].r_offset < off)
        i++;
    return i;
}

struct crateld_error *patch_has_same_names(struct matching *m, struct link_section *section, uint64_t off,
                                           uint64_t size, uint32_t base, uint64_t base_off, bool *ret)
{
    struct relink_cursor cursor;
    TRY(relink_view_relocs_in(&m->link->patch->base->relink, base, (uint32_t)base_off, (uint32_t)(base_off + size),
                              &cursor));
    *ret = false;
    for (uint32_t i = first_reloc(section, off);; i++) {
        struct relink_reloc known;
        const char *name, *base_name;
        bool is_end, is_own_end = i == section->reloc_count || section->relocs[i].r_offset >= off + size;
        TRY(relink_cursor_next(&cursor, &known, &is_end));
        if (is_end || is_own_end) {
            *ret = is_end && is_own_end;
            return NULL;
        }
        TRY(name_of(m, section, &section->relocs[i], &name));
        TRY(base_name_of(m, &known, &base_name));
        if (section->relocs[i].r_offset - off != known.off - base_off || strcmp(name, base_name) != 0)
            return NULL;
    }
}

bool patch_is_virtual_table(const struct link_symbol *symbol)
{
    return symbol->type == STT_OBJECT && !strncmp(symbol->name, "_ZTV", 4);
}

struct crateld_error *patch_check_virtual_table(struct matching *m, const struct link_symbol *symbol)
{
    struct counterpart old;
    bool is_same = false;
    TRY(patch_find_counterpart(m, symbol, &old));
    if (!old.symbol.name)
        return NULL;
    if (old.symbol.size == symbol->size)
        TRY(patch_has_same_names(m, symbol->section, symbol->value, symbol->size, old.symbol.section, old.symbol.value,
                                 &is_same));
    if (is_same)
        return NULL;
    char *name AUTO_FREE = demangle_cxx(symbol->name);
    return error_create(CRATELD_ERROR_MISMATCH,
                        "%s: %s: virtual functions came, went or moved, and objects that exist have the table of "
                        "before",
                        symbol->object->path, name ? name : symbol->name);
}

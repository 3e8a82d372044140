#include "linker/symtab.h"

#include <stdlib.h>
#include <string.h>

#include "linker/address.h"
#include "linker/tables.h"
#include "toc/stubs.h"

void link_symtab_deinit(struct link_symtab *symtab)
{
    free(symtab->symbols.at);
    free(symtab->names.at);
    *symtab = (struct link_symtab){0};
}

/* Appends a symbol called "<name><suffix>". */
static struct crateld_error *add(struct link_symtab *symtab, const char *name, const char *suffix, Elf64_Sym symbol)
{
    size_t name_size = strlen(name), suffix_size = strlen(suffix) + 1;
    symbol.st_name = (Elf64_Word)symtab->names.count;
    if (!VEC_RESERVE(&symtab->names, name_size + suffix_size) || !VEC_PUSH(&symtab->symbols, symbol))
        return error_memory();
    memcpy(symtab->names.at + symtab->names.count, name, name_size);
    memcpy(symtab->names.at + symtab->names.count + name_size, suffix, suffix_size);
    symtab->names.count += name_size + suffix_size;
    return NULL;
}

/* Where a DEFINED symbol of a live section stands in the file's terms. */
static Elf64_Sym describe(const struct link *link, const struct link_symbol *symbol, uint8_t binding)
{
    const struct link_section *section = symbol->section;
    uint64_t rva = link_symbol_rva(symbol, 0), off = 0;
    if (section->merge)
        section = link_merge_find(section, symbol->value, &off);
    uint8_t type = symbol->type == STT_GNU_IFUNC ? STT_FUNC : symbol->type;
    return (Elf64_Sym){
        .st_info = (unsigned char)ELF64_ST_INFO(binding, type),
        .st_other = symbol->visibility,
        .st_shndx = section->output ? (Elf64_Section)section->output->index : SHN_ABS,
        .st_value = type == STT_TLS ? rva - link->tls_rva : link->preferred_base + rva,
        .st_size = symbol->size,
    };
}

static bool is_listed(const struct link_symbol *symbol)
{
    return symbol->state == LINK_SYMBOL_DEFINED && symbol->section->is_live && *symbol->name &&
           (symbol->section->flags & SHF_ALLOC) && symbol->type != STT_SECTION && symbol->type != STT_FILE &&
           strncmp(symbol->name, ".L", 2) != 0;
}

static struct crateld_error *add_locals(const struct link *link, struct link_symtab *symtab)
{
    for (size_t i = 0; i < link->objects.count; i++) {
        struct link_object *object = link->objects.at[i];
        object->first_listed = (uint32_t)symtab->symbols.count;
        for (uint32_t k = 1; k < object->first_global; k++) {
            const struct link_symbol *symbol = &object->locals[k];
            Elf64_Sym file = {.st_info = ELF64_ST_INFO(STB_LOCAL, STT_FILE), .st_shndx = SHN_ABS};
            if (ELF64_ST_TYPE(object->elf_symbols[k].st_info) == STT_FILE && *symbol->name)
                TRY(add(symtab, symbol->name, "", file));
            else if (is_listed(symbol))
                TRY(add(symtab, symbol->name, "", describe(link, symbol, STB_LOCAL)));
        }
    }
    return NULL;
}

static struct crateld_error *add_stubs(const struct link *link, struct link_symtab *symtab)
{
    const struct link_output *text = NULL;
    for (size_t i = 0; i < link->outputs.count; i++)
        if (!strcmp(link->outputs.at[i]->name, ".crate.imports"))
            text = link->outputs.at[i];
    for (uint32_t i = 0; text && i < link->function_imports.count; i++) {
        const struct link_import *import = &link->function_imports.at[i];
        bool is_toc = import->kind == CRATE_IMPORT_CALL_TOC;
        Elf64_Sym stub = {
            .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC),
            .st_shndx = (Elf64_Section)text->index,
            .st_value = link->preferred_base + link_import_stub_rva(link, i),
            .st_size = is_toc ? link->machine->stubs->import_toc_size : link->machine->stubs->import_plain_size,
        };
        TRY(add(symtab, import->symbol->name, is_toc ? "@toc" : "@plt", stub));
    }
    return NULL;
}

/* Adds the global symbols; hidden ones, which are local by now (gABI ch. 4, "Symbol Visibility"), or the others. */
static struct crateld_error *add_globals(const struct link *link, struct link_symtab *symtab, bool is_hidden)
{
    for (size_t i = 0; i < link->symbols.count; i++) {
        const struct link_symbol *symbol = link->symbols.at[i];
        bool is_symbol_hidden = symbol->visibility == STV_HIDDEN || symbol->visibility == STV_INTERNAL;
        uint8_t binding = is_hidden ? STB_LOCAL : symbol->binding == STB_WEAK ? STB_WEAK : STB_GLOBAL;
        if (is_listed(symbol) && is_symbol_hidden == is_hidden)
            TRY(add(symtab, symbol->name, "", describe(link, symbol, binding)));
    }
    return NULL;
}

struct crateld_error *link_symtab_init(const struct link *link, struct link_symtab *ret)
{
    *ret = (struct link_symtab){0};
    struct crateld_error *error = add(ret, "", "", (Elf64_Sym){0});
    if (!error)
        error = add_stubs(link, ret);
    if (!error)
        error = add_locals(link, ret);
    if (!error)
        error = add_globals(link, ret, true);
    ret->first_global = (uint32_t)ret->symbols.count;
    if (!error)
        error = add_globals(link, ret, false);
    if (error)
        link_symtab_deinit(ret);
    return error;
}

static struct crateld_error *add_exports(const struct link *link, struct link_symtab *symtab)
{
    TRY(add(symtab, "", "", (Elf64_Sym){0}));
    for (size_t i = 0; i < link->symbols.count; i++) {
        const struct link_symbol *symbol = link->symbols.at[i];
        if (symbol->is_exported && is_listed(symbol))
            TRY(add(symtab, symbol->name, "",
                    describe(link, symbol, symbol->binding == STB_WEAK ? STB_WEAK : STB_GLOBAL)));
    }
    return NULL;
}

struct crateld_error *link_dynamic_symtab_init(const struct link *link, struct link_symtab *ret)
{
    *ret = (struct link_symtab){.first_global = 1};
    struct crateld_error *error = add_exports(link, ret);
    if (error)
        link_symtab_deinit(ret);
    return error;
}

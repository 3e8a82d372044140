#include "linker/symtab.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "linker/address.h"
#include "linker/output.h"
#include "linker/tables.h"
#include "toc/stubs.h"

void link_symtab_deinit(struct link_symtab *symtab)
{
    free(symtab->symbols.at);
    free(symtab->origins.at);
    free(symtab->names.at);
    *symtab = (struct link_symtab){0};
}

/* Appends a symbol called "<name><suffix>". */
static struct crateld_error *add(struct link_symtab *symtab, const char *name, const char *suffix, Elf64_Sym symbol,
                                 const struct link_symbol *origin)
{
    size_t name_size = strlen(name), suffix_size = strlen(suffix) + 1;
    symbol.st_name = (Elf64_Word)symtab->names.count;
    if (!VEC_RESERVE(&symtab->names, name_size + suffix_size) || !VEC_PUSH(&symtab->symbols, symbol) ||
        !VEC_PUSH(&symtab->origins, origin))
        return error_memory();
    memcpy(symtab->names.at + symtab->names.count, name, name_size);
    memcpy(symtab->names.at + symtab->names.count + name_size, suffix, suffix_size);
    symtab->names.count += name_size + suffix_size;
    return NULL;
}

/* What is known of a DEFINED symbol of a live section before it has its place. */
static Elf64_Sym describe(const struct link_symbol *symbol, uint8_t binding)
{
    uint8_t type = symbol->type == STT_GNU_IFUNC ? STT_FUNC : symbol->type;
    return (Elf64_Sym){
        .st_info = (unsigned char)ELF64_ST_INFO(binding, type),
        .st_other = symbol->visibility,
        .st_size = symbol->size,
    };
}

/* Where it is in the file's terms. */
static void place(const struct link *link, const struct link_symbol *symbol, Elf64_Sym *ret)
{
    const struct link_section *section = symbol->section;
    uint64_t rva = link_symbol_rva(symbol, 0), off = 0;
    if (section->merge)
        section = link_merge_find(section, symbol->value, &off);
    ret->st_shndx = section->output ? (Elf64_Section)section->output->index : SHN_ABS;
    ret->st_value = ELF64_ST_TYPE(ret->st_info) == STT_TLS ? rva - link->tls_rva : link->preferred_base + rva;
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
                TRY(add(symtab, symbol->name, "", file, NULL));
            else if (is_listed(symbol))
                TRY(add(symtab, symbol->name, "", describe(symbol, STB_LOCAL), symbol));
        }
    }
    return NULL;
}

/* Import stubs come first. */
static struct crateld_error *add_stubs(const struct link *link, struct link_symtab *symtab)
{
    for (uint32_t i = 0; i < link->function_imports.count; i++) {
        const struct link_import *import = &link->function_imports.at[i];
        bool is_toc = import->kind == CRATE_IMPORT_CALL_TOC;
        Elf64_Sym stub = {
            .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC),
            .st_size = is_toc ? link->machine->stubs->import_toc_size : link->machine->stubs->import_plain_size,
        };
        TRY(add(symtab, import->symbol->name, is_toc ? "@toc" : "@plt", stub, NULL));
    }
    return NULL;
}

static void place_stubs(const struct link *link, struct link_symtab *symtab)
{
    const struct link_output *text = link_find_output(link, ".crate.imports");
    for (uint32_t i = 0; text && i < link->function_imports.count; i++) {
        Elf64_Sym *stub = &symtab->symbols.at[1 + i];
        stub->st_shndx = (Elf64_Section)text->index;
        stub->st_value = link->preferred_base + link_import_stub_rva(link, i);
    }
}

/* Adds the global symbols; hidden ones, which are local by now (gABI ch. 4, "Symbol Visibility"), or the others. */
static struct crateld_error *add_globals(const struct link *link, struct link_symtab *symtab, bool is_hidden)
{
    for (size_t i = 0; i < link->symbols.count; i++) {
        const struct link_symbol *symbol = link->symbols.at[i];
        bool is_symbol_hidden = symbol->visibility == STV_HIDDEN || symbol->visibility == STV_INTERNAL;
        uint8_t binding = is_hidden ? STB_LOCAL : symbol->binding == STB_WEAK ? STB_WEAK : STB_GLOBAL;
        if (is_listed(symbol) && is_symbol_hidden == is_hidden)
            TRY(add(symtab, symbol->name, "", describe(symbol, binding), symbol));
    }
    return NULL;
}

struct crateld_error *link_symtab_init(const struct link *link, struct link_symtab *ret)
{
    size_t count = link_symbol_count(link); /* at most, but for the few stubs */
    *ret = (struct link_symtab){0};
    struct crateld_error *error =
        VEC_RESERVE(&ret->symbols, count) && VEC_RESERVE(&ret->origins, count) ? NULL : error_memory();
    if (!error)
        error = add(ret, "", "", (Elf64_Sym){0}, NULL);
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

void link_symtab_fill(const struct link *link, struct link_symtab *symtab)
{
    place_stubs(link, symtab);
    for (size_t i = 0; i < symtab->symbols.count; i++)
        if (symtab->origins.at[i])
            place(link, symtab->origins.at[i], &symtab->symbols.at[i]);
    free(STEAL_PTR(symtab->origins.at));
}

struct crateld_error *link_dynamic_symtab_init(const struct link *link, struct link_symtab *ret)
{
    *ret = (struct link_symtab){.first_global = 1};
    struct crateld_error *error = add(ret, "", "", (Elf64_Sym){0}, NULL);
    for (size_t i = 0; i < link->symbols.count && !error; i++) {
        const struct link_symbol *symbol = link->symbols.at[i];
        if (!symbol->is_exported || !is_listed(symbol))
            continue;
        Elf64_Sym export = describe(symbol, symbol->binding == STB_WEAK ? STB_WEAK : STB_GLOBAL);
        place(link, symbol, &export);
        error = add(ret, symbol->name, "", export, symbol);
    }
    if (error)
        link_symtab_deinit(ret);
    return error;
}

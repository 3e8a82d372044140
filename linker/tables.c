#include "linker/tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/address.h"
#include "linker/bundle.h"
#include "linker/function.h"
#include "linker/output.h"
#include "linker/patch.h"
#include "linker/scan.h"
#include "linker/shared_closure.h"
#include "linker/stub.h"
#include "toc/stubs.h"

/* Needed. */

/* Whether the library asks for something that this crate exports. */
static bool uses_exports(const struct link *link, const struct shared_library *library)
{
    for (uint32_t i = 1; i < library->symbol_count; i++) {
        struct shared_symbol wanted;
        if (!shared_library_symbol(library, i, &wanted) || wanted.is_defined || !*wanted.name)
            continue;
        const struct link_symbol *symbol = link_symbol_table_find(&link->symbols, wanted.name);
        if (symbol && symbol->is_exported)
            return true;
    }
    return false;
}

static struct crateld_error *fill_elf_needed(struct link *link, const struct link_provider *provider,
                                             struct crate_needed *needed)
{
    bool has_initialisers = false;
    needed->kind = CRATE_NEEDED_ELF;
    if (!shared_closure_is_resident(provider->name))
        TRY(shared_closure_has_initialisers(provider->library, &link->search, &has_initialisers));
    if (has_initialisers)
        needed->flags |= CRATE_NEEDED_FLAG_EAGER;
    if (uses_exports(link, provider->library))
        needed->flags |= CRATE_NEEDED_FLAG_USES_EXPORTS;
    return NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static struct crateld_error *add_needed(struct link *link, struct crate_tables *tables, struct link_provider *provider)
{
    struct crate_needed needed = {.kind = CRATE_NEEDED_CRATE};
    const char *path = "";
    TRY(crate_tables_string(tables, provider->name, &needed.name));
    if (provider->kind == LINK_PROVIDER_BASE) {
        TRY(link_patch_fill_needed(link, provider, &needed, &path));
    } else if (provider->kind == LINK_PROVIDER_ELF) {
        TRY(fill_elf_needed(link, provider, &needed));
        path = provider->path;
    } else if (provider->kind == LINK_PROVIDER_KEPT) {
        uint32_t name = needed.name;
        needed = provider->kept.entry;
        needed.name = name;
        path = provider->kept.path;
        TRY(crate_tables_string(tables, provider->kept.runpath, &needed.runpath));
    } else if (provider->kind == LINK_PROVIDER_CRATE) {
        memcpy(needed.build_id, provider->crate.build_id, sizeof needed.build_id);
        path = provider->crate.has_soname ? provider->name : base_name(provider->path);
    }
    if (link->options->runpath)
        TRY(crate_tables_string(tables, link->options->runpath, &needed.runpath));
    TRY(crate_tables_string(tables, path, &needed.path));
    if (!VEC_PUSH(&tables->needed, needed))
        return error_memory();
    provider->needed = (uint32_t)tables->needed.count;
    return NULL;
}

static void mark_used(struct link *link, const struct link_import *import)
{
    const struct link_symbol *symbol = import->symbol;
    if (symbol && (symbol->state == LINK_SYMBOL_IMPORTED || symbol->is_vague) &&
        symbol->provider < link->providers.count)
        link->providers.at[symbol->provider]->is_used = true;
}

static struct crateld_error *add_all_needed(struct link *link, struct crate_tables *tables)
{
    for (size_t i = 0; i < link->function_imports.count; i++)
        mark_used(link, &link->function_imports.at[i]);
    for (size_t i = 0; i < link->global_imports.count; i++)
        mark_used(link, &link->global_imports.at[i]);
    for (size_t i = 0; i < link->providers.count; i++) {
        struct link_provider *provider = link->providers.at[i];
        if (provider->is_used || (!provider->is_as_needed && provider->kind != LINK_PROVIDER_BASE &&
                                  provider->kind != LINK_PROVIDER_DECLARED))
            TRY(add_needed(link, tables, provider));
    }
    return NULL;
}

/* Imports and exports. */

static struct crateld_error *add_import(struct link *link, struct crate_tables *tables, const struct link_import *from)
{
    struct crate_import import = {.kind = from->kind, .flags = from->flags, .slot = from->slot, .needed = CRATE_NONE};
    const struct link_symbol *symbol = from->symbol;
    import.hash = hash_string(symbol ? symbol->name : "");
    if (symbol) {
        TRY(crate_tables_string(tables, symbol->name, &import.name));
        if (symbol->version)
            TRY(crate_tables_string(tables, symbol->version, &import.version));
        bool has_provider = symbol->provider < link->providers.count;
        if (symbol->is_base)
            import.fallback_rva = symbol->base->rva;
        if (has_provider && (symbol->state == LINK_SYMBOL_IMPORTED || symbol->is_vague))
            import.needed = link->providers.at[symbol->provider]->needed - 1;
        if (symbol->is_vague)
            import.flags |= CRATE_IMPORT_FLAG_VAGUE;
        else if (symbol->state != LINK_SYMBOL_DEFINED && !symbol->is_base && !symbol->is_strongly_referenced)
            import.flags |= CRATE_IMPORT_FLAG_WEAK;
    }
    return VEC_PUSH(&tables->imports, import) ? NULL : error_memory();
}

static uint8_t export_kind(const struct link_symbol *symbol)
{
    if (symbol->state == LINK_SYMBOL_ABSOLUTE)
        return CRATE_EXPORT_ABSOLUTE;
    if (symbol->type == STT_TLS)
        return CRATE_EXPORT_TLS;
    return symbol->section->flags & SHF_EXECINSTR ? CRATE_EXPORT_FUNCTION_PLAIN : CRATE_EXPORT_DATA;
}

void link_tables_describe_export(const struct link_symbol *symbol, struct crate_export *ret)
{
    ret->size = symbol->size > UINT32_MAX ? UINT32_MAX : (uint32_t)symbol->size;
    ret->kind = export_kind(symbol);
    ret->flags = (uint16_t)((symbol->binding == STB_WEAK ? CRATE_EXPORT_FLAG_WEAK : 0) |
                            (symbol->is_vague ? CRATE_EXPORT_FLAG_VAGUE : 0));
    ret->import = CRATE_NONE;
}

/* Enters the export of symbol number `number`, which stands in its rva until link_tables_fill(). */
static struct crateld_error *add_export(struct link *link, struct crate_tables *tables, uint32_t number)
{
    const struct link_symbol *symbol = link->symbols.at[number];
    struct crate_export entry = {.hash = symbol->hash, .rva = number};
    link_tables_describe_export(symbol, &entry);
    TRY(crate_tables_string(tables, symbol->name, &entry.name));
    return VEC_PUSH(&tables->exports, entry) ? NULL : error_memory();
}

static bool is_export(const struct link *link, const struct link_symbol *symbol)
{
    return symbol->is_exported && (!link->bundle || link_bundle_exports(link, symbol)) &&
           (symbol->state == LINK_SYMBOL_ABSOLUTE ||
            (symbol->state == LINK_SYMBOL_DEFINED && symbol->section->is_live));
}

struct crateld_error *link_tables_count(struct link *link, struct link_image *image)
{
    struct crate_tables *tables = &image->tables;
    TRY(crate_tables_string(tables, link->name, &image->header.name));
    TRY(add_all_needed(link, tables));
    if (link->entry && link->options->interpreter)
        TRY(crate_tables_string(tables, link->options->interpreter, &image->interpreter));
    /* Before the imports, so that their names are near the start of the file, where other links read them. */
    for (size_t i = 0; i < link->symbols.count; i++)
        if (is_export(link, link->symbols.at[i]))
            TRY(add_export(link, tables, (uint32_t)i));
    if (link->patch)
        TRY(link_patch_count(link, tables));
    for (size_t i = 0; i < link->function_imports.count; i++)
        TRY(add_import(link, tables, &link->function_imports.at[i]));
    for (size_t i = 0; i < link->global_imports.count; i++) {
        TRY(add_import(link, tables, &link->global_imports.at[i]));
        struct link_symbol *symbol = link->global_imports.at[i].symbol;
        if (symbol && link->global_imports.at[i].kind == CRATE_IMPORT_TLS_OFFSET)
            symbol->tls_offset_import = (uint32_t)tables->imports.count;
        else if (symbol)
            symbol->address_import = (uint32_t)tables->imports.count;
    }
    if (link->options->is_stub)
        TRY(link_stub_tables(link, tables));
    if (link->bundle)
        TRY(link_bundle_count(link, tables));
    if (!VEC_PUSH(&tables->strings, '\0'))
        return error_memory();
    return crate_tables_seal(tables, &image->header);
}

/* RELR. */

static int compare_rvas(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Whether a constant slot's value moves with the crate. */
static bool is_moving(const struct link_symbol *symbol)
{
    return symbol->state == LINK_SYMBOL_DEFINED || symbol->has_canonical_stub;
}

/* Those of one section. */
static size_t list_relr_of(const struct link_section *section, uint64_t *rvas)
{
    size_t count = 0;
    for (uint32_t i = 0; count < section->relr_count; i++)
        if (section->decisions[i] & LINK_DECISION_IS_RELR)
            rvas[count++] = link_place_rva(section, section->relocs[i].r_offset);
    return count;
}

/* The TOC's come first, as it lies before other data: that way they are mostly sorted. */
static size_t list_relr_rvas(const struct link *link, uint64_t *rvas)
{
    size_t count = 0;
    for (uint32_t i = 0; i < link->lazy_count; i++)
        rvas[count++] = link_function_slot_rva(link, i);
    for (size_t i = 0; i < link->constant_slots.count; i++)
        if (is_moving(link->constant_slots.at[i].symbol))
            rvas[count++] = link_global_slot_rva(link, link->constant_slots.at[i].slot);
    for (uint32_t i = 0; i < link->func_refs.count; i++) {
        uint64_t ref = link->toc_rva + toc_func_ref_off(&link->toc, i);
        rvas[count++] = ref;
        rvas[count++] = ref + 8;
    }
    for (size_t i = 0; i < link->outputs.count; i++)
        for (size_t k = 0; k < link->outputs.at[i]->sections.count; k++)
            count += list_relr_of(link->outputs.at[i]->sections.at[k], rvas + count);
    return count;
}

/* How many there are at most. */
static size_t count_relr(const struct link *link)
{
    size_t count = link->lazy_count + link->constant_slots.count + 2 * link->func_refs.count;
    for (size_t i = 0; i < link->outputs.count; i++)
        for (size_t k = 0; k < link->outputs.at[i]->sections.count; k++)
            count += link->outputs.at[i]->sections.at[k]->relr_count;
    return count;
}

struct crateld_error *link_tables_relr(struct link *link, struct link_image *image)
{
    uint64_t *rvas = calloc(count_relr(link) + 1, sizeof *rvas);
    if (!rvas)
        return error_memory();
    size_t count = list_relr_rvas(link, rvas);
    for (size_t i = 1; i < count; i++)
        if (rvas[i - 1] > rvas[i]) {
            qsort(rvas, count, sizeof *rvas, compare_rvas);
            break;
        }
    image->tables.relr.count = 0;
    struct crateld_error *error = crate_tables_relr(&image->tables, rvas, count);
    free(rvas);
    return error;
}

/* Filling in. */

uint64_t link_canonical_rva(const struct link *link, const struct link_symbol *symbol)
{
    if (symbol->state != LINK_SYMBOL_DEFINED || symbol->type == STT_GNU_IFUNC)
        return link_import_stub_rva(link, symbol->state == LINK_SYMBOL_DEFINED
                                              ? link->lazy_count + symbol->call_plain - 1
                                              : symbol->call_plain - 1);
    if (symbol->section->flags & SHF_EXECINSTR) {
        const struct link_function *function = link_function_of_symbol(link, symbol);
        if (function && function->func_ref)
            return link_entry_stub_rva(link, function);
    }
    return link_symbol_rva(symbol, 0);
}

void link_tables_fill_export(const struct link *link, const struct link_symbol *symbol, struct crate_export *entry)
{
    if (symbol->state == LINK_SYMBOL_ABSOLUTE) {
        entry->rva = (uint32_t)symbol->value;
        entry->canonical_rva = (uint32_t)(symbol->value >> 32);
        return;
    }
    if (symbol->is_vague)
        entry->import = symbol->address_import - 1;
    if (symbol->type == STT_TLS) {
        entry->rva = entry->canonical_rva = (uint32_t)(link_symbol_rva(symbol, 0) - link->tls_rva);
        return;
    }
    entry->canonical_rva = (uint32_t)link_canonical_rva(link, symbol);
    entry->rva = symbol->type == STT_GNU_IFUNC ? entry->canonical_rva : (uint32_t)link_symbol_rva(symbol, 0);
    const struct link_function *function = symbol->section->flags & SHF_EXECINSTR && symbol->type != STT_GNU_IFUNC
                                               ? link_function_of_symbol(link, symbol)
                                               : NULL;
    if (function && function->func_ref && symbol->section->is_toc)
        entry->kind = CRATE_EXPORT_FUNCTION_TOC;
}

/* Where a SELF, IFUNC or VAGUE import finds its own definition. */
static void fill_import(const struct link *link, const struct link_import *from, struct crate_import *import)
{
    const struct link_symbol *symbol = from->symbol;
    if (symbol && symbol->is_fresh)
        import->fallback_rva = (uint32_t)(link_section_rva(symbol->base->fresh, symbol->base->rva) -
                                          (symbol->base->fresh->flags & SHF_TLS ? link->tls_rva : 0));
    if (!symbol || symbol->state != LINK_SYMBOL_DEFINED)
        return;
    uint64_t rva = link_symbol_rva(symbol, 0);
    if (symbol->type == STT_TLS)
        rva -= link->tls_rva;
    else if (symbol->type == STT_GNU_IFUNC) {
        const struct link_function *function = link_function_of_symbol(link, symbol);
        if (function && function->func_ref)
            rva = link_entry_stub_rva(link, function);
    }
    import->fallback_rva = (uint32_t)rva;
}

static struct crate_array array_of(const struct link *link, const char *name)
{
    const struct link_output *output = link_find_output(link, name);
    if (!output || output->segment != CRATE_SEGMENT_DATA || output->type == SHT_NOBITS || (output->flags & SHF_TLS))
        return (struct crate_array){0};
    return (struct crate_array){(uint32_t)output->rva, (uint32_t)(output->size / 8)};
}

/* The first byte of TOC code, which lies behind all other text. */
static uint32_t toc_text_rva(const struct link *link)
{
    const struct link_output *text = link_find_output(link, ".text");
    for (size_t i = 0; text && i < text->sections.count; i++)
        if (text->sections.at[i]->is_toc)
            return (uint32_t)link_section_rva(text->sections.at[i], 0);
    return 0;
}

void link_tables_fill_header(const struct link *link, struct crate_header *header)
{
    header->magic = CRATE_MAGIC;
    header->abi_major = CRATE_ABI_MAJOR;
    header->abi_minor = CRATE_ABI_MINOR;
    header->machine = link->machine->elf_machine;
    header->header_size = sizeof *header;
    header->flags = link->flags | (link->patch ? CRATE_FLAG_PATCH : 0);
    if (link->options->stack == LINK_STACK_EXECUTABLE)
        header->flags |= CRATE_FLAG_EXEC_STACK;
    if (link->options->keep_relink)
        header->flags |= CRATE_FLAG_HAS_RELINK;
    if (link->options->has_soname)
        header->flags |= CRATE_FLAG_SONAME;
    header->preferred_base = link->preferred_base;
    header->toc_rva = (uint32_t)link->toc_rva;
    header->imported_functions = (uint32_t)link->function_imports.count;
    header->imported_globals = link->global_slot_count;
    header->func_refs = (uint32_t)link->func_refs.count;
    header->type_ids = link->type_count;
    if (link->lazy_count)
        header->lazy_stubs_rva = (uint32_t)link->lazy_rva + link->machine->stubs->lazy_head_size;
    else if (link->function_imports.count)
        header->lazy_stubs_rva = (uint32_t)link->stubs_rva;
    header->preinit_array = array_of(link, ".preinit_array");
    header->init_array = array_of(link, ".init_array");
    header->fini_array = array_of(link, ".fini_array");
    header->types = array_of(link, LINK_TYPES_SECTION);
    header->tls_rva = (uint32_t)link->tls_rva;
    header->tls_file_size = (uint32_t)link->tls_file_size;
    header->tls_mem_size = link->tls_mem_size;
    header->tls_align = (uint32_t)link->tls_align;
    header->toc_text_rva = toc_text_rva(link);
    if (header->toc_text_rva)
        header->flags |= CRATE_FLAG_TOC_CODE;
    if (header->init_array.count || header->fini_array.count || header->preinit_array.count || header->tls_mem_size ||
        header->flags & CRATE_FLAG_EXEC_STACK)
        header->flags |= CRATE_FLAG_EAGER;
    const struct link_output *hdr = link_find_output(link, ".eh_frame_hdr");
    if (hdr) {
        header->eh_frame_hdr_rva = (uint32_t)hdr->rva;
        header->eh_frame_hdr_size = (uint32_t)hdr->size;
    }
    if (link->entry && link->entry->state == LINK_SYMBOL_DEFINED)
        header->entry_rva = (uint32_t)link_canonical_rva(link, link->entry);
}

struct crateld_error *link_tables_fill(struct link *link, struct link_image *image)
{
    struct crate_tables *tables = &image->tables;
    size_t function_count = link->function_imports.count;
    for (size_t i = 0; i < function_count + link->global_imports.count; i++)
        fill_import(link,
                    i < function_count ? &link->function_imports.at[i] : &link->global_imports.at[i - function_count],
                    &tables->imports.at[i]);
    for (size_t i = 0; i < tables->exports.count; i++)
        if (!(tables->exports.at[i].flags & CRATE_EXPORT_FLAG_FORWARD))
            link_tables_fill_export(link, link->symbols.at[tables->exports.at[i].rva], &tables->exports.at[i]);
    if (link->patch)
        link_patch_fill(link, tables);
    if (link->bundle)
        TRY(link_bundle_fill(link, tables, &image->header));
    return NULL;
}

static int compare_data_relocs(const void *a, const void *b)
{
    const struct crate_data_reloc *x = a, *y = b;
    return (x->place_rva > y->place_rva) - (x->place_rva < y->place_rva);
}

static int compare_fixups(const void *a, const void *b)
{
    const struct crate_fixup *x = a, *y = b;
    return (x->place_rva > y->place_rva) - (x->place_rva < y->place_rva);
}

struct crateld_error *link_tables_places(struct link *link, struct link_image *image)
{
    struct crate_tables *tables = &image->tables;
    for (size_t i = 0; i < link->data_relocs.count; i++) {
        const struct link_loader_place *place = &link->data_relocs.at[i];
        struct crate_data_reloc reloc = {(uint32_t)place->rva, place->symbol->address_import - 1, place->addend};
        if (!VEC_PUSH(&tables->data_relocs, reloc))
            return error_memory();
    }
    for (size_t i = 0; i < link->fixups.count; i++) {
        const struct link_loader_place *place = &link->fixups.at[i];
        bool is_tls = place->kind == CRATE_FIXUP_TPOFF32;
        struct crate_fixup fixup = {
            .place_rva = (uint32_t)place->rva,
            .import = !place->symbol ? CRATE_NONE
                      : is_tls       ? place->symbol->tls_offset_import - 1
                                     : place->symbol->address_import - 1,
            .addend = place->addend,
            .kind = place->kind,
        };
        if (!VEC_PUSH(&tables->fixups, fixup))
            return error_memory();
    }
    if (tables->data_relocs.count)
        qsort(tables->data_relocs.at, tables->data_relocs.count, sizeof *tables->data_relocs.at, compare_data_relocs);
    if (tables->fixups.count)
        qsort(tables->fixups.at, tables->fixups.count, sizeof *tables->fixups.at, compare_fixups);
    return NULL;
}

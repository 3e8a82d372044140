#include "linker/scan_ahead.h"

#include "linker/scan.h"

/* Whether link_reference_of() makes nothing for the relocation, whatever it decides: it is to what the crate defines
 * itself, and no stub can come between. Nothing that a scan changes is looked at. */
static bool needs_nothing(const struct link *link, const struct link_section *section, const Elf64_Rela *reloc)
{
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    uint8_t formula = link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info))->formula;
    if (symbol->state != LINK_SYMBOL_DEFINED || symbol->is_vague || symbol->type == STT_GNU_IFUNC ||
        (symbol->section->flags & SHF_TLS) || symbol->section->is_toc)
        return false;
    if (formula == RELOC_BRANCH)
        return true;
    bool may_be_address = (section->flags & SHF_EXECINSTR) && (symbol->section->flags & SHF_EXECINSTR);
    return formula == RELOC_RELATIVE && (!may_be_address || link->machine->is_branch(section->data, reloc->r_offset));
}

static struct crateld_error *scan_section(struct link *link, struct arena *arena, struct link_section *section)
{
    section->decisions = arena_alloc(arena, section->reloc_count);
    if (!section->decisions)
        return error_memory();
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        struct link_reference ref = {0};
        if (!needs_nothing(link, section, &section->relocs[i]))
            continue;
        struct crateld_error *error = link_reference_of(link, section, &section->relocs[i], LINK_SCANNING, &ref);
        if (!error)
            section->decisions[i] = ref.action;
        crateld_error_destroy(error); /* the scan comes to it again, and reports it when it is its turn */
    }
    return NULL;
}

static struct crateld_error *scan_object(void *context, uint32_t worker, size_t i)
{
    struct link *link = context;
    struct link_object *object = link->objects.at[i];
    for (uint32_t k = 1; k < object->section_count; k++) {
        struct link_section *section = &object->sections[k];
        bool is_scanned =
            (section->kind == LINK_SECTION_PLAIN && section->is_live) || section->kind == LINK_SECTION_EH_FRAME;
        if (is_scanned && section->reloc_count && section->is_relocs_sorted)
            TRY(scan_section(link, &link->worker_arenas[worker], section));
    }
    return NULL;
}

struct crateld_error *link_scan_ahead(struct link *link)
{
    if (link->patch) /* what its symbols mean is decided one by one */
        return NULL;
    size_t count = link->objects.count;
    return workers_run(link_workers_for(link, count), count, scan_object, link);
}

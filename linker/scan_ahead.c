#include "linker/scan_ahead.h"

#include <stdlib.h>

#include "linker/scan.h"

/* What one thread decides about. */
struct looking {
    struct link *link;
    struct arena *arena;
    struct link_object *object;
    bool is_complete; /* nothing of the object is left to link_scan(), but its calls */
};

/* Whether the place stands for the exact start of a function that has its entry stub: nothing is made for it then. */
static bool is_stubbed_start(const struct link_symbol *symbol, int64_t addend)
{
    return symbol->type == STT_FUNC && !addend && symbol->function && symbol->function->func_ref;
}

/* Whether the place is a word of data that the RELR table relocates, if what is there moves. */
static bool is_data_word(const struct link_section *section, const Elf64_Rela *reloc)
{
    return section->kind == LINK_SECTION_PLAIN && !(section->flags & SHF_EXECINSTR) && section->align_log2 >= 3 &&
           reloc->r_offset % 8 == 0;
}

/* Whether link_reference_of() makes nothing for the relocation, whatever it decides: it is to what the crate defines
 * itself, and no stub is made. Nothing that a scan changes is looked at. */
static bool needs_nothing(const struct link *link, const struct link_section *section, const Elf64_Rela *reloc)
{
    const struct reloc_machine *machine = link->machine;
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    const struct reloc_howto *howto = machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info));
    if (symbol->state != LINK_SYMBOL_DEFINED || symbol->is_vague || symbol->type == STT_GNU_IFUNC ||
        (symbol->section->flags & SHF_TLS) || symbol->section->is_toc)
        return false;
    bool is_code = section->flags & SHF_EXECINSTR, is_to_code = symbol->section->flags & SHF_EXECINSTR;
    int64_t bias = machine->operand_bias;
    switch (howto->formula) {
    case RELOC_BRANCH:
        return true;
    case RELOC_RELATIVE:
        return !is_code || !is_to_code || machine->is_branch(section->data, reloc->r_offset) ||
               is_stubbed_start(symbol, reloc->r_addend + bias);
    case RELOC_SLOT_RELAX:
        return reloc->r_addend == -bias && (machine->is_slot_branch(section->data, reloc->r_offset) ||
                                            (machine->is_slot_load(section->data, reloc->r_offset) && !is_to_code));
    case RELOC_ABSOLUTE:
        return howto->size == 8 && is_data_word(section, reloc) &&
               (!is_to_code || is_stubbed_start(symbol, reloc->r_addend));
    default:
        return false;
    }
}

/* Whether it is a call of plain code to another crate, which takes a slot and nothing more. */
static bool is_import_call(const struct link *link, const struct link_section *section, const Elf64_Rela *reloc)
{
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    const struct reloc_howto *howto = link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info));
    return symbol->state == LINK_SYMBOL_IMPORTED && !section->is_toc && section->kind == LINK_SECTION_PLAIN &&
           howto->formula == RELOC_BRANCH && section->type != SHT_NOBITS &&
           reloc->r_offset + howto->size <= section->size;
}

/* Whether position-dependent code takes the address of an imported function directly. */
static bool takes_stub(const struct link *link, const struct link_section *section, const Elf64_Rela *reloc)
{
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    if (symbol->state != LINK_SYMBOL_IMPORTED || symbol->is_base ||
        (symbol->type != STT_FUNC && symbol->type != STT_GNU_IFUNC))
        return false;
    const struct reloc_howto *howto = link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info));
    return howto->size == 4 &&
           (howto->formula == RELOC_ABSOLUTE ||
            (howto->formula == RELOC_RELATIVE && !link->machine->is_branch(section->data, reloc->r_offset)));
}

/* Lists the symbol among those that the object calls. */
static struct crateld_error *note_call(struct link_object *object, struct link_symbol *symbol)
{
    enum { MANY = 16 };
    for (size_t i = 0; i < object->calls.count && i < MANY; i++)
        if (object->calls.at[i] == symbol)
            return NULL;
    return VEC_PUSH(&object->calls, symbol) ? NULL : error_memory();
}

static struct crateld_error *decide_one(const struct looking *l, struct link_section *section, uint32_t i)
{
    struct link *link = l->link;
    const Elf64_Rela *reloc = &section->relocs[i];
    struct link_reference ref = {0};
    if (takes_stub(link, section, reloc)) { /* for all of the crate its address is its stub's then */
        __atomic_store_n(&section->object->symbols[ELF64_R_SYM(reloc->r_info)]->has_canonical_stub, true,
                         __ATOMIC_RELAXED);
        return NULL;
    }
    if (link->patch) /* in which what symbols mean is decided one by one */
        return NULL;
    if (is_import_call(link, section, reloc)) {
        section->decisions[i] = LINK_ACTION_IMPORT_STUB;
        return note_call(l->object, section->object->symbols[ELF64_R_SYM(reloc->r_info)]);
    }
    if (!needs_nothing(link, section, reloc))
        return NULL;
    struct crateld_error *error = link_reference_of(link, section, reloc, LINK_SCANNING, &ref);
    if (!error)
        section->decisions[i] = link_decision(&ref);
    crateld_error_destroy(error); /* the scan comes to it again, and reports it when it is its turn */
    return NULL;
}

static struct crateld_error *decide(struct looking *l, struct link_section *section)
{
    section->decisions = arena_alloc(l->arena, section->reloc_count);
    if (!section->decisions)
        return error_memory();
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        link_look_ahead(section, i);
        TRY(decide_one(l, section, i));
        l->is_complete &= section->decisions[i] || section->kind == LINK_SECTION_EH_FRAME;
    }
    return NULL;
}

static struct crateld_error *look_at_object(void *context, uint32_t worker, size_t i)
{
    struct link *link = context;
    struct link_object *object = link->objects.at[i];
    struct looking looking = {link, &link->worker_arenas[worker], object, !link->patch};
    for (uint32_t k = 1; k < object->section_count; k++) {
        struct link_section *section = &object->sections[k];
        if (!(section->kind == LINK_SECTION_PLAIN && section->is_live) && section->kind != LINK_SECTION_EH_FRAME)
            continue;
        if (k + 2 < object->section_count)
            link_look_beyond(&object->sections[k + 1], &object->sections[k + 2]);
        if (section->reloc_count)
            TRY(decide(&looking, section));
    }
    object->is_scanned = looking.is_complete;
    return NULL;
}

struct crateld_error *link_scan_ahead(struct link *link)
{
    size_t count = link->objects.count;
    return workers_run(link_workers_for(link, count), count, look_at_object, link);
}

#include "linker/patch_private.h"

#include <string.h>

#include "linker/patch_base.h"

/* What was found so far. */
struct naming {
    struct link *link;
    bool names_code;      /* text, or data */
    bool names_constants; /* read-only data */
};

/* The relocation of the section at `off`; NULL: there is none. */
static const Elf64_Rela *find_reloc(const struct link_section *section, uint64_t off)
{
    uint32_t low = 0, high = section->reloc_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (section->relocs[middle].r_offset < off)
            low = middle + 1;
        else
            high = middle;
    }
    return low < section->reloc_count && section->relocs[low].r_offset == off ? &section->relocs[low] : NULL;
}

static const struct link_symbol *symbol_of(const struct link_section *section, const Elf64_Rela *reloc)
{
    return section->object->symbols[ELF64_R_SYM(reloc->r_info)];
}

static uint8_t formula_of(const struct naming *naming, const Elf64_Rela *reloc)
{
    return naming->link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info))->formula;
}

/* Whether a table of jumps begins at byte `off` of the read-only section: distances to code. */
static bool is_jump_table(const struct naming *naming, const struct link_section *section, uint64_t off)
{
    const Elf64_Rela *reloc = section->kind == LINK_SECTION_PLAIN ? find_reloc(section, off) : NULL;
    const struct link_section *target = reloc ? symbol_of(section, reloc)->section : NULL;
    return target && formula_of(naming, reloc) == RELOC_RELATIVE && target->flags & SHF_EXECINSTR;
}

/* Something computes the address of byte `off` of the section, which is the patch's. */
static void note(struct naming *naming, const struct link_section *section, uint64_t off)
{
    if (section->flags & (SHF_EXECINSTR | SHF_WRITE) || section->is_relocated_at_load)
        naming->names_code = true;
    else
        naming->names_constants |= !is_jump_table(naming, section, off);
}

/* The relocation computes the address of its symbol, which may be one in the base. */
static struct crateld_error *note_reloc(struct naming *naming, const struct link_section *from, const Elf64_Rela *reloc)
{
    struct link_symbol *symbol = from->object->symbols[ELF64_R_SYM(reloc->r_info)];
    uint8_t formula = formula_of(naming, reloc);
    bool has_bias = formula != RELOC_ABSOLUTE && from->flags & SHF_EXECINSTR;
    uint64_t value =
        symbol->value + (uint64_t)reloc->r_addend + (uint64_t)(has_bias ? naming->link->machine->operand_bias : 0);
    struct link_patch_target target;
    struct crateld_error *error = link_patch_target(naming->link, from, symbol, value, false, &target);
    if (error && crateld_error_code(error) == CRATELD_ERROR_MEMORY)
        return error;
    if (error) { /* it was reported when the section was scanned */
        crateld_error_destroy(error);
        return NULL;
    }
    symbol = target.symbol;
    if (symbol->state != LINK_SYMBOL_DEFINED || symbol->is_base || !symbol->section || symbol->section->flags & SHF_TLS)
        return NULL;
    note(naming, symbol->section, value);
    return NULL;
}

/* Whether the relocation of code, whose next computed address has its field at `lea`, makes an address. */
static bool computes(const struct naming *naming, const struct link_section *section, const Elf64_Rela *reloc,
                     uint64_t lea)
{
    const struct reloc_machine *machine = naming->link->machine;
    const struct reloc_howto *howto = machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info));
    switch (howto->formula) {
    case RELOC_NOTHING:
    case RELOC_BRANCH:
    case RELOC_BRANCH_OFFSET:
    case RELOC_SIZE:
        return false;
    case RELOC_SLOT:
    case RELOC_SLOT_RELAX:
        return !machine->is_slot_branch(section->data, reloc->r_offset);
    case RELOC_RELATIVE: /* the rest are operands in memory, and calls */
        return howto->size != 4 || reloc->r_offset == lea;
    default:
        return true;
    }
}

/* Addresses that the assembler computes itself are of the section's own code. */
static struct crateld_error *search_code(struct naming *naming, struct link_section *section)
{
    uint64_t at = 0, field = 0;
    int64_t target;
    uint32_t i = 0;
    for (bool has_next = true; has_next;) {
        has_next = naming->link->machine->next_code_address(section->data, &at, &field, &target);
        for (; i < section->reloc_count && (!has_next || section->relocs[i].r_offset <= field); i++)
            if (computes(naming, section, &section->relocs[i], has_next ? field : UINT64_MAX))
                TRY(note_reloc(naming, section, &section->relocs[i]));
        naming->names_code |=
            has_next && !find_reloc(section, field) && target >= 0 && (uint64_t)target < section->data.size;
    }
    return NULL;
}

/* Tables of jumps and those of exceptions lead the code that they belong to, and it alone. */
static struct crateld_error *search_data(struct naming *naming, const struct link_section *section)
{
    bool is_exceptions = !strncmp(section->name, ".gcc_except_table", 17);
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        const struct link_section *target = symbol_of(section, &section->relocs[i])->section;
        bool is_distance = formula_of(naming, &section->relocs[i]) == RELOC_RELATIVE;
        bool is_jump = is_distance && !(section->flags & SHF_WRITE) && target && target->flags & SHF_EXECINSTR;
        if (!is_jump && !(is_distance && is_exceptions))
            TRY(note_reloc(naming, section, &section->relocs[i]));
    }
    return NULL;
}

struct crateld_error *patch_private_flags(struct link *link, uint32_t *ret)
{
    struct naming naming = {.link = link};
    for (size_t i = 0; i < link->objects.count; i++) {
        struct link_object *object = link->objects.at[i];
        for (uint32_t k = 1; k < object->section_count; k++) {
            struct link_section *section = &object->sections[k];
            if (section->kind != LINK_SECTION_PLAIN || !section->is_live || !(section->flags & SHF_ALLOC))
                continue;
            TRY(section->flags & SHF_EXECINSTR ? search_code(&naming, section) : search_data(&naming, section));
        }
    }
    /* Code of the base computes the addresses of constants that have moved. */
    for (size_t i = 0; i < link->patch->moves.count; i++)
        if (link->patch->moves.at[i].move.flags & CRATE_MOVE_FLAG_CONSTANT)
            note(&naming, link->patch->moves.at[i].symbol->section, link->patch->moves.at[i].symbol->value);
    *ret = (naming.names_code ? 0 : CRATE_FLAG_PRIVATE_CODE) |
           (naming.names_code || naming.names_constants ? 0 : CRATE_FLAG_PRIVATE_CONSTANTS);
    return NULL;
}

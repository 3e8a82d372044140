#include "linker/shape.h"

#include <string.h>

#include "base/hash.h"

bool link_shape_is_open(const struct link_section *section)
{
    return section->kind == LINK_SECTION_PLAIN && section->type == SHT_PROGBITS && (section->flags & SHF_ALLOC) &&
           !section->is_reversed;
}

static void add(XXH3_state_t *state, const void *bytes, size_t size)
{
    if (size)
        XXH3_64bits_update(state, bytes, size);
}

static void add_text(XXH3_state_t *state, const char *text)
{
    add(state, text, strlen(text) + 1);
}

/* What the link's decisions about a relocation read of the section's bytes. */
static uint64_t instruction_at(const struct reloc_machine *machine, const struct link_section *section, uint32_t i)
{
    struct span code = section->data;
    uint64_t off = section->relocs[i].r_offset,
             size = machine->howto((uint32_t)ELF64_R_TYPE(section->relocs[i].r_info))->size;
    uint64_t field = 0;
    bool is_slot_branch = machine->is_slot_branch(code, off);
    if (size <= 8 && span_has(code, off, size))
        memcpy(&field, code.data + off, size);
    return (field * 64) ^ (uint64_t)(machine->is_branch(code, off) | is_slot_branch << 1 |
                                     machine->is_slot_load(code, off) << 2 | machine->is_tls_desc(code, off) << 3 |
                                     (is_slot_branch && machine->relax_branch_shift(code, off)) << 4);
}

/* Addresses within the section that its code computes without a relocation: linker/leaked.h. */
static void add_leaks(XXH3_state_t *state, const struct reloc_machine *machine, const struct link_section *section)
{
    uint64_t at = 0, field;
    int64_t target;
    uint32_t next = 0;
    while (machine->next_code_address(section->data, &at, &field, &target)) {
        while (next < section->reloc_count && section->relocs[next].r_offset < field)
            next++;
        bool is_relocated = next < section->reloc_count && section->relocs[next].r_offset == field;
        if (!is_relocated && target >= 0 && (uint64_t)target < section->data.size)
            add(state, &target, sizeof target);
    }
}

static void add_section(XXH3_state_t *state, const struct reloc_machine *machine, const struct link_section *section)
{
    bool is_open = link_shape_is_open(section);
    uint64_t fixed[] = {section->type,        section->flags,      section->size,       section->link,
                        section->reloc_count, section->align_log2, section->entry_size, section->kind};
    add(state, fixed, sizeof fixed);
    add_text(state, section->name);
    add(state, section->relocs, section->reloc_count * sizeof *section->relocs);
    if (!is_open) {
        if (section->kind != LINK_SECTION_DROPPED)
            add(state, section->data.data, section->data.size);
        return;
    }
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        uint64_t instruction = instruction_at(machine, section, i);
        add(state, &instruction, sizeof instruction);
    }
    if (section->flags & SHF_EXECINSTR)
        add_leaks(state, machine, section);
}

static void add_group(XXH3_state_t *state, const struct link_group *group)
{
    add_text(state, group->signature);
    add(state, &group->is_comdat, sizeof group->is_comdat);
    add(state, &group->member_count, sizeof group->member_count);
    add(state, group->members, group->member_count * sizeof *group->members);
}

/* False if the symbol may mean more than its entry says. */
static bool add_symbol(XXH3_state_t *state, const struct link_object *object, uint32_t i)
{
    const Elf64_Sym *symbol = &object->elf_symbols[i];
    const char *name = link_object_symbol_name(object, i);
    bool is_file = ELF64_ST_TYPE(symbol->st_info) == STT_FILE;
    uint64_t fixed[] = {symbol->st_info,  symbol->st_other, link_object_symbol_section(object, i),
                        symbol->st_value, symbol->st_size,  strlen(name)};
    add(state, fixed, sizeof fixed);
    if (!is_file) /* the name of the source is only for tools, which find it at the first symbol */
        add_text(state, name);
    return is_file ? i == 1 : !strchr(name, '@');
}

uint64_t link_shape(const struct reloc_machine *machine, const struct link_object *object)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    uint64_t fixed[] = {object->section_count, object->symbol_count, object->first_global, object->has_exec_stack};
    add(&state, fixed, sizeof fixed);
    for (uint32_t i = 1; i < object->section_count; i++) {
        if (object->sections[i].kind == LINK_SECTION_TOC_RECORDS)
            return 0; /* of TOC code more bytes are looked at */
        add_section(&state, machine, &object->sections[i]);
    }
    for (uint32_t i = 0; i < object->group_count; i++)
        add_group(&state, &object->groups[i]);
    for (uint32_t i = 1; i < object->symbol_count; i++)
        if (!add_symbol(&state, object, i))
            return 0;
    uint64_t shape = XXH3_64bits_digest(&state);
    return shape ? shape : 1;
}

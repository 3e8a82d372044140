#include "linker/emit.h"

#include <string.h>

#include "linker/address.h"
#include "linker/eh_frame.h"
#include "linker/patch.h"
#include "linker/rest.h"
#include "linker/scan.h"
#include "linker/tables.h"
#include "toc/stubs.h"

/* What S means for a reference: an rva, or a plain value. */
struct pointee {
    uint64_t value;
    bool is_moving; /* an rva: moves with the crate */
};

static struct pointee pointee_of(const struct link *link, const struct link_reference *ref, int64_t addend)
{
    if (ref->action == LINK_ACTION_IMPORT_STUB || ref->uses_import_stub)
        return (struct pointee){link_import_stub_rva(link, ref->slot) + (uint64_t)addend, true};
    if (ref->action == LINK_ACTION_ENTRY_STUB || ref->uses_stub) {
        /* The addend reaches from the symbol to the function; what is left of it is the bias of the place. */
        uint64_t at_symbol = ref->symbol->value;
        int64_t bias = (int64_t)(at_symbol + (uint64_t)addend - ref->function->value);
        return (struct pointee){link_entry_stub_rva(link, ref->function) + (uint64_t)bias, true};
    }
    if (ref->symbol->is_base) /* only in the base's block of thread-locals: all else is the loader's */
        return (struct pointee){link->tls_rva + ref->symbol->base->rva + (uint64_t)addend, false};
    if (ref->symbol->rva)
        return (struct pointee){ref->symbol->rva + (uint64_t)addend, true};
    if (ref->symbol->state == LINK_SYMBOL_DEFINED)
        return (struct pointee){link_symbol_rva(ref->symbol, addend), true};
    if (ref->symbol->state == LINK_SYMBOL_ABSOLUTE)
        return (struct pointee){ref->symbol->value + (uint64_t)addend, false};
    return (struct pointee){(uint64_t)addend, false}; /* an undefined weak symbol */
}

/* The value of a reference whose action is to compute its formula. */
static int64_t formula_value(const struct link *link, const struct link_reference *ref, int64_t addend, uint64_t rva,
                             bool *is_moving)
{
    struct pointee to = pointee_of(link, ref, addend);
    *is_moving = false;
    switch (ref->howto->formula) {
    case RELOC_ABSOLUTE:
        *is_moving = to.is_moving;
        return (int64_t)(to.value + (to.is_moving ? link->preferred_base : 0));
    case RELOC_SIZE:
        return (int64_t)ref->symbol->size + addend;
    case RELOC_TLS_BLOCK:
        return (int64_t)(to.value - link->tls_rva);
    case RELOC_BASE_OFFSET:
    case RELOC_BRANCH_OFFSET:
        return (int64_t)(to.value - link->toc_rva);
    case RELOC_BASE_RELATIVE:
        return (int64_t)(link->toc_rva + (uint64_t)addend - rva);
    default:
        return (int64_t)(to.value - rva);
    }
}

/* Rewrites a load from a slot into the computation of the address. */
static int64_t relax_load(const struct link *link, const struct link_reference *ref, int64_t addend, uint8_t *place,
                          uint64_t rva)
{
    link->machine->relax_load(place);
    return (int64_t)(pointee_of(link, ref, addend).value - rva);
}

/* Rewrites an indirect call or jump through a slot into a direct one, whose field is at *place then. */
static int64_t relax_call(const struct link *link, const struct link_reference *ref, const Elf64_Rela *reloc,
                          uint8_t **place, uint64_t rva)
{
    uint8_t *moved = link->machine->relax_branch(*place, reloc->r_offset);
    int64_t value = (int64_t)(pointee_of(link, ref, reloc->r_addend).value - (rva + (uint64_t)(moved - *place)));
    *place = moved;
    return value;
}

static int64_t slot_value(const struct link *link, const struct link_reference *ref, int64_t addend, uint64_t rva)
{
    if (ref->action == LINK_ACTION_CALL_SLOT)
        return (int64_t)(link_function_slot_rva(link, ref->slot) + (uint64_t)addend - rva);
    uint64_t slot = link_global_slot_rva(link, ref->slot);
    if (ref->howto->formula == RELOC_SLOT_OFFSET)
        return (int64_t)(slot - link->toc_rva + (uint64_t)addend);
    return (int64_t)(slot + (uint64_t)addend - rva);
}

/* Whether the place is the field of a restore in TOC code (toc/stubs.h). In a patch it is the loader that fills it. */
static bool is_restore(const struct link *link, const struct link_section *section, const Elf64_Rela *reloc,
                       const struct link_reference *ref, const uint8_t *place)
{
    const struct toc_stub_ops *ops = link->machine->stubs;
    uint32_t field_off = ops->restore_field_off;
    bool is_toc = ref->action == LINK_ACTION_VALUE ? ref->symbol->object == &link->own
                                                   : ref->action == LINK_ACTION_LOADER && ref->symbol->is_base;
    return section->is_toc && is_toc && ref->howto->formula == RELOC_RELATIVE && reloc->r_offset >= field_off &&
           reloc->r_offset - field_off + ops->restore_size <= section->size && ops->is_restore(place - field_off) &&
           !strcmp(ref->symbol->name, "_TOC_");
}

/* Writes the value, or reports by how much it does not fit. */
static void put(struct link *link, const struct link_section *section, const Elf64_Rela *reloc,
                const struct link_reference *ref, uint8_t *place, int64_t value)
{
    int64_t excess = reloc_write(ref->howto, place, value);
    if (excess)
        link_report(link, error_create(CRATELD_ERROR_RANGE, "%s: %s+0x%llx: %s against '%s' overflows by %s0x%llx",
                                       section->object->path, section->name, (unsigned long long)reloc->r_offset,
                                       ref->howto->name, ref->symbol->name, excess < 0 ? "-" : "",
                                       (unsigned long long)(excess < 0 ? -excess : excess)));
}

/* Runs a relocation of which nothing but the symbol's place matters: most are such. */
static void emit_plain(struct link *link, const struct link_section *section, const Elf64_Rela *reloc, uint8_t *place,
                       uint64_t rva)
{
    bool is_moving;
    struct link_reference ref = {
        .howto = link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info)),
        .symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)],
        .action = LINK_ACTION_VALUE,
    };
    put(link, section, reloc, &ref, place, formula_value(link, &ref, reloc->r_addend, rva, &is_moving));
}

void link_emit_reloc(struct link *link, struct link_section *section, uint32_t number, uint8_t *place, uint64_t rva)
{
    const Elf64_Rela *reloc = &section->relocs[number];
    struct link_reference ref = {0};
    if ((section->decisions[number] & ~LINK_DECISION_IS_RELR) == LINK_ACTION_VALUE && !section->is_toc &&
        !link->patch) {
        emit_plain(link, section, reloc, place, rva);
        return;
    }
    struct crateld_error *error = link_reference_of(link, section, reloc, rva, &ref);
    if (error) {
        link_report(link, error);
        return;
    }
    if (is_restore(link, section, reloc, &ref, place)) {
        uint32_t field_off = link->machine->stubs->restore_field_off;
        link->machine->stubs->write_restore(place - field_off, rva - field_off, link->toc_rva);
        return;
    }
    bool is_moving;
    int64_t value;
    switch (ref.action) {
    case LINK_ACTION_VALUE:
    case LINK_ACTION_ENTRY_STUB:
    case LINK_ACTION_IMPORT_STUB:
        value = formula_value(link, &ref, reloc->r_addend, rva, &is_moving);
        if (ref.has_own_fixup)
            link->fixups.at[link->fixups.count - 1].addend = value - (int64_t)link->preferred_base;
        put(link, section, reloc, &ref, place, value);
        break;
    case LINK_ACTION_SLOT:
    case LINK_ACTION_CALL_SLOT:
        put(link, section, reloc, &ref, place, slot_value(link, &ref, reloc->r_addend, rva));
        break;
    case LINK_ACTION_RELAX_LOAD:
        put(link, section, reloc, &ref, place, relax_load(link, &ref, reloc->r_addend, place, rva));
        break;
    case LINK_ACTION_RELAX_CALL:
        value = relax_call(link, &ref, reloc, &place, rva);
        put(link, section, reloc, &ref, place, value);
        break;
    case LINK_ACTION_TLS_DESC:
        link->machine->relax_tls_desc(place);
        put(link, section, reloc, &ref, place, slot_value(link, &ref, reloc->r_addend, rva));
        break;
    case LINK_ACTION_TLS_DESC_CALL:
        link->machine->relax_tls_desc_call(place);
        break;
    case LINK_ACTION_LOADER:
        if (ref.howto->formula == RELOC_TLS_LE && ref.symbol->state == LINK_SYMBOL_DEFINED && !ref.symbol->is_vague)
            link->fixups.at[link->fixups.count - 1].addend =
                (int64_t)(link_symbol_rva(ref.symbol, reloc->r_addend) - link->tls_rva);
        break;
    default:
        break;
    }
}

/* Copies a section to its place and runs its relocations. */
static void emit_section(struct link *link, struct link_section *section, uint8_t *image)
{
    uint64_t rva = section->output->rva + section->out_off;
    if (section->is_reversed)
        for (uint64_t off = 0; off + 8 <= section->size; off += 8)
            memcpy(image + link_place_rva(section, off), section->data.data + off, 8);
    else if (section->data.size)
        memcpy(image + rva, section->data.data, section->data.size);
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        link_look_ahead(section, i);
        uint64_t place = link_place_rva(section, section->relocs[i].r_offset);
        link_emit_reloc(link, section, i, image + place, place);
    }
}

static void put_word(uint8_t *image, uint64_t rva, uint64_t value)
{
    memcpy(image + rva, &value, sizeof value);
}

/* The TOC as it lies in the file: unbound slots at their lazy stubs, constants, function references. */
static void emit_toc(const struct link *link, uint8_t *image)
{
    put_word(image, link->toc_rva + offsetof(struct crateld_toc, magic), CRATELD_TOC_MAGIC);
    for (uint32_t i = 0; i < link->lazy_count; i++)
        put_word(image, link_function_slot_rva(link, i),
                 link->preferred_base + link->lazy_rva + link->machine->stubs->lazy_head_size +
                     i * (uint64_t)link->machine->stubs->lazy_size);
    for (size_t i = 0; i < link->constant_slots.count; i++) {
        const struct link_constant_slot *constant = &link->constant_slots.at[i];
        uint64_t value = 0;
        if (constant->symbol->state == LINK_SYMBOL_ABSOLUTE)
            value = constant->symbol->value;
        else if (constant->symbol->state == LINK_SYMBOL_DEFINED || constant->symbol->has_canonical_stub)
            value = link->preferred_base + link_canonical_rva(link, constant->symbol);
        put_word(image, link_global_slot_rva(link, constant->slot), value);
    }
    for (uint32_t i = 0; i < link->func_refs.count; i++) {
        const struct link_function *function = link->func_refs.at[i];
        uint64_t ref = link->toc_rva + toc_func_ref_off(&link->toc, i);
        uint64_t second =
            function->is_varargs ? link_section_rva(function->section, function->varargs_entry) : link->toc_rva;
        put_word(image, ref, link->preferred_base + link_section_rva(function->section, function->value));
        put_word(image, ref + 8, link->preferred_base + second);
    }
}

static void emit_stubs(const struct link *link, uint8_t *image)
{
    const struct toc_stub_ops *ops = link->machine->stubs;
    for (uint32_t i = 0; i < link->function_imports.count; i++) {
        uint64_t place = link_import_stub_rva(link, i), slot = link_function_slot_rva(link, i);
        if (link->function_imports.at[i].kind == CRATE_IMPORT_CALL_TOC)
            ops->write_import_toc(image + place, place, slot);
        else
            ops->write_import_plain(image + place, place, slot);
    }
    if (link->function_imports.count)
        ops->write_lazy_head(image + link->lazy_rva, link->lazy_rva, link->toc_rva);
    for (uint32_t i = 0; i < link->lazy_count; i++) {
        uint64_t place = link->lazy_rva + ops->lazy_head_size + i * (uint64_t)ops->lazy_size;
        ops->write_lazy(image + place, place, link_function_slot_rva(link, i), link->lazy_rva);
    }
    for (uint32_t i = 0; i < link->func_refs.count; i++) {
        const struct link_function *function = link->func_refs.at[i];
        uint64_t place = link_entry_stub_rva(link, function);
        uint64_t ref = link->toc_rva + toc_func_ref_off(&link->toc, i);
        uint64_t start = link_section_rva(function->section, function->value);
        struct toc_entry entry = {
            .function = start,
            .func_ref = ref,
            .toc = link->patch_toc_slot ? link_global_slot_rva(link, link->patch_toc_slot - 1) : link->toc_rva,
            .is_toc_word = link->patch_toc_slot,
            .is_varargs = function->is_varargs,
            .stack_arguments = function->stack_arguments,
        };
        if (function->section->is_toc)
            ops->write_entry_toc(image + place, place, &entry);
        else
            ops->write_entry_plain(image + place, place, start);
    }
}

/* Fills the text with what is between functions. */
static void fill_text(const struct link *link, uint8_t *image)
{
    for (size_t i = 0; i < link->outputs.count; i++) {
        const struct link_output *output = link->outputs.at[i];
        if (output->segment == CRATE_SEGMENT_TEXT && output->type != SHT_NOBITS)
            memset(image + output->rva, link_is_init_text(output) ? link->machine->init_filler : link->machine->filler,
                   output->size);
    }
}

static bool is_emitted(const struct link_section *section)
{
    return section->output && section->output->segment != CRATE_SEGMENT_COUNT && section->output->type != SHT_NOBITS &&
           section->type != SHT_NOBITS;
}

static void emit_object(struct link *link, const struct link_object *object, uint8_t *image)
{
    for (uint32_t k = 1; k < object->section_count; k++) {
        if (k + 2 < object->section_count)
            link_look_beyond(&object->sections[k + 1], &object->sections[k + 2]);
        if (is_emitted(&object->sections[k]))
            emit_section(link, &object->sections[k], image);
    }
}

struct crateld_error *link_emit(struct link *link, uint8_t *image)
{
    struct link_eh_frame_writing unwind;
    fill_text(link, image);
    TRY(link_eh_frame_write_begin(link, image, &unwind));
    for (size_t i = 0; i < link->objects.count; i++) {
        emit_object(link, link->objects.at[i], image);
        link_eh_frame_write_object(&unwind, link->objects.at[i]);
        link_rest_after(link, i);
    }
    for (size_t i = 0; i < link->own_sections.count; i++)
        if (is_emitted(link->own_sections.at[i]))
            emit_section(link, link->own_sections.at[i], image);
    emit_toc(link, image);
    emit_stubs(link, image);
    link_eh_frame_write_end(&unwind);
    return NULL;
}

/* What a reference from DWARF or another unloaded section means: a vaddr; for what was dropped, a value that debuggers
 * take for "nowhere" (as GNU ld: 1 in lists that a 0 would end). */
static uint64_t debug_value(const struct link *link, uint64_t nowhere, const struct reloc_howto *howto,
                            const struct link_symbol *symbol, int64_t addend)
{
    bool is_dropped = symbol->state == LINK_SYMBOL_DEFINED &&
                      (!symbol->section->is_live || symbol->section->kind == LINK_SECTION_DROPPED);
    if (symbol->state == LINK_SYMBOL_ABSOLUTE)
        return symbol->value + (uint64_t)addend;
    if (howto->formula == RELOC_SIZE)
        return symbol->size + (uint64_t)addend;
    if (is_dropped || symbol->state != LINK_SYMBOL_DEFINED)
        return nowhere;
    if (howto->formula == RELOC_TLS_BLOCK)
        return link_symbol_rva(symbol, addend) - link->tls_rva;
    uint64_t base = symbol->section->flags & SHF_ALLOC ? link->preferred_base : 0;
    return base + link_symbol_rva(symbol, addend);
}

static void emit_debug_section(struct link *link, struct link_section *section, uint8_t *file)
{
    uint8_t *at = file + section->output->off + section->out_off;
    uint64_t nowhere = !strcmp(section->name, ".debug_loc") || !strcmp(section->name, ".debug_ranges");
    if (section->data.size)
        memcpy(at, section->data.data, section->data.size);
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        const Elf64_Rela *reloc = &section->relocs[i];
        const struct reloc_howto *howto = link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info));
        const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
        bool is_known = howto->formula == RELOC_ABSOLUTE || howto->formula == RELOC_RELATIVE ||
                        howto->formula == RELOC_TLS_BLOCK || howto->formula == RELOC_SIZE;
        if (!is_known || reloc->r_offset + howto->size > section->data.size) {
            if (howto->formula != RELOC_NOTHING)
                link_report(link,
                            error_create(CRATELD_ERROR_FORMAT, "%s: %s+0x%llx: %s in a section that is not loaded",
                                         section->object->path, section->name, (unsigned long long)reloc->r_offset,
                                         howto->name));
            continue;
        }
        uint64_t value = debug_value(link, nowhere, howto, symbol, reloc->r_addend);
        if (howto->formula == RELOC_RELATIVE)
            value -= section->out_off + reloc->r_offset;
        /* Values are DWARF offsets or addresses by now; what does not fit is cut, as it was by the compiler's choice.
         */
        memcpy(at + reloc->r_offset, &value, howto->size);
    }
}

void link_emit_debug(struct link *link, uint8_t *file)
{
    for (size_t i = 0; i < link->outputs.count; i++) {
        struct link_output *output = link->outputs.at[i];
        if (output->segment != CRATE_SEGMENT_COUNT)
            continue;
        for (size_t k = 0; k < output->sections.count; k++)
            emit_debug_section(link, output->sections.at[k], file);
    }
}

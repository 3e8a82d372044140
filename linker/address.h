/* Where things are, once layout has placed them: rvas of sections, symbols and slots. */
#ifndef LINKER_ADDRESS_H
#define LINKER_ADDRESS_H

#include "linker/link.h"
#include "linker/merge.h"

/* The rva of byte `off` of a live, placed section. */
static inline uint64_t link_section_rva(const struct link_section *section, uint64_t off)
{
    if (section->merge) {
        uint64_t merged_off;
        section = link_merge_find(section, off, &merged_off);
        off = merged_off;
    }
    return (section->output ? section->output->rva : 0) + section->out_off + off;
}

/* The rva of the place `off` of a section that is not cut into pieces, in which the words of .ctors and .dtors stand in
 * reverse: those run from the last to the first. */
static inline uint64_t link_place_rva(const struct link_section *section, uint64_t off)
{
    if (section->is_reversed)
        off = section->size - 8 - off;
    return section->output->rva + section->out_off + off;
}

/* The rva that a DEFINED symbol + addend means. In merged sections a section symbol's addend selects the piece, a named
 * symbol's addend counts from its own piece. */
static inline uint64_t link_symbol_rva(const struct link_symbol *symbol, int64_t addend)
{
    if (symbol->type == STT_SECTION)
        return link_section_rva(symbol->section, symbol->value + (uint64_t)addend);
    return link_section_rva(symbol->section, symbol->value) + (uint64_t)addend;
}

/* The rva of a slot of imported_globals, and of imported_functions. */
static inline uint64_t link_global_slot_rva(const struct link *link, uint32_t slot)
{
    return link->toc_rva + toc_imported_global_off(&link->toc, slot);
}

static inline uint64_t link_function_slot_rva(const struct link *link, uint32_t slot)
{
    return link->toc_rva + toc_imported_function_off(&link->toc, slot);
}

/* The rva of the import stub of function slot `slot`. */
uint64_t link_import_stub_rva(const struct link *link, uint32_t slot);

/* The rva of a function's entry stub; it has one. */
static inline uint64_t link_entry_stub_rva(const struct link *link, const struct link_function *function)
{
    return link->entry_stubs_rva + function->stub_off;
}

#endif

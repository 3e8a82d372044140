#include "linker/eh_frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/address.h"
#include "linker/emit.h"
#include "linker/output.h"
#include "linker/scan.h"
#include "toc/stubs.h"

enum {
    ENTRY_HEADER_SIZE = 8, /* length and id of each entry */
    NO_ENTRY = UINT32_MAX,
};

struct cie {
    struct link_section *section; /* .eh_frame that it stands in */
    uint32_t off;
    uint32_t size; /* with the length field */
    uint32_t first_reloc;
    uint32_t reloc_count;
    uint32_t same_as; /* index of the CIE that stands for it */
    uint64_t out_off;
    bool is_used;   /* some FDE that stays refers to it */
    bool is_placed; /* has its out_off */
};

struct fde {
    struct link_section *section;
    uint32_t off;
    uint32_t size;
    uint32_t first_reloc;
    uint32_t reloc_count;
    uint32_t cie;
    uint32_t next;               /* index + 1 of the next FDE of the same function section */
    struct link_section *target; /* the section it describes; NULL: dropped */
    uint64_t out_off;
};

struct link_eh_frame {
    VEC(struct cie) cies;
    VEC(struct fde) fdes;
    uint64_t size;
    uint64_t stub_off; /* where the entries of the entry stubs begin */
    uint32_t live_count;
};

void link_eh_frame_destroy(struct link_eh_frame *eh_frame)
{
    if (!eh_frame)
        return;
    free(eh_frame->cies.at);
    free(eh_frame->fdes.at);
    free(eh_frame);
}

static struct crateld_error *entry_error(const struct link_section *section, uint64_t off, const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "%s: .eh_frame at 0x%llx: %s", section->object->path,
                        (unsigned long long)off, what);
}

/* The CIE at `off` of the section whose CIEs are those from `first` on; NO_ENTRY if there is none. */
static uint32_t find_cie(const struct link_eh_frame *eh, uint64_t off, size_t first)
{
    size_t low = first, high = eh->cies.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (eh->cies.at[middle].off == off)
            return (uint32_t)middle;
        if (eh->cies.at[middle].off < off)
            low = middle + 1;
        else
            high = middle;
    }
    return NO_ENTRY;
}

/* The section that an FDE describes: the target of the relocation on its first address. */
static struct link_section *described_section(const struct link_section *section, const struct fde *fde)
{
    if (!fde->reloc_count || section->relocs[fde->first_reloc].r_offset != fde->off + ENTRY_HEADER_SIZE)
        return NULL;
    const Elf64_Rela *reloc = &section->relocs[fde->first_reloc];
    /* An FDE describes its own object's copy of a function, even where another object's definition was
     * chosen. */
    uint32_t index = link_object_symbol_section(section->object, (uint32_t)ELF64_R_SYM(reloc->r_info));
    if (!index || index >= LINK_RESERVED)
        return NULL;
    struct link_section *target = &section->object->sections[index];
    return target->kind == LINK_SECTION_PLAIN && (target->flags & SHF_EXECINSTR) ? target : NULL;
}

static struct crateld_error *add_fde(struct link_eh_frame *eh, struct link_section *section, struct fde *fde,
                                     uint32_t id, size_t first_cie)
{
    uint64_t id_off = fde->off + 4;
    fde->cie = id <= id_off ? find_cie(eh, id_off - id, first_cie) : NO_ENTRY;
    if (fde->cie == NO_ENTRY)
        return entry_error(section, fde->off, "an FDE whose CIE does not exist before it");
    fde->target = described_section(section, fde);
    if (!fde->target)
        return NULL;
    fde->next = fde->target->first_fde;
    if (!VEC_PUSH(&eh->fdes, *fde))
        return error_memory();
    fde->target->first_fde = (uint32_t)eh->fdes.count;
    return NULL;
}

/* Whether all of the places that `count` relocations from `first` on patch lie within [off, off + size). */
static bool has_places(const struct link *link, const struct link_section *section, uint32_t first, uint32_t count,
                       uint64_t off, uint64_t size)
{
    for (uint32_t i = first; i < first + count; i++) {
        const Elf64_Rela *reloc = &section->relocs[i];
        uint64_t patched = link->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info))->size;
        if (reloc->r_offset < off || patched > size || reloc->r_offset - off > size - patched)
            return false;
    }
    return true;
}

/* Cuts one input section into entries. */
static struct crateld_error *parse_section(struct link *link, struct link_section *section)
{
    struct link_eh_frame *eh = link->eh_frame;
    size_t first_cie = eh->cies.count;
    uint32_t reloc = 0;
    for (uint64_t off = 0; off < section->data.size;) {
        uint32_t length, id;
        if (!span_read(section->data, off, &length, 4))
            return entry_error(section, off, "an entry's length is cut off");
        if (!length) {
            off += 4; /* a terminator; what crtend.o brings */
            continue;
        }
        if (length >= 0xfffffff0 || length < 4 || !span_has(section->data, off, (uint64_t)length + 4))
            return entry_error(section, off, "an entry is longer than the section");
        memcpy(&id, section->data.data + off + 4, 4);
        uint32_t first = reloc;
        while (reloc < section->reloc_count && section->relocs[reloc].r_offset < off + 4 + length)
            reloc++;
        if (!has_places(link, section, first, reloc - first, off, (uint64_t)length + 4))
            return entry_error(section, off, "a relocation reaches out of an entry");
        if (!id) {
            struct cie cie = {section, (uint32_t)off, length + 4, first, reloc - first, 0, 0, false, false};
            if (!VEC_PUSH(&eh->cies, cie))
                return error_memory();
        } else {
            struct fde fde = {.section = section,
                              .off = (uint32_t)off,
                              .size = length + 4,
                              .first_reloc = first,
                              .reloc_count = reloc - first};
            TRY(add_fde(eh, section, &fde, id, first_cie));
        }
        off += (uint64_t)length + 4;
    }
    return NULL;
}

struct crateld_error *link_eh_frame_parse(struct link *link)
{
    link->eh_frame = calloc(1, sizeof *link->eh_frame);
    if (!link->eh_frame)
        return error_memory();
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++)
            if (link->objects.at[i]->sections[k].kind == LINK_SECTION_EH_FRAME)
                TRY(parse_section(link, &link->objects.at[i]->sections[k]));
    return NULL;
}

void link_eh_frame_visit(const struct link *link, const struct link_section *section,
                         void (*visit)(void *context, const struct link_section *from, const Elf64_Rela *reloc),
                         void *context)
{
    const struct link_eh_frame *eh = link->eh_frame;
    for (uint32_t i = section->first_fde; i; i = eh->fdes.at[i - 1].next) {
        const struct fde *fde = &eh->fdes.at[i - 1];
        for (uint32_t k = 1; k < fde->reloc_count; k++)
            visit(context, fde->section, &fde->section->relocs[fde->first_reloc + k]);
        const struct cie *cie = &eh->cies.at[fde->cie];
        for (uint32_t k = 0; k < cie->reloc_count; k++)
            visit(context, cie->section, &cie->section->relocs[cie->first_reloc + k]);
    }
}

/* Whether two CIEs say the same: equal bytes, and equal relocations to equal symbols. */
static bool is_same_cie(const struct cie *a, const struct cie *b)
{
    if (a->size != b->size || a->reloc_count != b->reloc_count ||
        memcmp(a->section->data.data + a->off, b->section->data.data + b->off, a->size))
        return false;
    for (uint32_t i = 0; i < a->reloc_count; i++) {
        const Elf64_Rela *x = &a->section->relocs[a->first_reloc + i];
        const Elf64_Rela *y = &b->section->relocs[b->first_reloc + i];
        if (x->r_offset - a->off != y->r_offset - b->off || x->r_addend != y->r_addend ||
            ELF64_R_TYPE(x->r_info) != ELF64_R_TYPE(y->r_info) ||
            a->section->object->symbols[ELF64_R_SYM(x->r_info)] != b->section->object->symbols[ELF64_R_SYM(y->r_info)])
            return false;
    }
    return true;
}

/* Finds for each CIE in use the first one that says the same. */
static struct crateld_error *share_cies(struct link_eh_frame *eh)
{
    struct hash_index index;
    VEC(uint32_t) firsts = {0};
    struct crateld_error *error = NULL;
    hash_index_init(&index);
    for (uint32_t i = 0; i < eh->cies.count && !error; i++) {
        struct cie *cie = &eh->cies.at[i];
        uint64_t hash = hash_bytes(cie->section->data.data + cie->off, cie->size);
        size_t cursor = 0;
        uint32_t k;
        cie->same_as = i;
        while ((k = hash_index_next(&index, hash, &cursor)) != HASH_INDEX_NONE)
            if (is_same_cie(&eh->cies.at[firsts.at[k]], cie)) {
                cie->same_as = firsts.at[k];
                break;
            }
        if (cie->same_as == i && (!VEC_PUSH(&firsts, i) || !hash_index_add(&index, hash)))
            error = error_memory();
    }
    hash_index_deinit(&index);
    free(firsts.at);
    return error;
}

static bool is_kept(const struct fde *fde)
{
    return fde->target && fde->target->is_live;
}

struct crateld_error *link_eh_frame_scan(struct link *link)
{
    struct link_eh_frame *eh = link->eh_frame;
    TRY(share_cies(eh));
    for (size_t i = 0; i < eh->fdes.count; i++) {
        const struct fde *fde = &eh->fdes.at[i];
        if (!is_kept(fde))
            continue;
        TRY(link_scan_relocs(link, fde->section, fde->first_reloc, fde->reloc_count));
        struct cie *cie = &eh->cies.at[eh->cies.at[fde->cie].same_as];
        if (cie->is_used)
            continue;
        cie->is_used = true;
        TRY(link_scan_relocs(link, cie->section, cie->first_reloc, cie->reloc_count));
    }
    return NULL;
}

enum { STUB_CIE_SIZE = 24 };

/* The CIE of entry stubs: pc-relative 32-bit addresses, and what the CPU says of a function's entry (DWARF 5 §6.4.1).
 */
static void write_stub_cie(const struct link *link, uint8_t *at)
{
    const struct toc_cfi *cfi = &link->machine->stubs->cfi;
    uint8_t cie[STUB_CIE_SIZE] = {
        STUB_CIE_SIZE - 4,
        0,
        0,
        0, /* length */
        0,
        0,
        0,
        0, /* id of a CIE */
        1,
        'z',
        'R',
        0,               /* version, augmentation */
        cfi->code_align, /* LEB128 of one byte, as the next one */
        (uint8_t)(cfi->data_align & 0x7f),
        cfi->return_register,
        1,    /* bytes of augmentation data */
        0x1b, /* DW_EH_PE_pcrel | DW_EH_PE_sdata4 */
    };
    _Static_assert(17 + sizeof cfi->initial >= STUB_CIE_SIZE, "the rest is DW_CFA_nop");
    memcpy(cie + 17, cfi->initial, cfi->initial_size);
    memcpy(at, cie, sizeof cie);
}

/* Bytes of the FDE of an entry stub of TOC code. */
static uint32_t stub_fde_size(const struct link *link, const struct link_function *function)
{
    uint32_t cfi = link->machine->stubs->entry_toc_cfi(NULL, function->stack_arguments, function->is_varargs);
    return (4 + 4 + 4 + 4 + 1 + cfi + 7) & ~UINT32_C(7);
}

static bool has_toc_stub(const struct link_function *function)
{
    return function->section->is_toc;
}

/* Places the CIE and FDEs of entry stubs behind the others. */
static void place_stub_entries(struct link *link)
{
    struct link_eh_frame *eh = link->eh_frame;
    eh->stub_off = eh->size;
    for (size_t i = 0; i < link->func_refs.count; i++) {
        if (!has_toc_stub(link->func_refs.at[i]))
            continue;
        if (eh->size == eh->stub_off)
            eh->size += STUB_CIE_SIZE;
        eh->size += stub_fde_size(link, link->func_refs.at[i]);
        eh->live_count++;
    }
}

struct crateld_error *link_eh_frame_layout(struct link *link)
{
    struct link_eh_frame *eh = link->eh_frame;
    eh->size = 0;
    eh->live_count = 0;
    for (size_t i = 0; i < eh->fdes.count; i++) {
        struct fde *fde = &eh->fdes.at[i];
        if (!is_kept(fde)) {
            fde->target = NULL;
            continue;
        }
        struct cie *cie = &eh->cies.at[eh->cies.at[fde->cie].same_as];
        if (!cie->is_placed) {
            cie->is_placed = true;
            cie->out_off = eh->size;
            eh->size += cie->size;
        }
        fde->out_off = eh->size;
        eh->size += fde->size;
        eh->live_count++;
    }
    place_stub_entries(link);
    if (eh->live_count)
        eh->size += 4; /* the terminator */
    return NULL;
}

uint64_t link_eh_frame_size(const struct link *link)
{
    return link->eh_frame->size;
}

uint64_t link_eh_frame_hdr_size(const struct link *link)
{
    return link->eh_frame->live_count ? 12 + 8 * (uint64_t)link->eh_frame->live_count : 0;
}

struct link_table_row {
    int32_t pc;
    int32_t fde;
};

static int compare_rows(const void *a, const void *b)
{
    int32_t x = ((const struct link_table_row *)a)->pc, y = ((const struct link_table_row *)b)->pc;
    return (x > y) - (x < y);
}

/* Copies an entry to its place and runs its relocations. */
static void write_entry(struct link *link, uint8_t *image, uint64_t rva, struct link_section *section, uint32_t off,
                        uint32_t size, uint32_t first_reloc, uint32_t reloc_count)
{
    memcpy(image + rva, section->data.data + off, size);
    for (uint32_t i = 0; i < reloc_count; i++) {
        uint64_t place = rva + (section->relocs[first_reloc + i].r_offset - off);
        link_emit_reloc(link, section, first_reloc + i, image + place, place);
    }
}

/* Writes the FDEs of entry stubs, and their rows. */
static void write_stub_entries(struct link *link, uint8_t *image, uint64_t base, uint64_t hdr,
                               struct link_table_row *row)
{
    uint64_t cie = base + link->eh_frame->stub_off;
    uint64_t at = cie + STUB_CIE_SIZE;
    bool is_any = false;
    for (size_t i = 0; i < link->func_refs.count; i++) {
        const struct link_function *function = link->func_refs.at[i];
        if (!has_toc_stub(function))
            continue;
        uint32_t size = stub_fde_size(link, function);
        uint64_t stub = link->entry_stubs_rva + function->stub_off;
        int32_t words[4] = {
            (int32_t)(size - 4), (int32_t)(at + 4 - cie), (int32_t)(stub - (at + 8)),
            (int32_t)link->machine->stubs->entry_toc_size(function->stack_arguments, function->is_varargs)};
        memcpy(image + at, words, sizeof words);
        link->machine->stubs->entry_toc_cfi(image + at + 17, function->stack_arguments, function->is_varargs);
        *row++ = (struct link_table_row){(int32_t)(stub - hdr), (int32_t)(at - hdr)};
        at += size;
        is_any = true;
    }
    if (is_any)
        write_stub_cie(link, image + cie);
}

struct crateld_error *link_eh_frame_write_begin(struct link *link, uint8_t *image, struct link_eh_frame_writing *ret)
{
    const struct link_output *frame = link_find_output(link, ".eh_frame"),
                             *table = link_find_output(link, ".eh_frame_hdr");
    *ret = (struct link_eh_frame_writing){.link = link, .image = image};
    if (!link->eh_frame->live_count || !frame || !table)
        return NULL;
    ret->rows = calloc(link->eh_frame->live_count, sizeof *ret->rows);
    if (!ret->rows)
        return error_memory();
    ret->frame = frame;
    ret->table = table;
    return NULL;
}

static void write_fde(struct link_eh_frame_writing *w, const struct fde *fde)
{
    const struct link_eh_frame *eh = w->link->eh_frame;
    uint64_t rva = w->frame->rva + fde->out_off;
    write_entry(w->link, w->image, rva, fde->section, fde->off, fde->size, fde->first_reloc, fde->reloc_count);
    uint32_t back = (uint32_t)(fde->out_off + 4 - eh->cies.at[eh->cies.at[fde->cie].same_as].out_off);
    memcpy(w->image + rva + 4, &back, 4);
    const Elf64_Rela *reloc = &fde->section->relocs[fde->first_reloc];
    uint64_t pc = link_section_rva(fde->target, fde->section->object->elf_symbols[ELF64_R_SYM(reloc->r_info)].st_value +
                                                    (uint64_t)reloc->r_addend);
    w->rows[w->row_count++] = (struct link_table_row){(int32_t)(pc - w->table->rva), (int32_t)(rva - w->table->rva)};
}

void link_eh_frame_write_object(struct link_eh_frame_writing *w, const struct link_object *object)
{
    const struct link_eh_frame *eh = w->link->eh_frame;
    if (!w->frame)
        return;
    for (; w->next_cie < eh->cies.count && eh->cies.at[w->next_cie].section->object == object; w->next_cie++) {
        const struct cie *cie = &eh->cies.at[w->next_cie];
        if (cie->is_used)
            write_entry(w->link, w->image, w->frame->rva + cie->out_off, cie->section, cie->off, cie->size,
                        cie->first_reloc, cie->reloc_count);
    }
    for (; w->next_fde < eh->fdes.count && eh->fdes.at[w->next_fde].section->object == object; w->next_fde++)
        if (eh->fdes.at[w->next_fde].target)
            write_fde(w, &eh->fdes.at[w->next_fde]);
}

void link_eh_frame_write_end(struct link_eh_frame_writing *w)
{
    const struct link_output *frame = w->frame, *table = w->table;
    uint32_t count = w->link->eh_frame->live_count;
    if (!frame)
        return;
    write_stub_entries(w->link, w->image, frame->rva, table->rva, w->rows + w->row_count);
    for (size_t i = 1; i < count; i++)
        if (w->rows[i - 1].pc > w->rows[i].pc) { /* mostly they are in the order of the code */
            qsort(w->rows, count, sizeof *w->rows, compare_rows);
            break;
        }
    /* Version 1; .eh_frame's address pc-relative; count as 4 bytes; table relative to the header (LSB
     * Core 5.0). */
    uint8_t *hdr = w->image + table->rva;
    memcpy(hdr, (const uint8_t[4]){1, 0x1b, 0x03, 0x3b}, 4);
    int32_t words[2] = {(int32_t)(frame->rva - (table->rva + 4)), (int32_t)count};
    memcpy(hdr + 4, words, sizeof words);
    memcpy(hdr + 12, w->rows, count * sizeof *w->rows);
    free(w->rows);
}

/* A crate's unwind tables, taken apart for its modules (LSB Core 5.0, "Exception Frames"; DWARF 5 §6.4.1). The
 * addresses in them have no relocations any more: the encodings say where they are. */
#include <elf.h>
#include <string.h>

#include "linker/bundle_member.h"

enum {
    HEADER_SIZE = 8, /* length and id of an entry */
    ENCODING_OMIT = 0xff,
    ENCODING_FORMAT = 0x0f,
    ENCODING_BASE = 0x70,
    ENCODING_PCREL = 0x10,
    ENCODING_INDIRECT = 0x80,
    MAX_SIZE = 1 << 30,
};

/* The pointer encodings of a CIE, and where its pointer to a personality routine is; 0: it has none. */
struct cie {
    uint8_t pointer, lsda, personality;
    uint32_t personality_off; /* from the entry's start */
    bool has_augmentation;
};

struct reading {
    const struct reloc_machine *machine;
    const struct bundle_member *member;
    struct bundle_unwind *unwinds;
    uint64_t rva;     /* of the table */
    struct span data; /* to the end of its segment */
};

static struct crateld_error *fault(const struct reading *r, uint64_t off, const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "%s: .eh_frame at 0x%llx: %s", r->member->path,
                        (unsigned long long)(r->rva + off), what);
}

/* Reads a LEB128 number at *at of the entry; false if it goes on behind its end or is too large. */
static bool read_leb(struct span entry, uint64_t *at, uint64_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; shift < 56; shift += 7) {
        uint8_t byte;
        if (!span_read(entry, (*at)++, &byte, 1))
            return false;
        *ret |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* Bytes of a pointer; 0: the encoding is none that compilers use. */
static uint32_t pointer_size(uint8_t encoding)
{
    uint8_t base = encoding & ENCODING_BASE;
    if (encoding == ENCODING_OMIT || (base && base != ENCODING_PCREL))
        return 0;
    switch (encoding & ENCODING_FORMAT) {
    case 0x00: /* absptr */
    case 0x04: /* udata8 */
    case 0x0c: /* sdata8 */
        return 8;
    case 0x03: /* udata4 */
    case 0x0b: /* sdata4 */
        return 4;
    default:
        return 0;
    }
}

/* One letter of a CIE's augmentation. */
static bool read_augmentation(struct span entry, char letter, uint64_t *at, struct cie *ret)
{
    switch (letter) {
    case 'R':
        return span_read(entry, (*at)++, &ret->pointer, 1);
    case 'L':
        return span_read(entry, (*at)++, &ret->lsda, 1);
    case 'P':
        if (!span_read(entry, (*at)++, &ret->personality, 1))
            return false;
        ret->personality_off = (uint32_t)*at;
        *at += pointer_size(ret->personality);
        return pointer_size(ret->personality);
    case 'S': /* of a signal handler's frame */
    case 'B':
        return true;
    default:
        return false;
    }
}

static struct crateld_error *read_cie(const struct reading *r, uint64_t off, struct span entry, struct cie *ret)
{
    uint64_t at = HEADER_SIZE + 1, ignored;
    const char *letters = span_string(entry, at);
    *ret = (struct cie){.lsda = ENCODING_OMIT};
    if (!letters)
        return fault(r, off, "a CIE's augmentation is cut off");
    at += strlen(letters) + 1;
    ret->has_augmentation = *letters == 'z';
    bool is_good = read_leb(entry, &at, &ignored) && read_leb(entry, &at, &ignored) && read_leb(entry, &at, &ignored);
    if (ret->has_augmentation)
        is_good &= read_leb(entry, &at, &ignored);
    else if (*letters)
        is_good = false;
    for (const char *letter = letters + 1; is_good && *letters && *letter; letter++)
        is_good = read_augmentation(entry, *letter, &at, ret);
    return is_good ? NULL : fault(r, off, "a CIE that is not understood");
}

/* The number of the crate's symbol whose import stub is at `rva`; RELINK_NONE if it is no stub's. */
static uint32_t stub_symbol(const struct bundle_member *member, uint64_t rva)
{
    for (uint32_t i = 0; i < member->relink.module_count; i++)
        for (uint32_t k = 0; k < member->modules[i].symbol_count; k++) {
            const uint32_t *refs = member->records[i][k].refs;
            if (refs[RELINK_REF_STUB_PLAIN] == rva || refs[RELINK_REF_STUB_TOC] == rva)
                return member->modules[i].first_symbol + k;
        }
    return RELINK_NONE;
}

/* Makes a relocation of the pointer at `at` of the entry, which is at `off` of the table and goes to `to` of what the
 * module has. Null pointers need none. */
static struct crateld_error *add_pointer(const struct reading *r, struct bundle_unwind *unwind, uint64_t off,
                                         uint64_t to, struct span entry, uint64_t at, uint8_t encoding)
{
    uint32_t size = pointer_size(encoding);
    bool is_relative = (encoding & ENCODING_BASE) == ENCODING_PCREL;
    bool is_signed = (encoding & ENCODING_FORMAT) >= 0x08;
    int64_t value = 0;
    if (!size || !span_read(entry, at, &value, size))
        return fault(r, off, "a pointer whose encoding is not known, or that is cut off");
    if (size == 4 && (is_signed || is_relative))
        value = (int32_t)value;
    if (!value)
        return NULL;
    uint64_t place = r->rva + off + at;
    uint64_t target = (uint64_t)value + (is_relative ? place : -r->member->view.header.preferred_base);
    const struct link_section *section = bundle_section_at(r->member, target);
    Elf64_Rela reloc = {.r_offset = to + at};
    const struct reloc_machine *machine = r->machine;
    uint32_t type = is_relative ? (size == 8 ? machine->type_relative64 : machine->type_relative)
                                : (size == 8   ? machine->type_word
                                   : is_signed ? machine->type_word32s
                                               : machine->type_word32);
    if (section) {
        const struct relink_module *module = section->object->record;
        uint32_t number = module->first_section + section->index - 1;
        reloc.r_info = ELF64_R_INFO((uint64_t)number, type);
        reloc.r_addend = (int64_t)(target - section->record->rva);
    } else {
        uint32_t symbol = stub_symbol(r->member, target);
        if (symbol == RELINK_NONE)
            return fault(r, off, "a pointer to what is in no section of the relink section");
        reloc.r_info = ELF64_R_INFO((uint64_t)(symbol | BUNDLE_UNWIND_SYMBOL), type);
    }
    return VEC_PUSH(&unwind->relocs, reloc) ? NULL : error_memory();
}

/* Appends an entry to what the module has; *ret is where it begins. */
static struct crateld_error *append(struct bundle_unwind *unwind, struct span entry, uint32_t *ret)
{
    if (unwind->bytes.count > MAX_SIZE || !VEC_RESERVE(&unwind->bytes, entry.size))
        return error_memory();
    *ret = (uint32_t)unwind->bytes.count;
    memcpy(unwind->bytes.at + unwind->bytes.count, entry.data, entry.size);
    unwind->bytes.count += entry.size;
    return NULL;
}

/* Sees to it that the module has the CIE at `off`. */
static struct crateld_error *need_cie(const struct reading *r, struct bundle_unwind *unwind, uint64_t off,
                                      struct span entry, const struct cie *cie)
{
    if (unwind->cie_from == off + 1)
        return NULL;
    uint32_t to = 0;
    TRY(append(unwind, entry, &to));
    unwind->cie_from = (uint32_t)off + 1;
    unwind->cie_to = to;
    return cie->personality_off ? add_pointer(r, unwind, off, to, entry, cie->personality_off, cie->personality) : NULL;
}

/* The entry at `off`: its bytes, and its id. An empty span at the end. */
static struct crateld_error *entry_at(const struct reading *r, uint64_t off, struct span *ret, uint32_t *id)
{
    uint32_t length;
    *ret = (struct span){r->data.data, 0};
    if (!span_read(r->data, off, &length, sizeof length))
        return fault(r, off, "the table has no end");
    if (!length)
        return NULL;
    if (length < 4 || length >= 0xfffffff0 || !span_slice(r->data, off, (uint64_t)length + 4, ret))
        return fault(r, off, "an entry is longer than the table");
    (void)span_read(*ret, 4, id, sizeof *id);
    return NULL;
}

/* Gives an FDE to the module whose function it describes; those of entry stubs are nobody's. */
static struct crateld_error *read_fde(const struct reading *r, uint64_t off, struct span entry, uint32_t id)
{
    struct span cie_entry;
    struct cie cie;
    uint32_t cie_id = 1, to, back;
    uint64_t cie_off = off + 4 - id, size, at = HEADER_SIZE, length;
    if (id > off + 4)
        return fault(r, off, "an FDE whose CIE does not exist before it");
    TRY(entry_at(r, cie_off, &cie_entry, &cie_id));
    if (cie_id)
        return fault(r, off, "an FDE whose CIE does not exist before it");
    TRY(read_cie(r, cie_off, cie_entry, &cie));
    int64_t value = 0;
    size = pointer_size(cie.pointer);
    if (!size || !span_read(entry, at, &value, size))
        return fault(r, off, "an FDE's address is cut off, or of an encoding that is not known");
    if (size == 4)
        value = (int32_t)value;
    bool is_relative = (cie.pointer & ENCODING_BASE) == ENCODING_PCREL;
    uint64_t start = (uint64_t)value + (is_relative ? r->rva + off + at : -r->member->view.header.preferred_base);
    const struct link_section *section = bundle_section_at(r->member, start);
    if (!section)
        return NULL;
    struct bundle_unwind *unwind = &r->unwinds[section->object->record - r->member->modules];
    TRY(need_cie(r, unwind, cie_off, cie_entry, &cie));
    TRY(append(unwind, entry, &to));
    back = to + 4 - unwind->cie_to;
    memcpy(unwind->bytes.at + to + 4, &back, sizeof back);
    TRY(add_pointer(r, unwind, off, to, entry, at, cie.pointer));
    at += 2 * size;
    if (!cie.has_augmentation || cie.lsda == ENCODING_OMIT)
        return NULL;
    return read_leb(entry, &at, &length) && length ? add_pointer(r, unwind, off, to, entry, at, cie.lsda) : NULL;
}

static struct crateld_error *read_all(const struct reading *r)
{
    struct span entry;
    uint32_t id = 0;
    for (uint64_t off = 0;; off += entry.size) {
        TRY(entry_at(r, off, &entry, &id));
        if (!entry.size)
            return NULL;
        if (id)
            TRY(read_fde(r, off, entry, id));
    }
}

struct crateld_error *bundle_read_unwind(const struct reloc_machine *machine, const struct bundle_member *member,
                                         struct bundle_unwind *ret)
{
    const struct crate_header *header = &member->view.header;
    const struct crate_segment *rodata = &header->segments[CRATE_SEGMENT_RODATA];
    struct reading reading = {.machine = machine, .member = member, .unwinds = ret};
    struct span segment, hdr;
    int32_t distance;
    if (!header->eh_frame_hdr_rva)
        return NULL;
    reading.rva = header->eh_frame_hdr_rva;
    if (!span_slice(member->bytes, header->eh_frame_hdr_rva, header->eh_frame_hdr_size, &hdr) || hdr.size < 8 ||
        hdr.data[0] != 1 || hdr.data[1] != (ENCODING_PCREL | 0x0b))
        return fault(&reading, 0, "a header that is not as linkers of crates write it");
    memcpy(&distance, hdr.data + 4, sizeof distance);
    reading.rva += 4 + (uint64_t)(int64_t)distance;
    if (!span_slice(member->bytes, rodata->rva, rodata->file_size, &segment) || reading.rva < rodata->rva ||
        reading.rva - rodata->rva >= segment.size)
        return fault(&reading, 0, "it is not within the read-only data");
    reading.data = span_from(segment, reading.rva - rodata->rva);
    return read_all(&reading);
}

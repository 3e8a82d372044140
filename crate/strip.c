#include "crate/strip.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "crate/build_id.h"
#include "crate/carried.h"
#include "crate/reader.h"

enum {
    MAX_SECTIONS = 0xff00 - 1, /* SHN_LORESERVE: more need SHN_XINDEX, which crates do not use */
    MAX_ALIGN = 4096,          /* of what is not loaded */
};

#define FAULT(strip, ...) error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s", (strip)->view.path)

/* One section of the file, and what becomes of it. */
struct section {
    Elf64_Shdr header;
    const char *name; /* borrowed from the file */
    unsigned what;    /* the part that it belongs to, enum crate_strip_what; 0: it stays */
    uint16_t number;  /* in the new file; 0: none */
};

struct strip {
    struct span file;
    struct crate_view view;
    uint64_t header_off;
    Elf64_Ehdr ehdr;
    struct section *sections; /* owned */
    uint16_t section_count;
    uint64_t relink_off; /* in the new file */
    uint64_t end;        /* of the new file, as far as it is planned */
    struct crate_stripped result;
};

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The part that a section belongs to; 0 for those that always stay. */
static unsigned part_of(const struct strip *strip, const struct section *section)
{
    const Elf64_Shdr *header = &section->header;
    if (header->sh_flags & SHF_ALLOC)
        return 0;
    if (strip->view.header.relink_size && header->sh_offset == strip->view.header.relink_off &&
        header->sh_type != SHT_NOBITS)
        return CRATE_STRIP_RELINK;
    if (header->sh_type == SHT_SYMTAB || header->sh_type == SHT_SYMTAB_SHNDX)
        return CRATE_STRIP_SYMBOLS;
    if (has_prefix(section->name, ".debug_") || has_prefix(section->name, ".zdebug_") ||
        strcmp(section->name, ".gdb_index") == 0)
        return CRATE_STRIP_DEBUG;
    return 0;
}

/* Reads the section headers; a file without any has none. */
static struct crateld_error *read_sections(struct strip *strip)
{
    const Elf64_Ehdr *ehdr = &strip->ehdr;
    struct span headers, names = {0};
    if (!ehdr->e_shoff && !ehdr->e_shnum)
        return NULL;
    if (ehdr->e_shentsize != sizeof(Elf64_Shdr) || !ehdr->e_shnum || ehdr->e_shnum > MAX_SECTIONS ||
        ehdr->e_shstrndx >= ehdr->e_shnum ||
        !span_slice(strip->file, ehdr->e_shoff, (uint64_t)ehdr->e_shnum * sizeof(Elf64_Shdr), &headers))
        return FAULT(strip, "%u section headers of %u bytes at 0x%" PRIx64 " are not within the file", ehdr->e_shnum,
                     ehdr->e_shentsize, ehdr->e_shoff);
    strip->sections = calloc(ehdr->e_shnum, sizeof *strip->sections);
    if (!strip->sections)
        return error_memory();
    strip->section_count = ehdr->e_shnum;
    for (uint16_t i = 0; i < ehdr->e_shnum; i++) {
        Elf64_Shdr *header = &strip->sections[i].header;
        memcpy(header, headers.data + i * sizeof *header, sizeof *header);
        if (header->sh_type != SHT_NOBITS && !span_has(strip->file, header->sh_offset, header->sh_size))
            return FAULT(strip, "section %u: %" PRIu64 " bytes at 0x%" PRIx64 " are not within the file", i,
                         header->sh_size, header->sh_offset);
        bool is_moving = !(header->sh_flags & SHF_ALLOC);
        if ((is_moving && header->sh_addralign > MAX_ALIGN) || header->sh_addralign & (header->sh_addralign - 1))
            return FAULT(strip, "section %u: alignment %" PRIu64, i, header->sh_addralign);
    }
    const Elf64_Shdr *names_header = &strip->sections[ehdr->e_shstrndx].header;
    if (names_header->sh_type != SHT_NOBITS)
        span_slice(strip->file, names_header->sh_offset, names_header->sh_size, &names);
    for (uint16_t i = 0; i < ehdr->e_shnum; i++) {
        strip->sections[i].name = span_string(names, strip->sections[i].header.sh_name);
        if (!strip->sections[i].name)
            return FAULT(strip, "section %u has no name within the section names", i);
        if (i) /* section 0 is no section */
            strip->sections[i].what = part_of(strip, &strip->sections[i]);
    }
    return NULL;
}

/* The strings of a symbol table go with it, unless others need them. */
static void mark_symbol_strings(struct strip *strip)
{
    for (uint16_t i = 1; i < strip->section_count; i++) {
        const struct section *section = &strip->sections[i];
        uint32_t link = section->header.sh_link;
        if (section->header.sh_type == SHT_SYMTAB && section->what == CRATE_STRIP_SYMBOLS &&
            link < strip->section_count && link != strip->ehdr.e_shstrndx &&
            strip->sections[link].header.sh_type == SHT_STRTAB && !strip->sections[link].what)
            strip->sections[link].what = CRATE_STRIP_SYMBOLS;
    }
}

/* Counts what goes, and numbers what stays. */
static void number_sections(struct strip *strip, unsigned what)
{
    uint16_t number = 0;
    for (uint16_t i = 0; i < strip->section_count; i++) {
        struct section *section = &strip->sections[i];
        if (!(section->what & what)) {
            section->number = number++;
            continue;
        }
        uint64_t size = section->header.sh_type == SHT_NOBITS ? 0 : section->header.sh_size;
        strip->result.symbols_size += section->what == CRATE_STRIP_SYMBOLS ? size : 0;
        strip->result.debug_size += section->what == CRATE_STRIP_DEBUG ? size : 0;
    }
    if (what & CRATE_STRIP_RELINK)
        strip->result.relink_size = strip->view.header.relink_size;
}

static uint64_t align_up(uint64_t value, uint64_t align)
{
    return align ? (value + align - 1) & ~(align - 1) : value;
}

/* Gives what stays its place behind the segments; sets strip->end. */
static struct crateld_error *place_sections(struct strip *strip, unsigned what)
{
    const struct crate_header *header = &strip->view.header;
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++) {
        uint64_t end = header->segments[kind].rva + header->segments[kind].file_size;
        if (header->segments[kind].file_size && end > strip->end)
            strip->end = end;
    }
    if (header->relink_size && !(what & CRATE_STRIP_RELINK)) {
        strip->relink_off = align_up(strip->end, 8);
        strip->end = strip->relink_off + header->relink_size;
    }
    for (uint16_t i = 1; i < strip->section_count; i++) {
        struct section *section = &strip->sections[i];
        if (!section->number || section->header.sh_flags & SHF_ALLOC || section->header.sh_type == SHT_NOBITS)
            continue;
        if (section->what == CRATE_STRIP_RELINK)
            continue; /* placed above, by the crate header */
        strip->end = align_up(strip->end, section->header.sh_addralign) + section->header.sh_size;
        /* Sections of a hostile file may overlap each other, and would make it larger and larger. */
        if (strip->end > strip->file.size + (uint64_t)strip->section_count * MAX_ALIGN)
            return FAULT(strip, "sections overlap each other");
    }
    if (strip->section_count)
        strip->end = align_up(strip->end, 8) + (uint64_t)strip->section_count * sizeof(Elf64_Shdr);
    return NULL;
}

/* The new number of section `number`; 0 for one that is gone or never was. */
static uint16_t new_number(const struct strip *strip, uint32_t number)
{
    return number < strip->section_count ? strip->sections[number].number : 0;
}

/* Gives the symbols at `at` their sections' new numbers; those of sections that are gone become absolute. */
static void renumber_symbols(const struct strip *strip, uint8_t *at, uint64_t size)
{
    for (uint64_t off = 0; off + sizeof(Elf64_Sym) <= size; off += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        memcpy(&symbol, at + off, sizeof symbol);
        if (symbol.st_shndx == SHN_UNDEF || symbol.st_shndx >= SHN_LORESERVE)
            continue;
        uint16_t number = new_number(strip, symbol.st_shndx);
        symbol.st_shndx = number ? number : SHN_ABS;
        memcpy(at + off, &symbol, sizeof symbol);
    }
}

/* Copies the sections that stay and are not loaded, and their headers, from `end` on; returns the number of
 * headers, which stand at *headers_off. */
static uint16_t write_sections(struct strip *strip, uint64_t end, uint64_t *headers_off)
{
    uint8_t *bytes = strip->result.bytes;
    uint16_t count = 0;
    for (uint16_t i = 0; i < strip->section_count; i++) {
        struct section *section = &strip->sections[i];
        Elf64_Shdr *header = &section->header;
        if (i && !section->number)
            continue;
        count++;
        header->sh_link = new_number(strip, header->sh_link);
        if (header->sh_flags & SHF_INFO_LINK || header->sh_type == SHT_RELA || header->sh_type == SHT_REL)
            header->sh_info = new_number(strip, header->sh_info);
        if (!i || header->sh_flags & SHF_ALLOC || header->sh_type == SHT_NOBITS)
            continue;
        if (section->what == CRATE_STRIP_RELINK) {
            header->sh_offset = strip->relink_off;
            continue;
        }
        end = align_up(end, header->sh_addralign);
        memcpy(bytes + end, strip->file.data + header->sh_offset, header->sh_size);
        if (header->sh_type == SHT_SYMTAB)
            renumber_symbols(strip, bytes + end, header->sh_size);
        header->sh_offset = end;
        end += header->sh_size;
    }
    end = align_up(end, 8);
    *headers_off = end;
    for (uint16_t i = 0; i < strip->section_count; i++) {
        if (!i || strip->sections[i].number) {
            memcpy(bytes + end, &strip->sections[i].header, sizeof(Elf64_Shdr));
            end += sizeof(Elf64_Shdr);
        }
    }
    strip->result.size = end;
    return count;
}

/* Fills the new file: segments as they were, then what stays, then the headers with what changed in them. */
static void write_file(struct strip *strip, unsigned what)
{
    struct crate_header header = strip->view.header;
    uint8_t *bytes = strip->result.bytes;
    uint64_t end = 0, headers_off = 0;
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++) {
        struct crate_segment segment = header.segments[kind];
        if (!segment.file_size)
            continue;
        memcpy(bytes + segment.rva, strip->file.data + segment.rva, segment.file_size);
        end = segment.rva + segment.file_size;
    }
    if (strip->relink_off) {
        memcpy(bytes + strip->relink_off, strip->file.data + header.relink_off, header.relink_size);
        end = strip->relink_off + header.relink_size;
    }
    strip->result.size = end;
    uint16_t count = strip->section_count ? write_sections(strip, end, &headers_off) : 0;
    Elf64_Ehdr ehdr = strip->ehdr;
    ehdr.e_shoff = headers_off;
    ehdr.e_shnum = count;
    ehdr.e_shstrndx = new_number(strip, ehdr.e_shstrndx);
    memcpy(bytes, &ehdr, sizeof ehdr);
    header.relink_off = strip->relink_off;
    if (what & CRATE_STRIP_RELINK) {
        header.relink_size = 0;
        header.flags &= ~(uint32_t)CRATE_FLAG_HAS_RELINK;
    }
    header.carried_off = 0; /* what it carries is added afterwards */
    header.carried_count = 0;
    memcpy(bytes + strip->header_off, &header, sizeof header);
}

static struct crateld_error *strip_file(struct strip *strip, const char *path, unsigned what)
{
    TRY(crate_view_open(path, strip->file, &strip->view));
    TRY(crate_check_meta(path, strip->file, &strip->view.header));
    TRY(crate_header_find(path, strip->file, &strip->header_off));
    memcpy(&strip->ehdr, strip->file.data, sizeof strip->ehdr);
    TRY(read_sections(strip));
    mark_symbol_strings(strip);
    number_sections(strip, what);
    TRY(place_sections(strip, what));
    strip->result.bytes = calloc(strip->end, 1);
    if (!strip->result.bytes)
        return error_memory();
    write_file(strip, what);
    return NULL;
}

/* Strips the carried patches, which are crates of their own, into `patches`, in the order in which they are carried. */
static struct crateld_error *strip_carried(struct strip *strip, unsigned what, struct crate_stripped *patches)
{
    for (uint32_t i = 0; i < strip->view.header.carried_count; i++) {
        struct span patch;
        TRY(crate_carried_at(strip->view.path, strip->file, &strip->view.header, i, &patch));
        TRY(crate_strip(strip->view.path, patch, what, &patches[i]));
        strip->result.symbols_size += patches[i].symbols_size;
        strip->result.debug_size += patches[i].debug_size;
    }
    return NULL;
}

/* Has the stripped file carry the patches that the file did, stripped. */
static struct crateld_error *carry_on(struct strip *strip, unsigned what)
{
    uint32_t count = strip->view.header.carried_count;
    struct crate_stripped *patches = calloc(count, sizeof *patches);
    struct span *spans AUTO_FREE = calloc(count, sizeof *spans);
    struct crate_carrier carrier = {0};
    struct crateld_error *error = patches && spans ? strip_carried(strip, what, patches) : error_memory();
    for (uint32_t i = 0; !error && i < count; i++)
        spans[i] = (struct span){patches[i].bytes, patches[i].size};
    if (!error)
        error = crate_carry(strip->view.path, (struct span){strip->result.bytes, strip->result.size}, spans, count,
                            &carrier);
    for (uint32_t i = 0; patches && i < count; i++)
        free(patches[i].bytes);
    free(patches);
    if (error)
        return error;
    free(strip->result.bytes);
    strip->result.bytes = carrier.bytes;
    strip->result.size = carrier.size;
    return NULL;
}

struct crateld_error *crate_strip(const char *path, struct span file, unsigned what, struct crate_stripped *ret)
{
    struct strip strip = {.file = file};
    struct crateld_error *error = strip_file(&strip, path, what);
    free(strip.sections);
    if (!error && strip.view.header.carried_count)
        error = carry_on(&strip, what);
    if (error)
        free(strip.result.bytes);
    else
        *ret = strip.result;
    return error;
}

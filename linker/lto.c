#define _GNU_SOURCE
#include "linker/lto.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "base/vec.h"

enum {
    ENTRY_TAIL_SIZE = 1 + 1 + 8 + 4, /* kind, visibility, size, slot: what follows the two names in .gnu.lto_.symtab */
    EXTENSION_VERSION = 1,           /* the first byte of .gnu.lto_.ext_symtab */
    EXTENSION_ENTRY_SIZE = 2,        /* type, section kind */
};

static const char lto_prefix[] = ".gnu.lto_";
static const char symtab_prefix[] = ".gnu.lto_.symtab.";
static const char extension_prefix[] = ".gnu.lto_.ext_symtab.";

/* An object's section headers. */
struct sections {
    struct span data;    /* the object */
    struct span headers; /* Elf64_Shdr[count] */
    uint64_t count;
    struct span names;
    const char *path; /* for messages */
};

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static Elf64_Shdr section_at(const struct sections *sections, uint64_t idx)
{
    Elf64_Shdr section = {0};
    span_read(sections->headers, idx * sizeof section, &section, sizeof section);
    return section;
}

static const char *section_name(const struct sections *sections, const Elf64_Shdr *section)
{
    const char *name = span_string(sections->names, section->sh_name);
    return name ? name : "";
}

static struct crateld_error *section_data(const struct sections *sections, const Elf64_Shdr *section, struct span *ret)
{
    if (section->sh_type == SHT_NOBITS || !span_slice(sections->data, section->sh_offset, section->sh_size, ret))
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: section %s: 0x%" PRIx64 " bytes at 0x%" PRIx64 " are not in the file", sections->path,
                            section_name(sections, section), section->sh_size, section->sh_offset);
    return NULL;
}

static struct crateld_error *open_sections(struct span data, const char *path, struct sections *ret)
{
    Elf64_Ehdr header;
    Elf64_Shdr first = {0};
    *ret = (struct sections){.data = data, .path = path};
    if (!span_read(data, 0, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_REL)
        return error_create(CRATELD_ERROR_FORMAT, "%s: no 64-bit little-endian ELF object", path);
    if (!header.e_shoff)
        return NULL;
    if (header.e_shentsize != sizeof first || !span_read(data, header.e_shoff, &first, sizeof first))
        return error_create(CRATELD_ERROR_FORMAT, "%s: no section headers at 0x%" PRIx64, path, header.e_shoff);
    ret->count = header.e_shnum ? header.e_shnum : first.sh_size; /* gABI ch. 4: too many for the ELF header */
    uint64_t names = header.e_shstrndx == SHN_XINDEX ? first.sh_link : header.e_shstrndx;
    if (ret->count > data.size / sizeof first ||
        !span_slice(data, header.e_shoff, ret->count * sizeof first, &ret->headers) || names >= ret->count)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: %" PRIu64 " section headers at 0x%" PRIx64 " are not in the file", path, ret->count,
                            header.e_shoff);
    Elf64_Shdr section = section_at(ret, names);
    return section_data(ret, &section, &ret->names);
}

/* Whether the object's symbol table says that there is no machine code. */
static struct crateld_error *is_slim(const struct sections *sections, bool *ret)
{
    *ret = false;
    for (uint64_t i = 0; i < sections->count; i++) {
        Elf64_Shdr section = section_at(sections, i);
        if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections->count)
            continue;
        Elf64_Shdr strings_section = section_at(sections, section.sh_link);
        struct span symbols, strings;
        TRY(section_data(sections, &section, &symbols));
        TRY(section_data(sections, &strings_section, &strings));
        Elf64_Sym symbol;
        for (uint64_t off = 0; span_read(symbols, off, &symbol, sizeof symbol); off += sizeof symbol) {
            const char *name = symbol.st_name ? span_string(strings, symbol.st_name) : NULL;
            *ret |= name && strcmp(name, "__gnu_lto_slim") == 0;
        }
    }
    return NULL;
}

/* The section "<prefix><id>"; false: there is none. */
static bool find_section(const struct sections *sections, const char *prefix, const char *id, Elf64_Shdr *ret)
{
    for (uint64_t i = 0; i < sections->count; i++) {
        *ret = section_at(sections, i);
        const char *name = section_name(sections, ret);
        if (has_prefix(name, prefix) && strcmp(name + strlen(prefix), id) == 0)
            return true;
    }
    return false;
}

/* The symbols that are being listed. */
struct symbols {
    VEC(struct lto_symbol) at;
    const char *path;
};

/* Reads the entry at *off of `table`, and moves *off behind it. False: it is broken. */
static bool read_symbol(struct span table, uint64_t *off, struct lto_symbol *ret)
{
    uint8_t tail[ENTRY_TAIL_SIZE];
    const char *name = span_string(table, *off);
    if (!name)
        return false;
    *off += strlen(name) + 1;
    const char *comdat = span_string(table, *off);
    if (!comdat)
        return false;
    *off += strlen(comdat) + 1;
    if (!span_read(table, *off, tail, sizeof tail) || tail[0] > LTO_COMMON || tail[1] > LTO_VISIBILITY_HIDDEN)
        return false;
    *off += sizeof tail;
    *ret = (struct lto_symbol){
        .name = name,
        .comdat = comdat[0] ? comdat : NULL,
        .kind = tail[0],
        .visibility = tail[1],
    };
    memcpy(&ret->size, tail + 2, sizeof ret->size);
    return true;
}

/* Adds what .gnu.lto_.ext_symtab says of the symbols from `first` on. Another version of it is no error: it
 * only adds detail. */
static void read_extension(struct symbols *symbols, size_t first, struct span table)
{
    uint8_t version, entry[EXTENSION_ENTRY_SIZE];
    if (!span_read(table, 0, &version, 1) || version != EXTENSION_VERSION)
        return;
    for (size_t i = first; i < symbols->at.count; i++) {
        if (!span_read(table, 1 + (i - first) * sizeof entry, entry, sizeof entry))
            return;
        symbols->at.at[i].type = entry[0] <= LTO_TYPE_VARIABLE ? entry[0] : LTO_TYPE_UNKNOWN;
        symbols->at.at[i].is_bss = entry[1] == 1;
    }
}

/* Adds the symbols of one .gnu.lto_.symtab.<id>; objects merged by ld -r have several. */
static struct crateld_error *read_symtab(const struct sections *sections, const Elf64_Shdr *section,
                                         struct symbols *symbols)
{
    struct span table;
    Elf64_Shdr extension;
    size_t first = symbols->at.count;
    TRY(section_data(sections, section, &table));
    for (uint64_t off = 0; off < table.size;) {
        struct lto_symbol symbol;
        uint64_t start = off;
        if (!read_symbol(table, &off, &symbol))
            return error_create(CRATELD_ERROR_FORMAT, "%s: section %s: no symbol at 0x%" PRIx64, sections->path,
                                section_name(sections, section), start);
        if (!VEC_PUSH(&symbols->at, symbol))
            return error_memory();
    }
    if (find_section(sections, extension_prefix, section_name(sections, section) + strlen(symtab_prefix), &extension)) {
        TRY(section_data(sections, &extension, &table));
        read_extension(symbols, first, table);
    }
    return NULL;
}

static struct crateld_error *read_symtabs(const struct sections *sections, struct symbols *symbols)
{
    for (uint64_t i = 0; i < sections->count; i++) {
        Elf64_Shdr section = section_at(sections, i);
        if (has_prefix(section_name(sections, &section), symtab_prefix))
            TRY(read_symtab(sections, &section, symbols));
    }
    return NULL;
}

/* Moves the symbols into the arena. */
static struct crateld_error *keep_symbols(const struct symbols *symbols, struct arena *arena, struct lto_object *object)
{
    if (!symbols->at.count)
        return NULL;
    object->symbols = arena_alloc_array(arena, symbols->at.count, sizeof *object->symbols);
    if (!object->symbols)
        return error_memory();
    memcpy(object->symbols, symbols->at.at, symbols->at.count * sizeof *object->symbols);
    object->symbol_count = (uint32_t)symbols->at.count;
    return NULL;
}

struct crateld_error *lto_object_read(struct span data, const char *name, struct arena *arena, struct lto_object *ret)
{
    struct sections sections;
    struct lto_object object = {.kind = LTO_NONE};
    TRY(open_sections(data, name, &sections));
    bool has_lto = false, is_without_code = false;
    for (uint64_t i = 0; !has_lto && i < sections.count; i++) {
        Elf64_Shdr section = section_at(&sections, i);
        has_lto = has_prefix(section_name(&sections, &section), lto_prefix);
    }
    if (has_lto) {
        struct symbols symbols = {.path = name};
        TRY(is_slim(&sections, &is_without_code));
        object.kind = is_without_code ? LTO_SLIM : LTO_FAT;
        struct crateld_error *error = read_symtabs(&sections, &symbols);
        if (!error)
            error = keep_symbols(&symbols, arena, &object);
        free(symbols.at.at);
        TRY(error);
    }
    *ret = object;
    return NULL;
}

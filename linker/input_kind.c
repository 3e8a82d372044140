#include "linker/input_kind.h"

#include <ar.h>
#include <elf.h>
#include <stdint.h>
#include <string.h>

#include "crateld/format.h"

enum { SNIFFED_SIZE = 512 }; /* bytes that must look like text in a script */

static bool starts_with(struct span data, const char *magic, size_t size)
{
    return data.size >= size && memcmp(data.data, magic, size) == 0;
}

static bool is_text(struct span data)
{
    for (size_t i = 0; i < data.size && i < SNIFFED_SIZE; i++) {
        uint8_t byte = data.data[i];
        if (byte == 0x7f || (byte < ' ' && !(byte >= '\t' && byte <= '\r')))
            return false;
    }
    return data.size > 0;
}

/* What an ET_DYN file is shows in its program headers. */
static struct crateld_error *dynamic_kind(struct span data, const Elf64_Ehdr *header, const char *path,
                                          enum input_kind *ret)
{
    bool is_shared = false;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        uint64_t off;
        if (header->e_phentsize != sizeof segment ||
            __builtin_add_overflow(header->e_phoff, (uint64_t)i * sizeof segment, &off) ||
            !span_read(data, off, &segment, sizeof segment))
            return error_create(CRATELD_ERROR_FORMAT, "%s: program header %u is not in the file", path, i);
        if (segment.p_type == CRATE_PT_CRATE) {
            *ret = INPUT_CRATE;
            return NULL;
        }
        is_shared |= segment.p_type == PT_DYNAMIC;
    }
    if (!is_shared)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: neither a shared library nor a crate: no PT_DYNAMIC, no PT_CRATE", path);
    *ret = INPUT_SHARED;
    return NULL;
}

static struct crateld_error *elf_kind(struct span data, const char *path, enum input_kind *ret)
{
    Elf64_Ehdr header;
    if (data.size > EI_DATA && (data.data[EI_CLASS] != ELFCLASS64 || data.data[EI_DATA] != ELFDATA2LSB))
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: ELF class %u, data encoding %u; wanted 64-bit, little-endian", path,
                            data.data[EI_CLASS], data.data[EI_DATA]);
    if (!span_read(data, 0, &header, sizeof header))
        return error_create(CRATELD_ERROR_FORMAT, "%s: %zu bytes, an ELF header has %zu", path, data.size,
                            sizeof header);
    switch (header.e_type) {
    case ET_REL:
        *ret = INPUT_OBJECT;
        return NULL;
    case ET_DYN:
        return dynamic_kind(data, &header, path, ret);
    case ET_EXEC:
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: a linked program (ET_EXEC); wanted an object or a library",
                            path);
    default:
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: ELF type %u; wanted an object or a library", path,
                            header.e_type);
    }
}

bool input_is_crate(struct span start)
{
    Elf64_Ehdr header;
    if (!starts_with(start, ELFMAG, SELFMAG) || !span_read(start, 0, &header, sizeof header) ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_DYN ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return false;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (!span_read(span_from(start, header.e_phoff), i * sizeof segment, &segment, sizeof segment))
            return false;
        if (segment.p_type == CRATE_PT_CRATE)
            return true;
    }
    return false;
}

struct crateld_error *input_kind_of(struct span data, const char *path, enum input_kind *ret)
{
    if (starts_with(data, ELFMAG, SELFMAG))
        return elf_kind(data, path, ret);
    if (starts_with(data, ARMAG, SARMAG) || starts_with(data, "!<thin>\n", SARMAG)) {
        *ret = INPUT_ARCHIVE;
        return NULL;
    }
    if (starts_with(data, "BC\xc0\xde", 4) || starts_with(data, "\xde\xc0\x17\x0b", 4))
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: LLVM bitcode, from link-time optimisation; compile with -fno-lto (rustc: -C lto=off, "
                            "-C embed-bitcode=no)",
                            path);
    if (!is_text(data))
        return error_create(CRATELD_ERROR_FORMAT, "%s: neither an ELF file, an archive nor a linker script%s", path,
                            data.size ? "" : ": it is empty");
    *ret = INPUT_SCRIPT;
    return NULL;
}

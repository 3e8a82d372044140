#include "tests/fuzz/mutate_object.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#define FIELD(type, member)                                                                                            \
    {                                                                                                                  \
        offsetof(type, member), sizeof((type *)0)->member                                                              \
    }

/* A field of a record. */
struct field {
    size_t off;
    size_t size;
};

static const struct field header_fields[] = {
    FIELD(Elf64_Ehdr, e_type),     FIELD(Elf64_Ehdr, e_shoff), FIELD(Elf64_Ehdr, e_shentsize),
    FIELD(Elf64_Ehdr, e_shstrndx), FIELD(Elf64_Ehdr, e_shnum), FIELD(Elf64_Ehdr, e_ident[EI_NIDENT - 1]),
};

static const struct field section_fields[] = {
    FIELD(Elf64_Shdr, sh_name),  FIELD(Elf64_Shdr, sh_type),      FIELD(Elf64_Shdr, sh_flags),
    FIELD(Elf64_Shdr, sh_flags), FIELD(Elf64_Shdr, sh_offset),    FIELD(Elf64_Shdr, sh_size),
    FIELD(Elf64_Shdr, sh_size),  FIELD(Elf64_Shdr, sh_link),      FIELD(Elf64_Shdr, sh_info),
    FIELD(Elf64_Shdr, sh_info),  FIELD(Elf64_Shdr, sh_addralign), FIELD(Elf64_Shdr, sh_entsize),
};

static const struct field symbol_fields[] = {
    FIELD(Elf64_Sym, st_name),  FIELD(Elf64_Sym, st_info),  FIELD(Elf64_Sym, st_other),
    FIELD(Elf64_Sym, st_shndx), FIELD(Elf64_Sym, st_value), FIELD(Elf64_Sym, st_size),
};

static const struct field reloc_fields[] = {
    FIELD(Elf64_Rela, r_offset),
    {offsetof(Elf64_Rela, r_info), 4},     /* the type */
    {offsetof(Elf64_Rela, r_info) + 4, 4}, /* the symbol */
    FIELD(Elf64_Rela, r_addend),
};

static const struct field word_field[] = {{0, 4}};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* xorshift64 */
static uint64_t next(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static uint64_t below(uint64_t *random, uint64_t limit)
{
    return (next(random) >> 11) % limit;
}

/* A value likely to hurt in place of `old`. */
static uint64_t new_value(uint64_t old, size_t file_size, uint64_t *random)
{
    switch (below(random, 9)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - below(random, 16);
    case 2:
        return UINT64_C(1) << below(random, 64);
    case 3:
        return old + below(random, 17) - 8;
    case 4:
        return below(random, 64);
    case 5:
        return below(random, file_size + 16);
    case 6:
        return (UINT64_C(1) << below(random, 64)) - below(random, 9);
    default:
        return old ^ UINT64_C(1) << below(random, 64);
    }
}

static void change(uint8_t *record, const struct field *fields, size_t count, size_t file_size, uint64_t *random)
{
    const struct field *field = &fields[below(random, count)];
    uint64_t value = 0;
    memcpy(&value, record + field->off, field->size);
    value = new_value(value, file_size, random);
    memcpy(record + field->off, &value, field->size);
}

/* Changes a field of one record of `record_size` bytes in [off, off + size). */
static void change_one(uint8_t *data, size_t file_size, uint64_t off, uint64_t size, size_t record_size,
                       const struct field *fields, size_t count, uint64_t *random)
{
    if (off > file_size || size > file_size - off || size < record_size)
        return;
    change(data + off + record_size * below(random, size / record_size), fields, count, file_size, random);
}

/* Changes one record within the contents of section `header`, or one of its bytes. */
static void change_contents(uint8_t *data, size_t file_size, const Elf64_Shdr *header, uint64_t *random)
{
    uint64_t off = header->sh_offset, size = header->sh_size;
    switch (header->sh_type) {
    case SHT_RELA:
        change_one(data, file_size, off, size, sizeof(Elf64_Rela), reloc_fields, COUNT(reloc_fields), random);
        break;
    case SHT_SYMTAB:
        change_one(data, file_size, off, size, sizeof(Elf64_Sym), symbol_fields, COUNT(symbol_fields), random);
        break;
    case SHT_NOBITS:
        break;
    default: /* groups, unwind tables, TOC records */
        if (off <= file_size && size <= file_size - off && size >= 4)
            change(data + off + below(random, size - 3), word_field, 1, file_size, random);
        break;
    }
}

static void mutate_once(uint8_t *data, size_t size, uint64_t *random)
{
    Elf64_Ehdr header;
    Elf64_Shdr section;
    memcpy(&header, data, sizeof header);
    uint64_t table_size = (uint64_t)header.e_shnum * sizeof section;
    bool has_table = header.e_shnum && header.e_shoff < size && table_size <= size - header.e_shoff;
    unsigned choice = (unsigned)below(random, 32);
    if (!has_table || choice == 0) {
        change(data, header_fields, COUNT(header_fields), size, random);
        return;
    }
    if (choice < 12) {
        change_one(data, size, header.e_shoff, table_size, sizeof section, section_fields, COUNT(section_fields),
                   random);
        return;
    }
    memcpy(&section, data + header.e_shoff + sizeof section * below(random, header.e_shnum), sizeof section);
    change_contents(data, size, &section, random);
}

void mutate_object(uint8_t *data, size_t size, uint64_t *random)
{
    if (size < sizeof(Elf64_Ehdr))
        return;
    for (uint64_t times = 1 + below(random, 4); times; times--)
        mutate_once(data, size, random);
}

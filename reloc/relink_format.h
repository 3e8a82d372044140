/* The relink section's encoding. docs/format.md, "The relink section", says the same in prose. */
#ifndef RELOC_RELINK_FORMAT_H
#define RELOC_RELINK_FORMAT_H

#include <stdint.h>

#include "reloc/relink.h"

#define RELINK_MAGIC UINT64_C(0x00006b6e696c6572) /* "relink\0\0" */

enum {
    RELINK_VERSION = 2,
    RELINK_SYMBOLS_PER_BLOCK = 16, /* decoding starts at blocks: what a random access costs at most */
    RELINK_RELOCS_PER_BLOCK = 64,
    RELINK_MAX_KINDS = 1 << 16,
};

enum relink_part_kind {
    RELINK_PART_MODULES,       /* struct relink_module_record[] */
    RELINK_PART_SECTIONS,      /* struct relink_section_record[] */
    RELINK_PART_SYMBOL_BLOCKS, /* uint32_t[]: offset in SYMBOLS of each block's first symbol */
    RELINK_PART_SYMBOLS,       /* bytes */
    RELINK_PART_KINDS,         /* struct relink_kind_record[] */
    RELINK_PART_RELOC_BLOCKS,  /* uint32_t[]: offset in RELOCS of each block's first relocation */
    RELINK_PART_RELOCS,        /* bytes */
    RELINK_PART_NAMES,         /* uint32_t[]: numbers of symbols that are not local and have a name, sorted by the
                                  name's XXH3-64, then by number */
    RELINK_PART_STRINGS,       /* bytes; the first and the last are NUL */
    RELINK_PART_COUNT,
};

struct relink_part {
    uint32_t off;  /* from the section's start; 8-aligned */
    uint32_t size; /* bytes */
};

struct relink_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;
    uint64_t size; /* of the whole section, bytes */
    uint32_t symbol_count;
    uint32_t reloc_count;
    struct relink_part parts[RELINK_PART_COUNT];
};

/* A module's sections and symbols end where the next one's begin. */
struct relink_module_record {
    uint64_t hash;
    uint32_t path; /* string */
    uint32_t member;
    uint32_t first_section;
    uint32_t first_symbol;
    uint32_t debug_off; /* in .debug_info */
    uint32_t debug_size;
};

/* A section's relocations end where the next one's begin. */
struct relink_section_record {
    uint64_t hash;
    uint32_t name;
    uint32_t rva;
    uint32_t size;
    uint32_t capacity;
    uint32_t first_reloc;
    uint16_t flags;
    uint8_t align_log2;
    uint8_t reserved;
};

/* What relocations have in common: most are of few kinds. */
struct relink_kind_record {
    int64_t addend;
    uint32_t type;
    uint32_t has_addend; /* 1: each relocation of this kind has an addend of its own, and `addend` is 0 */
};

/* A symbol: a byte with the type in the low half, binding code (0 local, 1 global, 2 weak, 3 unique) in bits
 * 4 and 5 and visibility in bits 6 and 7; then varints: shape: enum relink_where in bits 0 and 1, the bits of
 * enum relink_symbol_shape, and flags above them name section, if it is in one: folded difference to the
 * section of the previous symbol of the block that has one, or 0 value, size with HAS_REFS: the set of refs,
 * then each ref in it with HAS_POINTEES: bytes of what follows; folded difference of the number of the first
 * block of relocations that has one against this symbol to the block of the first relocation of the symbol's
 * section (to 0 if it is in none); for each further block the difference to the previous one, less 1
 *
 * A relocation, all varints:
 *   kind
 *   off: difference to the previous relocation of the section if that is in the same block, else the offset
 *   symbol: folded difference to the first symbol of the section's module
 *   addend, folded, if the kind says so
 */
enum relink_symbol_shape {
    RELINK_SHAPE_WHERE = 3,
    RELINK_SHAPE_HAS_REFS = 1 << 2,
    RELINK_SHAPE_HAS_POINTEES = 1 << 3,
    RELINK_SHAPE_FLAGS_SHIFT = 4,
};

#endif

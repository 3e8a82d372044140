/* A relocatable ELF object as the linker sees it: sections with their relocations, symbols, COMDAT groups.
 *
 * Reading (ELF64, little-endian; gABI ch. 4) checks everything that later passes rely on: section bounds,
 * string offsets, symbol and section indices, relocation offsets. After link_object_read() succeeds no index in
 * the object needs another check. Nothing is copied: sections borrow the file's bytes, but for those of misaligned
 * archive members and compressed sections.
 */
#ifndef LINKER_OBJECT_H
#define LINKER_OBJECT_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/span.h"
#include "base/vec.h"

struct link_function;
struct link_symbol;
struct link_output;
struct link_merge;
struct relink_section;
struct relink_module;

enum link_section_kind {
    LINK_SECTION_DROPPED,     /* not part of the output: tables, notes for linkers, losers of COMDAT groups */
    LINK_SECTION_PLAIN,       /* allocated; contents as they are, relocated */
    LINK_SECTION_MERGE,       /* SHF_MERGE: pieces that may be shared */
    LINK_SECTION_EH_FRAME,    /* .eh_frame: taken apart into CIEs and FDEs */
    LINK_SECTION_DEBUG,       /* not allocated, kept for other tools */
    LINK_SECTION_TOC_RECORDS, /* .crateld.toc */
    LINK_SECTION_ON_CHANGE,   /* .crateld.on_change */
};

/* Order within .init and .fini. */
enum link_init_part {
    LINK_INIT_PIECE, /* of an object */
    LINK_INIT_PROLOGUE,
    LINK_INIT_EPILOGUE,
};

struct link_section {
    struct link_object *object; /* borrowed; never NULL */
    const char *name;           /* borrowed */
    struct span data;           /* borrowed; empty for SHT_NOBITS */
    uint64_t size;              /* bytes in the output, less merging */
    uint64_t flags;             /* SHF_* */
    const Elf64_Rela *relocs;   /* borrowed; sorted by r_offset */
    uint8_t *decisions;         /* in the link's arena; what the scan decided of each relocation: linker/scan.h */
    uint32_t reloc_count;
    uint32_t index; /* in its object's sections */
    uint32_t type;  /* SHT_* */
    uint32_t link;  /* index of what sh_link names; 0 where it is no section, or a table */
    uint8_t align_log2;
    uint8_t kind; /* enum link_section_kind */
    bool is_live; /* set by garbage collection */
    bool is_toc;  /* holds TOC code */
    bool in_group;
    bool is_reversed;                    /* .ctors, .dtors: its words are put down from the last to the first */
    bool is_relocated_at_load;           /* read-only data with addresses in it: goes to .data.rel.ro */
    uint8_t init_part;                   /* enum link_init_part; sections .init and .fini */
    uint32_t entry_size;                 /* sh_entsize of merge sections */
    struct link_output *output;          /* borrowed; where it goes, from layout on */
    uint64_t out_off;                    /* offset within `output` */
    struct link_function *function;      /* borrowed; that starts with it, if that has been entered */
    struct link_merge *merge;            /* borrowed; its pieces, for MERGE */
    uint32_t first_fde;                  /* index + 1 of its first frame description entry; 0: none */
    uint32_t first_linked;               /* index of the first section of SHF_LINK_ORDER that goes with it; 0: none */
    uint32_t next_linked;                /* the next one that goes with the same section */
    struct link_group *group;            /* borrowed; NULL: in none */
    uint64_t content_hash;               /* link_relink_hash(); set before the relink section is made */
    uint32_t capacity;                   /* bytes to the next section of its output, likewise */
    uint32_t relink;                     /* index in the relink section */
    uint32_t relr_count;                 /* of its relocations, that the loader runs by the RELR table */
    uint32_t relink_symbol;              /* index + 1 of the symbol that stands for it; sections of the linker's own */
    const struct relink_section *record; /* borrowed; of a bundle: what the relink section of its crate says; or NULL */
    uint64_t order;                      /* of a bundle: where it goes within its output, lowest first */
};

/* A COMDAT group: of groups with one signature the first is kept. */
struct link_group {
    const char *signature; /* borrowed */
    uint32_t *members;     /* in the link's arena; indices of sections */
    uint32_t member_count;
    bool is_comdat;
    bool is_live; /* set by garbage collection */
};

struct link_object {
    const char *path;              /* borrowed; "libx.a(y.o)" for archive members: for messages */
    struct span image;             /* borrowed */
    bool is_mapped;                /* the image is the mapping of a file, which comes back when memory is let go */
    struct link_section *sections; /* in the link's arena; [0] is the null section; without tables: symbols,
                                      relocations, groups and the like, which are taken in when the object is read */
    uint32_t section_count;
    uint32_t *section_numbers; /* in the link's arena; by number in the section header table, the index in `sections`,
                                  0 for tables; NULL: that is the same */
    const Elf64_Sym *elf_symbols;   /* borrowed */
    const Elf32_Word *symbol_shndx; /* borrowed; SHT_SYMTAB_SHNDX or NULL */
    uint32_t symbol_count;
    uint32_t first_global;
    struct span symbol_names;
    struct link_symbol **symbols;   /* in the link's arena: one for each ELF symbol */
    struct link_symbol *locals;     /* storage of the first `first_global` of them */
    uint64_t *name_hashes;          /* in the link's arena: of the names of the others, from `first_global` on */
    struct link_symbol **functions; /* sorted by section and value; made on demand */
    uint32_t function_count;
    struct link_group *groups;
    uint32_t group_count;
    uint32_t priority;                  /* position in the order of resolution: lower wins */
    uint32_t module;                    /* index in the relink section */
    uint32_t member;                    /* of a bundle: the number of the crate that it is from */
    const struct relink_module *record; /* borrowed; of a bundle: what the relink section of its crate says; or NULL */
    uint64_t hash;                      /* of its bytes; set before the relink section is made */
    struct file_stamp stamp;            /* of the file that it is; zero: it is none, or part of one */
    uint64_t shape;                     /* linker/shape.h; 0: it was not asked for, or there is none */
    uint32_t first_listed;              /* index of its first symbol in the crate's symbol table */
    VEC(struct link_symbol *) calls;    /* owned; imports, if is_scanned: called, in the order of the first calls */
    bool is_scanned;                    /* by link_scan_ahead(), all of it */
    bool is_lto;                        /* GCC's intermediate code, to be compiled first */
    bool has_exec_stack;
};

/* Reads the object in `image`, 8-aligned, into `ret`, with what it allocates from `arena`; `machine` is the
 * EM_* that it must be of; `path` and `image` must
 * outlive it. Symbols are left to link_object_symbols(). Errors: FORMAT, UNSUPPORTED, MEMORY. */
MUST_CHECK struct crateld_error *link_object_read(struct arena *arena, const char *path, struct span image,
                                                  uint16_t machine, struct link_object *ret);

/* The members of archives are only 2-aligned, ELF structures want 8: makes *image an aligned copy where it has to be.
 * Error: MEMORY. */
MUST_CHECK struct crateld_error *link_object_align(struct arena *arena, struct span *image);

/* Reserved section indices are set apart from real ones, which may be as high in big objects. */
enum {
    LINK_RESERVED = 0xffff0000,
    LINK_SHN_ABS = LINK_RESERVED | SHN_ABS,
    LINK_SHN_COMMON = LINK_RESERVED | SHN_COMMON,
};

/* The section of symbol `i` (< symbol_count): a checked index into `sections` (0: undefined, or in a table),
 * LINK_SHN_ABS or LINK_SHN_COMMON. */
uint32_t link_object_symbol_section(const struct link_object *object, uint32_t i);

/* Whether the section, or what merging makes of it, has a place in memory that symbols can mean. */
static inline bool link_section_is_loaded(const struct link_section *section)
{
    return (section->flags & SHF_ALLOC) && (section->kind == LINK_SECTION_PLAIN || section->kind == LINK_SECTION_MERGE);
}

/* The name of symbol `i`, "" for section symbols without one. */
const char *link_object_symbol_name(const struct link_object *object, uint32_t i);

#endif

/* What the relink section says, record by record: the builder takes these structures and the reader gives
 * them back.
 *
 * The section holds every relocation of the crate's loaded contents, with the modules, sections and symbols
 * they refer to, for the linker to make patches from. It is never loaded. Its encoding is in docs/format.md,
 * "The relink section".
 *
 * All numbering is dense and in input order: sections and symbols of one module are neighbours. A module with
 * the empty path is what the linker made itself: stubs, merged strings, common variables, symbols that it
 * defines, and imports.
 */
#ifndef RELOC_RELINK_H
#define RELOC_RELINK_H

#include <stdint.h>

enum { RELINK_NONE = 0xffffffff }; /* "no index", "no address" */

struct relink_module {
    const char *path;               /* of the object or archive, as the link was given it; "": made by the linker */
    const char *member;             /* of the archive; "": an object of its own */
    uint64_t hash;                  /* XXH3-64 of the object's bytes */
    uint32_t debug_off, debug_size; /* what the crate's .debug_info has of it, bytes; 0, 0: nothing */

    /* Set by the builder and the reader. */
    uint32_t first_section, section_count;
    uint32_t first_symbol, symbol_count;
};

enum relink_section_flags {
    RELINK_SECTION_TEXT = 1 << 0, /* exactly one of TEXT, RODATA, DATA, BSS */
    RELINK_SECTION_RODATA = 1 << 1,
    RELINK_SECTION_DATA = 1 << 2,
    RELINK_SECTION_BSS = 1 << 3, /* no bytes in the file */
    RELINK_SECTION_TLS = 1 << 4, /* thread-locals: offset in the crate's block = rva - the header's tls_rva */
    RELINK_SECTION_TOC_CODE = 1 << 5,
    RELINK_SECTION_COMDAT = 1 << 6,  /* kept as the one of its group */
    RELINK_SECTION_MERGE = 1 << 7,   /* elements were merged: offsets are those in the output */
    RELINK_SECTION_STRINGS = 1 << 8, /* the elements are strings */
    RELINK_SECTION_UNWIND = 1 << 9,  /* .eh_frame or .gcc_except_table */
    RELINK_SECTION_INIT = 1 << 10,   /* an array of functions to be run at start or exit */
    RELINK_SECTION_RETAIN = 1 << 11, /* kept whether it is used or not */
    RELINK_SECTION_DROPPED =
        1 << 12, /* not in the crate: unused, or another module's COMDAT was kept; rva RELINK_NONE */
    RELINK_SECTION_ALL_FLAGS = (1 << 13) - 1,
};

struct relink_section {
    const char *name;
    uint32_t rva;
    uint32_t size;      /* bytes */
    uint32_t capacity;  /* bytes from rva to the next section's: size and slack */
    uint32_t flags;     /* enum relink_section_flags */
    uint8_t align_log2; /* up to 31 */
    uint64_t hash;      /* of what the object says: see reloc/relink_hash.h */

    /* Set by the builder and the reader. */
    uint32_t module;
    uint32_t first_reloc, reloc_count;
};

enum relink_where {
    RELINK_IN_SECTION, /* value is an offset in `section` */
    RELINK_IMPORTED,   /* from another crate or an ELF library; `refs` say by which import */
    RELINK_ABSOLUTE,   /* value is the value */
    RELINK_UNDEFINED,  /* weak, and defined nowhere: value 0 */
};

enum relink_symbol_flags {
    RELINK_SYMBOL_EXPORTED = 1 << 0,
    RELINK_SYMBOL_LEAKED = 1 << 1,  /* its address is in text without a relocation: the old code stays for good */
    RELINK_SYMBOL_VAGUE = 1 << 2,   /* one per process: the first loaded definition wins */
    RELINK_SYMBOL_VARARGS = 1 << 3, /* a function that calls va_start */
    RELINK_SYMBOL_COMMON = 1 << 4,  /* a tentative definition of C or Fortran */
    RELINK_SYMBOL_ALL_FLAGS = (1 << 5) - 1,
};

/* What was made for a symbol. Each is RELINK_NONE where there is none. */
enum relink_ref {
    RELINK_REF_FUNC_REF,        /* index into the TOC's func_refs */
    RELINK_REF_ENTRY_STUB,      /* rva of its entry stub, which is its canonical address */
    RELINK_REF_IMPORT_PLAIN,    /* index of the import that plain code calls it by */
    RELINK_REF_IMPORT_TOC,      /* likewise, TOC code */
    RELINK_REF_IMPORT_ADDRESS,  /* index of the import of its address, thread-pointer offset or TLS index */
    RELINK_REF_STUB_PLAIN,      /* rva of the import stub that plain code calls it by */
    RELINK_REF_STUB_TOC,        /* likewise, TOC code */
    RELINK_REF_SLOT_ADDRESS,    /* rva of the 8 bytes that hold its address (GOT) */
    RELINK_REF_SLOT_TLS_OFFSET, /* rva of the 8 bytes that hold its thread-pointer offset */
    RELINK_REF_SLOT_TLS_INDEX,  /* rva of the 16 bytes that are the argument of __tls_get_addr */
    RELINK_REF_STACK_ARGUMENTS, /* bytes of arguments on the stack, for a function of TOC code that has any */
    RELINK_REF_COUNT,
};

struct relink_symbol {
    const char *name; /* "" for the symbol of a section */
    uint32_t where;   /* enum relink_where */
    uint32_t section; /* RELINK_NONE unless RELINK_IN_SECTION */
    uint64_t value;
    uint64_t size;      /* bytes */
    uint8_t type;       /* STT_* of the gABI, 0..15 */
    uint8_t binding;    /* STB_LOCAL, STB_GLOBAL, STB_WEAK or STB_GNU_UNIQUE */
    uint8_t visibility; /* STV_* */
    uint32_t flags;     /* enum relink_symbol_flags */
    uint32_t refs[RELINK_REF_COUNT];

    /* Set by the builder and the reader. */
    uint32_t module;
};

/* One relocation as it was applied: the type is the one after relaxation, so running it again gives the same
 * bytes as long as nothing moved. */
struct relink_reloc {
    uint32_t section; /* the pointer: place = the section's rva + off */
    uint32_t off;
    uint32_t symbol; /* the pointee */
    uint32_t type;   /* R_* of the CPU's psABI */
    int64_t addend;
};

#endif

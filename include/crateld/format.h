/* crateld: the crate file. docs/format.md explains what this header declares.
 *
 * A crate is an ELF file of type ET_DYN without PT_DYNAMIC. Its program header PT_CRATE points at a struct
 * crate_header, from which a loader finds everything that it needs; the section headers are for other tools.
 * All integers are little-endian. An "rva" is an offset from the start of the crate's image in memory: the byte
 * at rva r of a crate mapped at its preferred base stands at p_vaddr = preferred_base + r. Every part that is
 * in the file has rva = file offset, so one mapping of the file places all of it.
 */
#ifndef CRATELD_FORMAT_H
#define CRATELD_FORMAT_H

#include <stdint.h>

#define CRATE_MAGIC UINT64_C(0x00646c6574617263) /* "crateld\0" */

enum {
    CRATE_PT_CRATE = 0x63726174, /* p_type, in the OS-specific range */
    CRATE_ABI_MAJOR = 1,         /* must be equal */
    CRATE_ABI_MINOR = 0,         /* the file's must not be above the loader's */
    CRATE_PAGE_SIZE = 4096,      /* alignment of segments, on x86-64 */
};

#define CRATE_NONE UINT32_C(0xffffffff) /* "no index" in any table; C11 has no enumerators beyond int */

/* Segments, in address order. An empty one has mem_size 0. */
enum crate_segment_kind {
    CRATE_SEGMENT_META,   /* R: ELF header, crate header, the tables below, strings; starts at rva 0 */
    CRATE_SEGMENT_TEXT,   /* RX: stubs and code */
    CRATE_SEGMENT_RODATA, /* R: constants, unwind tables */
    CRATE_SEGMENT_DATA,   /* RW: TOC, data, and bss behind the file's part */
    CRATE_SEGMENT_COUNT,
};

struct crate_segment {
    uint64_t rva;       /* page-aligned; also the file offset */
    uint64_t file_size; /* bytes from the file */
    uint64_t mem_size;  /* >= file_size; what is beyond the file's part is zero */
};

enum crate_table_kind {
    CRATE_TABLE_NEEDED,      /* struct crate_needed */
    CRATE_TABLE_IMPORTS,     /* struct crate_import: first CALL_*, then IFUNC, both with slot = index, then the rest */
    CRATE_TABLE_EXPORTS,     /* struct crate_export, sorted by hash */
    CRATE_TABLE_BUCKETS,     /* uint32_t[2^bucket_bits + 1]: exports whose hash >> (64 - bucket_bits) is b are
                                [buckets[b], buckets[b + 1]) */
    CRATE_TABLE_RELR,        /* uint64_t: SHT_RELR encoding over rvas of 8-byte words that hold a preferred address */
    CRATE_TABLE_DATA_RELOCS, /* struct crate_data_reloc */
    CRATE_TABLE_FIXUPS,      /* struct crate_fixup */
    CRATE_TABLE_MODULES,     /* struct crate_module; of a patch */
    CRATE_TABLE_MOVES,       /* struct crate_move; of a patch, sorted by old_rva */
    CRATE_TABLE_UNITS,       /* struct crate_unit; of a patch, sorted by rva */
    CRATE_TABLE_INITS,       /* struct crate_init; of a patch, sorted by base_rva */
    CRATE_TABLE_GROWN,       /* struct crate_grown; of a patch, sorted by base_rva */
    CRATE_TABLE_FRESH,       /* struct crate_fresh; of a patch, sorted by rva */
    CRATE_TABLE_SITES,       /* struct crate_site; of a patch */
    CRATE_TABLE_STARTS,      /* uint32_t: of a bundle, the members with initialisers that its first member needs, in the
                                order in which they are started */
    CRATE_TABLE_FRESH_TLS,   /* struct crate_fresh; of a patch, sorted by rva, which is the offset in the block */
    CRATE_TABLE_VANISHED,    /* struct crate_vanished; of a patch */
    CRATE_TABLE_STARTERS,    /* struct crate_starter; of a patch, in the order in which they run */
    CRATE_TABLE_HASHES,      /* uint32_t: of each export, the upper half of its hash: for a linker, which need not read
                                the exports that it does not look for */
    CRATE_TABLE_STRINGS,     /* bytes; the first and the last are NUL */
    CRATE_TABLE_MEMBERS,     /* struct crate_member; of a bundle, the bundle itself as a crate first. From here on the
                                tables have a hash of their own: members_hash */
    CRATE_TABLE_MEMBER_NEEDS,   /* uint32_t: enum crate_need, with an index into the members or the needed table */
    CRATE_TABLE_MEMBER_EXPORTS, /* struct crate_export, sorted by hash within each member */
    CRATE_TABLE_MEMBER_BUCKETS, /* uint32_t, of each member: as CRATE_TABLE_BUCKETS, from its first export on */
    CRATE_TABLE_MEMBER_TEXT,    /* struct crate_member_text, sorted by rva */
    CRATE_TABLE_MEMBER_STRINGS, /* bytes; the first and the last are NUL: the names of members and of their exports */
    CRATE_TABLE_COUNT,
};

struct crate_table {
    uint32_t rva;   /* 8-aligned, within CRATE_SEGMENT_META */
    uint32_t count; /* elements, not bytes */
};

/* An array of pointers, mostly to functions, in CRATE_SEGMENT_DATA (relocated like any data). */
struct crate_array {
    uint32_t rva; /* 8-aligned */
    uint32_t count;
};

enum crate_flags {
    CRATE_FLAG_HAS_RELINK = 1 << 0,    /* the relink section is there: functions' addresses are their entry stubs' */
    CRATE_FLAG_LOW = 1 << 1,           /* must lie below 2 GiB: holds 32-bit absolute addresses */
    CRATE_FLAG_NEAR = 1 << 2,          /* must lie within 2 GiB of the ELF libraries whose data it addresses directly */
    CRATE_FLAG_TEXT_FIXUPS = 1 << 3,   /* fixups lie in text: its pages are private */
    CRATE_FLAG_STATIC_TLS = 1 << 4,    /* its thread-locals must lie in the static pool */
    CRATE_FLAG_TOC_CODE = 1 << 5,      /* some of its text is TOC code */
    CRATE_FLAG_EAGER = 1 << 6,         /* initialisers, thread-locals or EXEC_STACK: mapped and started before main */
    CRATE_FLAG_PATCH = 1 << 7,         /* a patch: new versions of modules of the base, the crate that is needed[0] */
    CRATE_FLAG_SONAME = 1 << 8,        /* its name is also that of the file in which those who need it look for it */
    CRATE_FLAG_BUNDLE = 1 << 9,        /* several crates in one: CRATE_TABLE_MEMBERS */
    CRATE_FLAG_PRIVATE_CODE = 1 << 10, /* of a patch: nobody gets an address in its text or data, but to return
                                          there */
    CRATE_FLAG_PRIVATE_CONSTANTS = 1 << 11, /* of such a patch: nor one in its read-only data */
    CRATE_FLAG_EXEC_STACK = 1 << 12,        /* it puts code on the stack: all stacks of the process are executable */
};

struct crate_header {
    uint64_t magic;
    uint16_t abi_major;
    uint16_t abi_minor;
    uint16_t machine; /* EM_* of the ELF header */
    uint16_t header_size;
    uint32_t flags;          /* enum crate_flags */
    uint32_t name;           /* offset into the strings: the crate's identity, e.g. "shapes" */
    uint8_t build_id[16];    /* XXH3-128, canonical order, over all loaded file contents; this field and what
                                stripping changes count as zero: crate/build_id.h */
    uint64_t meta_hash;      /* XXH3-64 over CRATE_SEGMENT_META's part of the file; likewise */
    uint64_t preferred_base; /* a multiple of image_align */
    uint64_t image_align;    /* of the base, wherever it is: a power of two, at least CRATE_PAGE_SIZE */
    uint64_t image_size;     /* bytes from rva 0 to the end of the last segment, page-aligned */
    uint64_t reserve_size;   /* bytes to be kept free behind the image for reloaded modules, page-aligned */
    struct crate_segment segments[CRATE_SEGMENT_COUNT];
    struct crate_table tables[CRATE_TABLE_COUNT];
    uint32_t bucket_bits; /* 0..30 */
    uint32_t entry_rva;   /* canonical address of the entry function (main); 0: the crate has none */

    /* The TOC: see include/crateld/toc.h. Capacities; the imports table tells how many are in use. */
    uint32_t toc_rva; /* page-aligned, in CRATE_SEGMENT_DATA */
    uint32_t imported_functions;
    uint32_t imported_globals;
    uint32_t func_refs;
    uint32_t type_ids;
    uint32_t lazy_stubs_rva; /* lazy stub i stands at + i * toc_stub_sizes.lazy */

    struct crate_array preinit_array; /* called in order, with argc, argv, envp */
    struct crate_array init_array;    /* likewise, after it */
    struct crate_array fini_array;    /* called in reverse order */
    struct crate_array types;         /* pointers to struct crateld_gc_type: types of collected objects */

    /* The initial image of the crate's thread-locals. */
    uint32_t tls_rva;
    uint32_t tls_file_size;
    uint64_t tls_mem_size; /* 0: no thread-locals */
    uint32_t tls_align;    /* a power of two */

    uint32_t eh_frame_hdr_rva; /* as .eh_frame_hdr of the LSB, with a sorted table; 0: none */
    uint32_t eh_frame_hdr_size;
    uint32_t toc_text_rva; /* text from here to the end of CRATE_SEGMENT_TEXT is TOC code, what lies before it is
                              not (stubs do not matter); 0: none is. Landing pads need to know */

    uint64_t relink_off; /* file offset of .crate.relink, outside all segments */
    uint64_t relink_size;

    uint64_t
        members_hash; /* of a bundle: XXH3-64 over CRATE_SEGMENT_META's part of the file from CRATE_TABLE_MEMBERS on */
    uint64_t carried_off;   /* file offset, 8-aligned, of struct crate_carried[carried_count], behind all else */
    uint32_t carried_count; /* patches that the file carries, in the order in which they come into effect; 0 in those */
    uint32_t reserved;
};

/* A patch that a crate's file carries: a file of its own within it. */
struct crate_carried {
    uint64_t off; /* from the start of the crate's file; 8-aligned */
    uint64_t size;
};

/* Elements of a table that belong to something. */
struct crate_slice {
    uint32_t first;
    uint32_t count;
};

enum crate_member_flags {
    CRATE_MEMBER_FLAG_EAGER = 1 << 0, /* has initialisers or finalisers */
    CRATE_MEMBER_FLAG_LATE = 1 << 1,  /* the first member does not need it: it is started when somebody opens it */
};

/* A crate of a bundle. */
struct crate_member {
    uint32_t name;        /* member string: its identity */
    uint32_t file;        /* member string: what its file was called, without the folder */
    uint8_t build_id[16]; /* of that file */
    uint32_t flags;       /* enum crate_member_flags */
    uint32_t bucket_bits;
    uint32_t first_bucket;
    struct crate_slice exports; /* of MEMBER_EXPORTS; none of the first member, whose are CRATE_TABLE_EXPORTS */
    struct crate_slice needs;   /* of MEMBER_NEEDS */
    struct crate_slice modules; /* of the relink section */
    struct crate_array init_array, fini_array;
};

/* From here to the next one's place the text is of that member. */
struct crate_member_text {
    uint32_t rva;
    uint32_t member;
};

/* In an element of CRATE_TABLE_MEMBER_NEEDS: what the rest of it is an index of. */
enum crate_need {
    CRATE_NEED_INDEX = (1 << 30) - 1,
    CRATE_NEED_EAGER = 1 << 30, /* an ELF library with initialisers: opened when the member is started */
};
#define CRATE_NEED_MEMBER UINT32_C(0x80000000) /* a member; else an entry of CRATE_TABLE_NEEDED */

enum crate_needed_kind {
    CRATE_NEEDED_CRATE, /* name is the crate's name; its file is <name>.crate unless `path` says more */
    CRATE_NEEDED_ELF,   /* name is the soname */
};

enum crate_needed_flags {
    CRATE_NEEDED_FLAG_EAGER = 1 << 0,        /* has initialisers: opened before main */
    CRATE_NEEDED_FLAG_USES_EXPORTS = 1 << 1, /* an ELF library with undefined symbols that the crate exports: it is
                                                opened where it finds them */
};

struct crate_needed {
    uint32_t name; /* string */
    uint32_t path; /* string: file name the link was given (crates: no folder; ELF: where it was found); 0: none */
    uint16_t kind; /* enum crate_needed_kind */
    uint16_t flags;
    uint32_t runpath;     /* string: folders to look in for it, separated by colons; 0: none */
    uint8_t build_id[16]; /* of the crate that was linked against; zero for ELF and for declared crates */
};

enum crate_import_kind {
    CRATE_IMPORT_CALL_PLAIN, /* function slot: what plain code jumps to; bound lazily */
    CRATE_IMPORT_CALL_TOC,   /* function slot: {entry, callee's TOC} for TOC code; bound lazily */
    CRATE_IMPORT_IFUNC,      /* function slot: result of this crate's resolver at `fallback_rva`, at start */
    CRATE_IMPORT_ADDRESS,    /* global slot: canonical address of a function or a variable; bound at start */
    CRATE_IMPORT_TLS_OFFSET, /* global slot: thread-pointer offset of a thread-local, at start */
    CRATE_IMPORT_TLS_INDEX,  /* two global slots: argument of __tls_get_addr, at start */
    CRATE_IMPORT_FORWARD,    /* no slot: what an export stands for, a symbol of an ELF library */
};

enum crate_import_flags {
    CRATE_IMPORT_FLAG_WEAK = 1 << 0,  /* address 0 when nobody defines it */
    CRATE_IMPORT_FLAG_VAGUE = 1 << 1, /* one per process: the first loaded definition wins, this crate's own is at
                                         fallback_rva (for thread-locals: offset in this crate's block) */
    CRATE_IMPORT_FLAG_SELF = 1 << 2,  /* a thread-local of this crate: fallback_rva is the offset in its block;
                                         with an empty name and TLS_INDEX: the block itself (local-dynamic) */
    CRATE_IMPORT_FLAG_BASE = 1 << 3,  /* of a patch, needed 0: the base's own place fallback_rva, exported or not (for
                                         thread-locals: offset in its block); the name is for messages */
    CRATE_IMPORT_FLAG_FRESH = 1 << 4, /* of a patch, needed 0: a place of this patch's own data, fallback_rva, within an
                                         entry of CRATE_TABLE_FRESH; the same place of the first patch that had that */
};

struct crate_import {
    uint64_t hash;    /* XXH3-64 of the name */
    uint32_t name;    /* string */
    uint32_t version; /* string: ELF symbol version; 0: none, the default version */
    uint32_t needed;  /* index into CRATE_TABLE_NEEDED; CRATE_NONE: SELF, IFUNC, VAGUE without a library that
                         defines it, or a weak symbol that nothing in the link defines */
    uint32_t slot;    /* index into imported_functions or imported_globals, by kind; FORWARD: CRATE_NONE */
    uint32_t fallback_rva;
    uint8_t kind;  /* enum crate_import_kind */
    uint8_t flags; /* enum crate_import_flags */
    uint16_t reserved;
};

enum crate_export_kind {
    CRATE_EXPORT_FUNCTION_PLAIN,
    CRATE_EXPORT_FUNCTION_TOC, /* TOC code: rva is for callers that set %r15, canonical_rva preserves theirs */
    CRATE_EXPORT_DATA,
    CRATE_EXPORT_TLS,      /* rva is the offset in the crate's block of thread-locals */
    CRATE_EXPORT_ABSOLUTE, /* rva and canonical_rva are the low and high half of the value */
};

enum crate_export_flags {
    CRATE_EXPORT_FLAG_WEAK = 1 << 0,
    CRATE_EXPORT_FLAG_VAGUE = 1 << 1,   /* enters the process-wide table */
    CRATE_EXPORT_FLAG_FORWARD = 1 << 2, /* stands for a symbol of an ELF library, the import FORWARD at `import`; has no
                                           rva */
};

struct crate_export {
    uint64_t hash;
    uint32_t name;
    uint32_t rva;           /* functions: the entry that calls bind to */
    uint32_t canonical_rva; /* functions: what &f is (the entry stub, if there is one); data: = rva */
    uint32_t size;          /* bytes of a variable or function, as in the object's symbol table; saturated */
    uint16_t kind;
    uint16_t flags;
    uint32_t import; /* VAGUE: index of the import whose slot says which copy won; FORWARD: of the import that it
                        stands for; else CRATE_NONE */
};

/* An 8-byte word of data that holds an imported address: *(place) = value of the import + addend. The import is of
 * kind ADDRESS. */
struct crate_data_reloc {
    uint32_t place_rva;
    uint32_t import;
    int64_t addend;
};

enum crate_fixup_kind {
    CRATE_FIXUP_PC32,    /* 32-bit S + A - P */
    CRATE_FIXUP_ABS32,   /* 32-bit zero-extended S + A */
    CRATE_FIXUP_ABS32S,  /* 32-bit sign-extended S + A */
    CRATE_FIXUP_ABS64,   /* 64-bit S + A, where RELR can not say it: in text, or misaligned */
    CRATE_FIXUP_TPOFF32, /* 32-bit A + thread-pointer offset of this crate's block, or of the import's variable */
};

/* A place in text, read-only data or data that depends on where the crate or an import lies. */
struct crate_fixup {
    uint32_t place_rva;
    uint32_t import; /* of kind ADDRESS (PC32, ABS*) or TLS_OFFSET (TPOFF32); CRATE_NONE: this crate, and then
                        S is the image's base (preferred contents are right at the preferred base) */
    int64_t addend;  /* import CRATE_NONE and kind ABS*: S + A with S = base, A = rva + addend */
    uint32_t kind;
    uint32_t reserved;
};

/* A module of the base of which a patch is a new version. */
struct crate_module {
    uint32_t path;   /* string: as the base's link was given it */
    uint32_t member; /* string: of the archive; "": an object of its own */
    uint32_t group;  /* index of the patch's first module with which it must be active: one refers to what only the
                        other has, and the base has not; its own index: there is none before it */
};

/* A function of the base that a patch replaces, whose address, for all who hold it, stays that of its entry stub; or a
 * constant that others than its module's changed functions may refer to: who holds its address stays with the old one.
 */
struct crate_move {
    uint32_t name;    /* string */
    uint32_t module;  /* index into CRATE_TABLE_MODULES */
    uint32_t old_rva; /* its first instruction, or byte, in the base */
    uint32_t new_rva; /* its first instruction, or byte, in the patch */
    uint32_t flags;   /* enum crate_move_flags */
    uint32_t reserved;
};

enum crate_move_flags {
    CRATE_MOVE_FLAG_LEAKED = 1 << 0, /* code of the base has its address without a relocation: who got it stays with the
                                        old version */
    CRATE_MOVE_FLAG_CONSTANT = 1 << 1, /* not a function, but a constant */
};

/* Text of the base that is superseded: who is in it stays in it, and what it refers to is not changed. */
struct crate_unit {
    uint32_t module;
    uint32_t rva;
    uint32_t size; /* bytes */
    uint32_t reserved;
};

/* A variable of the base whose initial value is another in a patch. */
struct crate_init {
    uint32_t name; /* string */
    uint32_t module;
    uint32_t base_rva;  /* in the base's data */
    uint32_t size;      /* bytes */
    uint32_t image_rva; /* the new initial value, in the patch's data, where it is relocated as any */
    uint32_t reserved;
};

/* A variable of the base that is larger in a patch, or of another type, and so has to be elsewhere: in the patch. */
struct crate_grown {
    uint32_t name; /* string */
    uint32_t module;
    uint32_t base_rva; /* in the base's data */
    uint32_t old_size; /* bytes */
    uint32_t new_size;
    uint32_t image_rva;  /* its new storage, with the new initial value, in the patch's data */
    uint64_t type;       /* fingerprint of the new type; 0: not known */
    uint32_t on_change;  /* enum crate_on_change */
    uint32_t flags;      /* enum crate_grown_flags */
    uint32_t difference; /* string: what is another than in the base, for a message; "": it has only grown */
    uint32_t stranger;   /* string: a module that refers to it, and has no new version here; "": none does */
};

/* What becomes of the value of a variable. */
enum crate_on_change {
    CRATE_ON_CHANGE_COPY,   /* it is the first part of the new one; not if there is a difference */
    CRATE_ON_CHANGE_REFUSE, /* it can not be kept: the patch is refused, unless the variable has the new type already */
    CRATE_ON_CHANGE_INIT,   /* the new initial value takes its place */
    CRATE_ON_CHANGE_MIGRATE, /* the crate's function crate_migrate() makes the new value of the old one */
    CRATE_ON_CHANGE_COUNT,
};

enum crate_grown_flags {
    CRATE_GROWN_FLAG_FORCE = 1 << 0, /* it moves even if somebody has a pointer to it, who stays with the old storage */
};

/* A variable that the base does not have. Later patches with one of the same name use the first one's. */
struct crate_fresh {
    uint32_t name; /* string: unique among the base's new variables */
    uint32_t module;
    uint32_t rva;  /* in the patch's data; of thread-locals: offset in its block */
    uint32_t size; /* bytes */
    uint64_t type; /* fingerprint; 0: not known */
};

/* A place of the base that refers to what a patch moves. With T the address of that, it holds T + addend - place (PC32)
 * or T + addend. */
struct crate_site {
    uint32_t place_rva; /* in the base's text or data */
    uint32_t subject;   /* index into CRATE_TABLE_MOVES, or, less the number of those, CRATE_TABLE_GROWN */
    int32_t addend;
    uint32_t kind; /* enum crate_fixup_kind, but TPOFF32 */
};

/* An export of the base that its module does not have any more: whoever imports it can not lose it. */
struct crate_vanished {
    uint32_t name; /* string */
    uint32_t module;
};

/* An initialiser that the base does not have: it runs once, when the first patch with it has come into effect. */
struct crate_starter {
    uint64_t hash; /* of its code: the same initialiser in a later patch has the same */
    uint32_t name; /* string: unique among the base's new initialisers */
    uint32_t module;
    uint32_t rva; /* in the patch's text */
    uint32_t reserved;
};

#endif

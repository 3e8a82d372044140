/* One link: what all passes work on. docs/architecture.md lists the passes in their order.
 *
 * Everything lives until link_deinit(): passes borrow freely from each other. Not thread-safe.
 */
#ifndef LINKER_LINK_H
#define LINKER_LINK_H

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/vec.h"
#include "base/workers.h"
#include "crate/reader.h"
#include "crateld/format.h"
#include "crateld/toc_record.h"
#include "linker/archive.h"
#include "linker/crate_source.h"
#include "linker/object.h"
#include "linker/options.h"
#include "linker/search.h"
#include "linker/shared_library.h"
#include "linker/symbol.h"
#include "linker/version_script.h"
#include "reloc/machine.h"
#include "toc/shape.h"

struct link_eh_frame;
struct link_merge_table;
struct link_lto;
struct link_patch;
struct link_bundle;

enum link_provider_kind {
    LINK_PROVIDER_CRATE,
    LINK_PROVIDER_DECLARED, /* --declare: a crate whose file does not exist yet */
    LINK_PROVIDER_ELF,
    LINK_PROVIDER_BASE, /* the crate that a patch is for, and what that imports from */
    LINK_PROVIDER_KEPT, /* what crates of a bundle need that is not in it */
};

/* An entry of a crate's needed table. */
struct link_kept_needed {
    struct crate_needed entry;
    const char *path, *runpath; /* its strings; borrowed */
};

/* A crate or ELF library that symbols can be imported from. */
struct link_provider {
    enum link_provider_kind kind;
    const char *path; /* borrowed */
    const char *name; /* identity: crate name or soname; borrowed */
    bool is_as_needed;
    bool is_used;
    uint32_t needed; /* index + 1 in the needed table */
    union {
        struct shared_library *library; /* ELF; owned, in the arena */
        struct crate_source crate;      /* CRATE */
        struct link_kept_needed kept;   /* KEPT */
    };
};

/* An archive whose members are taken when they define something that is wanted. */
struct link_archive {
    struct archive archive;    /* owned */
    struct hash_index by_name; /* of archive.symbols, less their versions */
    bool *is_taken;            /* owned; for each member */
};

/* The order in which undefined symbols are looked for. */
struct link_source {
    bool is_archive;
    bool is_crates; /* of which those exports are known that objects ask for */
    uint32_t index; /* into archives or providers */
    uint32_t count; /* of providers: 1, or as many crates as were given in a row */
};

/* An export of a crate that objects ask for. */
struct link_known_export {
    const char *name;  /* borrowed */
    uint32_t provider; /* the crate's index */
};

/* The start of a function: what an entry stub or a TOC record belongs to. Aliases share one. */
struct link_function {
    struct link_section *section;
    uint64_t value;
    uint32_t func_ref;        /* index + 1 */
    uint32_t stack_arguments; /* bytes; TOC code */
    uint64_t varargs_entry;   /* offset in the section */
    bool is_varargs;
    bool has_record;   /* TOC code with a record: may be entered */
    bool is_leaked;    /* its address is in code without a relocation: it has no entry stub */
    uint32_t stub_off; /* offset of its entry stub within the entry stubs */
};

enum link_output_kind {
    LINK_OUTPUT_INPUTS,    /* made of input sections */
    LINK_OUTPUT_SYNTHETIC, /* written by the linker */
};

/* A section of the output file. */
struct link_output {
    const char *name;
    uint32_t type;
    uint64_t flags;
    uint8_t segment; /* enum crate_segment_kind; CRATE_SEGMENT_COUNT: not loaded */
    uint8_t align_log2;
    uint8_t rank;        /* order within the segment */
    bool has_link_order; /* some section is SHF_LINK_ORDER: all are put in the order of those that they go with */
    uint32_t entry_size;
    uint32_t index; /* in the section header table */
    VEC(struct link_section *) sections;
    uint64_t size;
    uint64_t rva; /* not loaded: 0 */
    uint64_t off; /* in the file */
};

/* Symbols that relocations of the linker's own sections refer to, in link.own.symbols. */
enum link_own_symbol {
    LINK_OWN_SYMBOL_INIT = 1, /* the function in .init */
    LINK_OWN_SYMBOL_FINI,
    LINK_OWN_SYMBOL_COUNT,
};

/* What a symbol of the linker's own points to. */
enum link_place {
    LINK_PLACE_IMAGE_START,
    LINK_PLACE_TEXT_END,
    LINK_PLACE_DATA_END, /* of the file's part */
    LINK_PLACE_BSS_START,
    LINK_PLACE_IMAGE_END,
    LINK_PLACE_TOC,
    LINK_PLACE_TOC_CRATE, /* its field of that name: the same nowhere else in the process, address and contents */
    LINK_PLACE_TLS_START,
    LINK_PLACE_PREINIT_START,
    LINK_PLACE_PREINIT_END,
    LINK_PLACE_INIT_START,
    LINK_PLACE_INIT_END,
    LINK_PLACE_FINI_START,
    LINK_PLACE_FINI_END,
    LINK_PLACE_SECTION_START, /* of the output section called bounds_name */
    LINK_PLACE_SECTION_END,
};

/* A place in the output as a section of size 0, so that symbols can be defined at it. */
struct link_marker {
    struct link_section section;
    enum link_place place;
    const char *bounds_name; /* borrowed; NULL but for SECTION_START and SECTION_END */
    bool is_marked;          /* by garbage collection: the sections between the bounds are live */
};

/* What fills an import's slot: see struct crate_import. */
struct link_import {
    struct link_symbol *symbol; /* NULL: the local-dynamic block */
    uint32_t slot;
    uint8_t kind;      /* enum crate_import_kind */
    uint8_t flags;     /* enum crate_import_flags */
    uint32_t stub_off; /* function slots: of the import stub, within the import stubs */
};

/* A slot of imported_globals that holds an address of this crate (or a constant). */
struct link_constant_slot {
    struct link_symbol *symbol;
    uint32_t slot;
};

/* A place that the loader fills: a data relocation or a fixup. */
struct link_loader_place {
    uint64_t rva;
    struct link_symbol *symbol; /* NULL: an address of this crate, rva `addend` */
    int64_t addend;
    uint32_t kind; /* fixups: enum crate_fixup_kind */
};

/* An undefined symbol and the first place that refers to it. */
struct link_undefined {
    struct link_symbol *symbol;
    const struct link_section *section;
    uint64_t off;
    uint32_t more; /* further references */
};

struct link {
    const struct link_options *options;  /* borrowed */
    const struct reloc_machine *machine; /* the CPU */
    const char *name;                    /* the crate's identity */
    struct arena arena;
    uint32_t workers;                        /* threads for passes that are cut into pieces */
    struct arena worker_arenas[WORKERS_MAX]; /* what each of them allocates */
    struct crateld_error *errors;            /* collected */
    uint32_t error_count;
    bool
        is_incomplete; /* some fault is more than a duplicate definition: what follows from it is not worth reporting */

    /* Inputs. */
    struct search search;
    struct journal journal;
    bool keeps_state;             /* what a later link needs to update the crate is written beside it: linker/state.h */
    bool is_updated;              /* the crate has been updated: there is nothing left to be done */
    struct name_filter *expected; /* names that objects ask for, as far as is known when crates are read; NULL: all */
    int64_t started_ns;           /* since 1970: when the link began */
    struct version_script *scripts; /* owned */
    VEC(struct link_object *) objects;
    VEC(struct file) files; /* owned */
    VEC(struct link_provider *) providers;
    struct hash_index provider_names; /* of `providers` */
    VEC(struct link_archive *) archives;
    VEC(struct link_source) sources;
    VEC(struct link_known_export) known_exports; /* of crates, those whose name is among the expected ones */
    struct hash_index known_export_names;
    struct name_filter *exported; /* what all crates export; NULL: not known */
    struct link_object own;       /* owner of the sections that the linker makes */
    VEC(struct link_section *) own_sections;
    VEC(struct link_marker *) markers;
    VEC(struct link_object *) lto_objects; /* with intermediate code, still to be compiled */
    struct link_lto *lto;                  /* borrowed */
    struct link_patch *patch;              /* owned; NULL: a crate is linked, not a patch */
    struct link_bundle *bundle;            /* owned; NULL: no bundle is made */

    /* Resolution. */
    struct link_symbol_table symbols;
    struct hash_index groups;
    VEC(const char *) group_signatures;
    VEC(struct link_symbol *) wanted; /* the queue of symbols to be looked for */
    size_t next_wanted;               /* those before it have been */
    struct link_symbol *entry;

    /* What the scan found to be needed. */
    struct hash_index function_index;
    VEC(struct link_function *) functions;    /* that do not start with their section */
    VEC(struct link_import) function_imports; /* slot = index; calls, then IFUNCs */
    VEC(struct link_import) ifunc_imports;    /* of this crate's own; appended to them at the end of the scan */
    uint32_t lazy_count;                      /* function_imports that are calls */
    VEC(struct link_import) global_imports;
    VEC(struct link_constant_slot) constant_slots;
    uint32_t data_reloc_count; /* by the scan; the lists are made by emission */
    uint32_t fixup_count;
    VEC(struct link_loader_place) data_relocs;
    VEC(struct link_loader_place) fixups;
    VEC(struct link_function *) func_refs; /* by index */
    VEC(struct link_undefined) undefined;
    uint32_t patch_toc_slot; /* 1 + the global slot that holds the base's TOC; 0: there is none */
    uint32_t global_slot_count;
    uint32_t type_count;     /* pointers to types of collected objects; known with the layout */
    uint32_t tls_block_slot; /* index + 1 of the local-dynamic pair's first slot */
    uint32_t flags;          /* enum crate_flags */
    struct crew *hashing;    /* owned; NULL: contents are not being hashed */
    struct link_eh_frame *eh_frame;
    struct link_merge_table *merges;

    /* Layout. */
    VEC(struct link_output *) outputs;
    struct toc_shape toc;
    uint64_t toc_rva;
    uint64_t stubs_rva; /* import stubs */
    uint64_t lazy_rva;  /* lazy head, then the lazy stubs */
    uint64_t entry_stubs_rva;
    uint64_t tls_rva; /* start of the image */
    uint64_t tls_file_size;
    uint64_t tls_mem_size;
    uint64_t tls_align;
    uint64_t preferred_base;
};

/* How many threads are worth it for `count` files, sections or the like: each is to have some of them. */
static inline uint32_t link_workers_for(const struct link *link, size_t count)
{
    enum { FEW = 16 };
    return count / FEW + 1 < link->workers ? (uint32_t)(count / FEW) + 1 : link->workers;
}

/* How many symbols there are: the objects' locals, and the globals. Sections have further ones. */
static inline size_t link_symbol_count(const struct link *link)
{
    size_t count = link->symbols.count;
    for (size_t i = 0; i < link->objects.count; i++)
        count += link->objects.at[i]->first_global;
    return count;
}

/* Collects `error` (taken over; NULL is allowed), so that the link goes on to find more. */
void link_report(struct link *link, struct crateld_error *error);

/* Prints "crateld: warning: ..." to stderr; an error under --fatal-warnings. */
void link_warn(struct link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All errors so far, for the caller; NULL if there are none. */
MUST_CHECK struct crateld_error *link_take_errors(struct link *link);

/* Runs the whole link. Errors are collected, each message a line. */
MUST_CHECK struct crateld_error *link_run(const struct link_options *options);

#endif

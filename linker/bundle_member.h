/* What the passes that make a bundle share: its members. For linker/bundle*.c only. */
#ifndef LINKER_BUNDLE_MEMBER_H
#define LINKER_BUNDLE_MEMBER_H

#include "crate/reader.h"
#include "linker/bundle.h"
#include "linker/link.h"
#include "reloc/relink_reader.h"

struct bundle_member;

/* An entry of a member's needed table. */
struct bundle_need {
    struct bundle_member *member; /* borrowed; NULL: it is not in the bundle */
    uint32_t provider;            /* then: index into the link's providers */
    bool is_eager;                /* an ELF library with initialisers */
};

struct bundle_export {
    const char *name; /* borrowed */
    uint32_t symbol;  /* number */
};

struct bundle_member {
    const char *path; /* borrowed */
    const char *file; /* what is behind its last slash */
    const char *name; /* identity; borrowed from the file. Symbols of this very bound_version are the member's */
    struct span bytes;
    struct crate_view view;
    struct relink_view relink;
    uint32_t number; /* in the bundle, in which the order is that of loading */
    bool is_stub;    /* stands for an ELF library; is not in the bundle, for who imports from it imports from that */
    bool is_late;    /* the first one does not need it */
    bool is_visited; /* by the search that is going on */
    struct bundle_need *needs;

    /* By the numbers of the relink section; in the link's arena. */
    struct relink_module *modules;
    struct link_object **objects;         /* of each module */
    struct relink_symbol **records;       /* of each module: its symbols, decoded */
    struct link_section **sections;       /* of each section; in its object */
    struct link_symbol **section_symbols; /* that stand for them; made on demand */
    struct link_symbol **symbols;         /* of each symbol */
    struct link_section **placed;         /* those that have a place in the crate, by their addresses */
    uint32_t placed_count;
    struct hash_index import_index;    /* owned; of the crate's imports by the hashes of their names */
    VEC(struct bundle_export) exports; /* owned */
};

struct bundle_vague {
    const char *name;
    struct link_symbol *symbol;
};

struct link_bundle {
    VEC(struct bundle_member *) members; /* of the arena; in the order of loading; stubs come last */
    size_t count;                        /* of members that are no stubs */
    VEC(struct bundle_member *) named;   /* as they were named; `names` are theirs */
    struct hash_index names;
    struct hash_index vague_index;
    VEC(struct bundle_vague) vague; /* variables of which there is one in a process, and the first member's copy */
};

/* Orders of sections (struct link_section): those that are run first are numbered; behind them come all others as they
 * stood in their crates, and the crates one behind the other. */
#define BUNDLE_ORDER_REST (UINT64_C(1) << 62)

static inline uint64_t bundle_order_of(uint32_t member, uint32_t rva)
{
    return BUNDLE_ORDER_REST | (uint64_t)member << 32 | rva;
}

/* The section with a place in the crate that `rva` is in, or right behind; NULL if there is none. */
struct link_section *bundle_section_at(const struct bundle_member *member, uint64_t rva);

/* Gives the crate's objects their relocations and symbols, once it is known what those are. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *bundle_make_objects(struct link *link, struct bundle_member *member);

/* What goes into the section of unwind tables of one module's object. */
struct bundle_unwind {
    VEC(uint8_t) bytes; /* owned */
    VEC(Elf64_Rela)
    relocs;                    /* owned; their symbols are numbers of the crate's sections, or of its symbols with
                                  BUNDLE_UNWIND_SYMBOL */
    uint32_t cie_from, cie_to; /* the CIE that was copied last, in the crate's table + 1, and in `bytes` */
};
enum { BUNDLE_UNWIND_SYMBOL = 1 << 30 };

/* Takes the crate's unwind tables apart, into the elements of `ret`, one for each module. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *bundle_read_unwind(const struct reloc_machine *machine,
                                                    const struct bundle_member *member, struct bundle_unwind *ret);

#endif

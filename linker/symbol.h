/* Symbols, and the table of global ones.
 *
 * Resolution (docs/abi.md §3): definitions in objects, of which a strong one beats a common one beats a weak
 * one and two strong ones are an error; then whatever archive, crate or library comes first on the command
 * line.
 */
#ifndef LINKER_SYMBOL_H
#define LINKER_SYMBOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash_index.h"
#include "linker/object.h"

enum link_symbol_state {
    LINK_SYMBOL_UNDEFINED,
    LINK_SYMBOL_DEFINED,  /* section + value */
    LINK_SYMBOL_ABSOLUTE, /* value */
    LINK_SYMBOL_COMMON,   /* size, and value = alignment, until layout gives it a section */
    LINK_SYMBOL_IMPORTED, /* from a crate or an ELF library: provider */
};

struct link_symbol {
    /* What most passes look at comes first: a line of the processor's cache. */
    const char *name;               /* borrowed; "" for unnamed local ones */
    struct link_object *object;     /* that defines it; else the first that refers to it; NULL: the linker */
    struct link_section *section;   /* DEFINED; its object's section, or a section of the linker's own */
    struct link_function *function; /* borrowed; that starts here, where it was entered by this symbol; else NULL */
    uint64_t value;
    uint8_t state;          /* enum link_symbol_state */
    uint8_t binding;        /* STB_* of the definition, or STB_WEAK when all references are weak */
    uint8_t type;           /* STT_* */
    uint8_t visibility;     /* STV_*: the most constraining one seen */
    bool is_base : 1;       /* IMPORTED: it is the base's own, exported or not, at base->rva */
    bool is_fresh : 1;      /* IMPORTED and is_base: it is in the patch, unless an earlier one has it */
    bool is_looked_up : 1;  /* a patch: among what the base has and imports */
    bool is_local : 1;      /* STB_LOCAL */
    bool is_referenced : 1; /* by an object other than the one that defines it, or through an archive or library */
    bool is_strongly_referenced : 1;
    bool is_queued : 1; /* among those that link_resolve_undefined() has to look for */
    bool is_exported : 1;
    bool is_vague : 1;       /* weak, COMDAT or unique data of default visibility: one per process */
    bool has_rival : 1;      /* VAGUE: a crate or library of this link defines it too, and its copy may win */
    bool is_reported : 1;    /* an error about it has been collected */
    bool has_canonical_stub; /* position-dependent code took an import's address: its stub is it, for this crate */
    uint32_t rva;            /* of a global symbol, DEFINED in a section that is not cut into pieces; once everything
                                has its place; 0: it is to be computed */
    uint32_t relink;         /* index + 1 in the relink section */

    uint64_t size;
    uint64_t hash;             /* of the name; 0 for local symbols */
    const char *bound_version; /* borrowed; of "f@V": this version of f and no other, beside which there may be an f;
                                  NULL: f itself */
    const char *version;       /* borrowed; ELF symbol version of the import, or of a definition "f@@V"; NULL: none */
    struct link_base_place *base; /* borrowed; a patch: its counterpart in the base; NULL: none */
    uint32_t provider; /* IMPORTED: index into the link's providers; VAGUE: one that defines it too, or NONE */
    /* Slots and tables that the scan found to be needed: index + 1, 0 is none. */
    uint32_t call_plain;
    uint32_t call_toc;
    uint32_t address;
    uint32_t tls_offset;
    uint32_t tls_index;
    uint32_t address_import;    /* index + 1 of the import that fills `address` or `tls_index`; 0: no import does */
    uint32_t tls_offset_import; /* likewise, `tls_offset` */
};

struct link_symbol_table {
    struct hash_index index;
    struct link_symbol **at; /* owned; in order of first appearance */
    size_t count;
    size_t capacity;
    bool has_bound; /* some symbol has a bound_version */
};

void link_symbol_table_init(struct link_symbol_table *table);
void link_symbol_table_deinit(struct link_symbol_table *table);

/* A symbol's name as object files and archives write it: "f", "f@@V" (the version V of f, which who asks for f gets),
 * or "f@V" (who asks for that version). */
struct link_versioned_name {
    const char *name;    /* f; borrowed if there is no version, else from the arena */
    const char *version; /* V; borrowed; NULL: none */
    bool is_default;     /* none, or @@ */
};

/* Takes `text` apart; false without memory. */
bool link_versioned_name_read(struct arena *arena, const char *text, struct link_versioned_name *ret);

/* The symbol called `name`, made (UNDEFINED, from `arena`; `name` is borrowed) if it is new. `bound_version` (borrowed)
 * is that of struct link_symbol. NULL without memory. */
struct link_symbol *link_symbol_table_enter(struct link_symbol_table *table, struct arena *arena, const char *name,
                                            const char *bound_version);

/* The same, for who knows hash_string(name). */
struct link_symbol *link_symbol_table_enter_hashed(struct link_symbol_table *table, struct arena *arena,
                                                   const char *name, uint64_t hash, const char *bound_version);

/* Gets the symbol of that hash, which will be looked for, into the processor's cache; its slot of the index is there.
 */
static inline void link_symbol_table_prefetch(const struct link_symbol_table *table, uint64_t hash)
{
    uint32_t number = table->index.slots ? table->index.slots[hash & table->index.mask].number : 0;
    if (number)
        __builtin_prefetch(table->at[number - 1]);
}

/* The symbol called `name`, without a bound version; NULL if there is none. */
struct link_symbol *link_symbol_table_find(const struct link_symbol_table *table, const char *name);

/* The most constraining of two visibilities (gABI ch. 4: internal, hidden, protected, default). */
static inline uint8_t link_visibility_merge(uint8_t a, uint8_t b)
{
    if (!a || !b)
        return a | b;
    return a < b ? a : b;
}

/* For loops over the relocations of one section after the other. Symbols, and the sections that they are defined in,
 * are all over the memory: at relocation `i` of `section` the processor is told of those that come soon. */
enum { LINK_SOON = 6, LINK_LATER = 12 };

static inline void link_look_ahead(const struct link_section *section, uint32_t i)
{
    struct link_symbol **symbols = section->object->symbols;
    if (i + LINK_LATER < section->reloc_count)
        __builtin_prefetch(symbols[ELF64_R_SYM(section->relocs[i + LINK_LATER].r_info)]);
    if (i + LINK_SOON < section->reloc_count) {
        const struct link_section *target = symbols[ELF64_R_SYM(section->relocs[i + LINK_SOON].r_info)]->section;
        __builtin_prefetch(target);
        __builtin_prefetch((const char *)target + 64);
    }
}

/* The same at the start of a section: for the first relocations of the next one, and of the one after it. */
static inline void link_look_beyond(const struct link_section *next, const struct link_section *after)
{
    for (uint32_t i = 0; i < LINK_LATER && i < after->reloc_count; i++)
        __builtin_prefetch(after->object->symbols[ELF64_R_SYM(after->relocs[i].r_info)]);
    for (uint32_t i = 0; i < LINK_SOON && i < next->reloc_count; i++) {
        const struct link_section *target = next->object->symbols[ELF64_R_SYM(next->relocs[i].r_info)]->section;
        __builtin_prefetch(target);
        __builtin_prefetch((const char *)target + 64);
    }
}

/* Whether the symbol's address is known within the crate: not imported, and not one that another crate's copy
 * may replace. */
static inline bool link_symbol_is_at_hand(const struct link_symbol *symbol)
{
    return (symbol->state == LINK_SYMBOL_DEFINED || symbol->state == LINK_SYMBOL_ABSOLUTE) && !symbol->is_vague;
}

#endif

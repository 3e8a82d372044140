/* The scan: what the relocations of live sections need, before anything has an address.
 *
 * For each relocation it is decided whether the place is computed at link time, goes through a stub or a slot
 * of the TOC, or is left to the loader; emission (linker/emit.c) repeats the same decisions with
 * link_reference_of() and fills in the values. docs/abi.md §3.
 */
#ifndef LINKER_SCAN_H
#define LINKER_SCAN_H

#include "linker/link.h"
#include "reloc/howto.h"

/* What a relocation turns out to mean. */
enum link_action {
    LINK_ACTION_NONE,
    LINK_ACTION_VALUE,         /* the howto's formula, with S = the symbol's place */
    LINK_ACTION_ENTRY_STUB,    /* the same, with S = the entry stub of `function` */
    LINK_ACTION_IMPORT_STUB,   /* the same, with S = the import stub of function slot `slot` */
    LINK_ACTION_SLOT,          /* pc-relative, to global slot `slot` */
    LINK_ACTION_CALL_SLOT,     /* pc-relative, to function slot `slot`: call *f@GOTPCREL(%rip), not relaxable */
    LINK_ACTION_RELAX_LOAD,    /* mov slot, reg becomes lea symbol, reg; S is the symbol's place or entry stub */
    LINK_ACTION_RELAX_CALL,    /* call *slot becomes call, jmp *slot jmp; S is the symbol's place or a stub */
    LINK_ACTION_LOADER,        /* the loader fills the place */
    LINK_ACTION_TLS_DESC,      /* lea x@tlsdesc becomes mov slot, %rax */
    LINK_ACTION_TLS_DESC_CALL, /* call *x@tlscall(%rax) becomes a nop */
};

struct link_reference {
    const struct reloc_howto *howto;
    struct link_symbol *symbol;
    struct link_function *function; /* the function whose exact start is meant, and whose stub may stand for it */
    uint32_t slot;
    uint8_t action;        /* enum link_action */
    bool uses_stub;        /* RELAX_*: S is the entry stub of `function` */
    bool has_own_fixup;    /* the place is a fixup too, for when the crate lies elsewhere */
    bool uses_import_stub; /* RELAX_CALL: S is the import stub of `slot` */
    bool is_relr;          /* a word that the loader relocates by the RELR table */
};

/* What the scan noted of each relocation that it went over: its action; whether it takes more than that to emit it; and
 * whether it is a word that the loader relocates by the RELR table. */
enum { LINK_DECISION_ACTION = 0x3f, LINK_DECISION_IS_RELR = 0x40, LINK_DECISION_HAS_OWN_FIXUP = 0x80 };

/* What is noted of it, for struct link_section.decisions. */
static inline uint8_t link_decision(const struct link_reference *ref)
{
    return (uint8_t)(ref->action | (ref->is_relr ? LINK_DECISION_IS_RELR : 0) |
                     (ref->has_own_fixup ? LINK_DECISION_HAS_OWN_FIXUP : 0));
}

/* Gives exported functions their entry stubs. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_scan_exports(struct link *link);

/* Scans what link_scan_ahead() has left of all live sections: makes imports, slots, entry stubs, data relocations,
 * fixups. Faults are reported. */
MUST_CHECK struct crateld_error *link_scan(struct link *link);

/* In place of an rva: nothing has an address yet. */
#define LINK_SCANNING UINT64_MAX

/* What `reloc` of the live, allocated `section` means. With LINK_SCANNING for the place's rva it makes what
 * is needed; with the place's rva, in emission, it finds the same again and lists the place for the loader.
 * Errors are faults of the input, worth reporting; MEMORY is fatal. */
MUST_CHECK struct crateld_error *link_reference_of(struct link *link, struct link_section *section,
                                                   const Elf64_Rela *reloc, uint64_t rva, struct link_reference *ret);

/* Scans `count` relocations from number `first` on; reports their faults. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_scan_relocs(struct link *link, struct link_section *section, uint32_t first,
                                                  uint32_t count);

/* Whether the address of `function` is its entry stub rather than its first instruction. */
bool link_function_has_stub(const struct link *link, const struct link_function *function);

#endif

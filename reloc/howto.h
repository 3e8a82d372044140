/* One relocation: what it means, how wide its place is, and writing it with a range check.
 *
 * A table per CPU, from its psABI: see reloc/machine.h. In formulas S is the symbol's address, A the
 * addend, P the place, G the symbol's slot's offset in the table of global slots, GOT that table's base, L the
 * import stub, Z the size.
 */
#ifndef RELOC_HOWTO_H
#define RELOC_HOWTO_H

#include <stdbool.h>
#include <stdint.h>

enum reloc_formula {
    RELOC_UNKNOWN = 0,   /* not in the table */
    RELOC_NOTHING,       /* no place to patch */
    RELOC_ABSOLUTE,      /* S + A */
    RELOC_RELATIVE,      /* S + A - P */
    RELOC_BRANCH,        /* L + A - P, or S + A - P when the symbol is at hand */
    RELOC_SLOT,          /* G + GOT + A - P */
    RELOC_SLOT_RELAX,    /* the same, and the instruction may be changed when the symbol is at hand */
    RELOC_BASE_OFFSET,   /* S + A - GOT */
    RELOC_BASE_RELATIVE, /* GOT + A - P */
    RELOC_SLOT_OFFSET,   /* G + A */
    RELOC_BRANCH_OFFSET, /* L + A - GOT */
    RELOC_SIZE,          /* Z + A */
    RELOC_TLS_LE,        /* offset from the thread pointer */
    RELOC_TLS_BLOCK,     /* offset in the module's block */
    RELOC_TLS_IE,        /* slot that holds the offset from the thread pointer */
    RELOC_TLS_GD,        /* slots that hold the argument of __tls_get_addr for a variable */
    RELOC_TLS_LD,        /* slots that hold the argument of __tls_get_addr for the module's block */
    RELOC_TLS_DESC,      /* descriptor of a variable */
    RELOC_TLS_DESC_CALL, /* marks the call through the descriptor */
    RELOC_DYNAMIC,       /* belongs into linked files, an error in an object */
    RELOC_UNSUPPORTED,   /* defined by the psABI, not taken: an error that says so */
};

enum reloc_range {
    RELOC_RANGE_WRAP,     /* takes the low bits of any value */
    RELOC_RANGE_SIGNED,   /* must sign-extend back */
    RELOC_RANGE_UNSIGNED, /* must zero-extend back */
    RELOC_RANGE_EITHER,   /* one or the other */
};

struct reloc_howto {
    const char *name;
    uint8_t formula; /* enum reloc_formula */
    uint8_t size;    /* bytes patched: 0, 1, 2, 4 or 8 */
    uint8_t range;   /* enum reloc_range */
};

/* Writes `value` at `place` (howto->size bytes, any alignment). Returns 0, or by how much the value is out of range
 * (the place is left alone then). */
int64_t reloc_write(const struct reloc_howto *howto, uint8_t *place, int64_t value);

#endif

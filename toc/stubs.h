/* The machine code that crates are made of besides what compilers wrote: import stubs, lazy stubs, entry
 * stubs.
 *
 * One table of functions per CPU (`struct toc_stub_ops`), so that nothing above toc/ knows an instruction.
 * Every writer gets the bytes to fill, the address at which they will stand, and the addresses they refer to;
 * addresses only enter as differences, so rvas do as well. The linker keeps all of a crate within 31 bits.
 * Writers fill all bytes of their stub; they may be called from any thread.
 */
#ifndef TOC_STUBS_H
#define TOC_STUBS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum {
    TOC_STACK_ARGUMENTS_MAX = 1 << 24, /* bytes; entry stubs are not made for more */
    TOC_ENTRY_TOC_ALIGN = 16,          /* entry stubs of TOC code begin at, and are, multiples of this */
};

/* Unwind information of stubs that change the stack pointer: DWARF call frame instructions, for FDEs that
 * belong to a CIE made of `cfi` below. */
struct toc_cfi {
    uint8_t code_align;      /* code alignment factor */
    int8_t data_align;       /* data alignment factor */
    uint8_t return_register; /* DWARF's number of the return address column */
    uint8_t initial_size;
    uint8_t initial[8]; /* the CIE's initial instructions: the state at a function's entry */
};

/* What an entry stub of TOC code leads to: addresses. */
struct toc_entry {
    uint64_t function;
    uint64_t func_ref;
    uint64_t toc;             /* the function's, or a word that holds it */
    bool is_toc_word;         /* which of them */
    bool is_varargs;          /* it calls va_start */
    uint32_t stack_arguments; /* bytes */
};

struct toc_stub_ops {
    uint32_t import_plain_size; /* bytes of each stub; stubs are laid out at multiples of their size */
    uint32_t import_toc_size;
    uint32_t lazy_size;
    uint32_t lazy_head_size;
    uint32_t entry_plain_size;
    uint32_t gate_size;
    uint32_t gate_call_size;        /* from a gate's start to where its call returns to */
    uint32_t entry_plain_field_off; /* of the 4 bytes in it that say where it jumps to, as a branch's operand */
    uint32_t entry_toc_field_off;   /* likewise */

    /* Import stub of plain code: jumps to slot->entry. */
    void (*write_import_plain)(uint8_t *at, uint64_t place, uint64_t slot);

    /* Import stub of TOC code: loads slot->entry, then slot->toc into the TOC register, and jumps. In that
     * order: see docs/abi.md on binding as a race. */
    void (*write_import_toc)(uint8_t *at, uint64_t place, uint64_t slot);

    /* Lazy stub: what an unbound slot holds. Hands the slot's address to the lazy head. */
    void (*write_lazy)(uint8_t *at, uint64_t place, uint64_t slot, uint64_t head);

    /* Lazy head, one per crate: hands on the slot's address (pushed) and the TOC's address (in the scratch
     * register) to toc->resolver. */
    void (*write_lazy_head)(uint8_t *at, uint64_t place, uint64_t toc);

    /* Gate: calls what the 8 bytes at `slot` point at, an address below 2 GiB, so that the return address tells which
     * gate it was. One instruction, since threads may be in it when a function takes its place; the same wherever it
     * stands. Gates begin at multiples of their size. */
    void (*write_gate)(uint8_t *at, uint64_t slot);

    /* Entry stub of a function of plain code: jumps to the function, directly, since a jump through func_ref
     * would make each call through a pointer cost a cycle more. Its address is the function's. When a function
     * moves only the jump's distance changes. */
    void (*write_entry_plain)(uint8_t *at, uint64_t place, uint64_t function);

    /* Bytes of write_entry_toc()'s stub: a multiple of TOC_ENTRY_TOC_ALIGN. */
    uint32_t (*entry_toc_size)(uint32_t stack_arguments, bool is_varargs);

    /* Entry stub of a function of TOC code (the preserving entry): goes straight on to `function`, as above, if
     * the TOC register is that already; else saves the caller's, sets ours, copies the stack arguments (a
     * multiple of 8 bytes, at most TOC_STACK_ARGUMENTS_MAX), calls func_ref->entry, and restores. For a function that
     * calls va_start the callee is entered at func_ref->toc, which holds its varargs entry (its TOC is known
     * here), with the scratch register telling where the caller's stack arguments are. */
    void (*write_entry_toc)(uint8_t *at, uint64_t place, const struct toc_entry *entry);

    /* Restores. Where TOC code has to set the TOC register again (after each call, at each landing pad) its
     * object file holds an instruction of the same size that does nothing, and so works in an ordinary ELF
     * program too, where callers of all kinds expect their register unchanged. Its field of 4 bytes at
     * `restore_field_off` has a pc-relative relocation against the symbol "_TOC_"; objects hold a weak hidden
     * definition of that symbol, for ELF's sake. */
    uint32_t restore_size;
    uint32_t restore_field_off;

    /* Whether the `restore_size` bytes at `at` are such an instruction; its field may hold anything. */
    bool (*is_restore)(const uint8_t *at);

    /* Replaces it by the one that loads the address of the TOC. */
    void (*write_restore)(uint8_t *at, uint64_t place, uint64_t toc);

    /* Beginning and end of a function made of the pieces in section .init or .fini: what crti.o and crtn.o bring to an
     * ordinary link. */
    void (*init_frame)(struct span *begin, struct span *end);

    /* Unwind information. Import stubs, lazy stubs and entry stubs of plain code need no instructions: the
     * CIE's state holds throughout. */
    struct toc_cfi cfi;

    /* Call frame instructions for the FDE of write_entry_toc()'s stub. Returns their size; `at` may be NULL
     * to learn it. */
    uint32_t (*entry_toc_cfi)(uint8_t *at, uint32_t stack_arguments, bool is_varargs);

    /* The same for the lazy head. */
    uint32_t (*lazy_head_cfi)(uint8_t *at);
};

extern const struct toc_stub_ops toc_stubs_x86_64;

#endif

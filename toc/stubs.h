/* The machine code that crates are made of besides what compilers wrote: import stubs, lazy stubs, entry stubs.
 *
 * One table of functions per CPU (`struct toc_stub_ops`), so that nothing above toc/ knows an instruction. Every
 * writer gets the bytes to fill, the address at which they will stand, and the addresses they refer to; addresses
 * only enter as differences, so rvas do as well. The linker keeps all of a crate within 31 bits.
 */
#ifndef TOC_STUBS_H
#define TOC_STUBS_H

#include <stdbool.h>
#include <stdint.h>

struct toc_stub_ops {
    uint32_t import_plain_size; /* bytes of each stub; stubs are laid out at multiples of their size */
    uint32_t import_toc_size;
    uint32_t lazy_size;
    uint32_t lazy_head_size;
    uint32_t entry_plain_size;

    /* Import stub of plain code: jumps to slot->entry. */
    void (*write_import_plain)(uint8_t *at, uint64_t place, uint64_t slot);

    /* Import stub of TOC code: loads slot->entry, then slot->toc into the TOC register, and jumps. In that order: see
     * docs/abi.md on binding as a race. */
    void (*write_import_toc)(uint8_t *at, uint64_t place, uint64_t slot);

    /* Lazy stub: what an unbound slot holds. Hands the slot's address to the lazy head. */
    void (*write_lazy)(uint8_t *at, uint64_t place, uint64_t slot, uint64_t head);

    /* Lazy head, one per crate: hands on the slot's address (pushed) and the TOC's address to toc->resolver. */
    void (*write_lazy_head)(uint8_t *at, uint64_t place, uint64_t toc);

    /* Entry stub of a function of plain code: jumps to func_ref->entry. Its address is the function's. */
    void (*write_entry_plain)(uint8_t *at, uint64_t place, uint64_t func_ref);

    /* Entry stub of a function of TOC code (the preserving entry): goes straight on to func_ref->entry if the TOC
     * register is `toc` already; else saves the caller's, sets ours, copies `stack_arguments` bytes, calls, and
     * restores. For a function that calls va_start the callee is entered at func_ref->toc, which holds its varargs entry
     * (its TOC is known here). */
    uint32_t (*entry_toc_size)(uint32_t stack_arguments, bool is_varargs);
    void (*write_entry_toc)(uint8_t *at, uint64_t place, uint64_t func_ref, uint64_t toc, uint32_t stack_arguments,
                            bool is_varargs);

    /* Unwind information of an entry stub of TOC code: DWARF call frame instructions for its FDE. Returns their size; `at`
     * may be NULL to learn it. */
    uint32_t (*entry_toc_cfi)(uint8_t *at, uint32_t stack_arguments, bool is_varargs);
};

extern const struct toc_stub_ops toc_stubs_x86_64;

#endif

/* A CPU as the linker sees it: its relocations, and the instructions around relocated places. One table each;
 * docs/abi.md lists what a new CPU needs. */
#ifndef RELOC_MACHINE_H
#define RELOC_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "reloc/howto.h"
#include "toc/stubs.h"

/* What the instruction with its relocated field at offset `off` of `code` is. False as well where `code` is too short.
 */
typedef bool reloc_instruction_test(struct span code, uint64_t off);

struct reloc_machine {
    uint16_t elf_machine;  /* EM_* */
    const char *name;      /* for messages */
    const char *triplet;   /* of Debian's library folders */
    const char *ld_format; /* what OUTPUT_FORMAT in linker scripts calls it */
    const struct toc_stub_ops *stubs;

    /* Relocation types. */
    const struct reloc_howto *(*howto)(uint32_t type);
    uint32_t type_word;       /* an address in 64 bits */
    uint32_t type_word32;     /* an address in 32 bits, extended with zeros */
    uint32_t type_word32s;    /* likewise, with the sign */
    uint32_t type_relative64; /* a distance in 64 bits */
    uint32_t type_relative;   /* what a relaxed load through a slot is */
    uint32_t type_branch;     /* what a relaxed call through a slot is */
    uint32_t type_tls_offset; /* what a relaxed descriptor of a thread-local is */
    int64_t operand_bias;     /* addend of a pc-relative field that means its symbol itself, negated */

    reloc_instruction_test *is_branch;      /* direct call, jump or conditional jump */
    reloc_instruction_test *is_slot_branch; /* call or jump through the memory operand */
    reloc_instruction_test *is_slot_load;   /* load of the memory operand into a register */
    reloc_instruction_test *is_tls_desc;    /* takes the address of a thread-local's descriptor */

    /* Relaxations; `place` is the relocated field. The instructions are those of the tests above. */
    void (*relax_load)(uint8_t *place);                     /* the load becomes the computation of an address */
    uint8_t *(*relax_branch)(uint8_t *place, uint64_t off); /* becomes direct; `off`: in the section; returns where its
                                                               field is now */
    int (*relax_branch_shift)(struct span code, uint64_t off); /* by how many bytes that moves the field: 0 or below */
    void (*relax_tls_desc)(uint8_t *place);
    void (*relax_tls_desc_call)(uint8_t *place);

    /* Finds the next instruction from *at on that computes an address within `code`: sets *field to the offset of its
     * field and *target to the offset that it computes, and *at behind it; false at the end. Bytes that only look like
     * one count. */
    bool (*next_code_address)(struct span code, uint64_t *at, uint64_t *field, int64_t *target);

    uint8_t filler;      /* between functions: traps */
    uint8_t init_filler; /* between the pieces of .init: does nothing */
};

extern const struct reloc_machine reloc_machine_x86_64;

#endif

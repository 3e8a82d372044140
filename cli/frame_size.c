#include "cli/frame_size.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <libelf.h>
#include <stdlib.h>

#include "crate/machine.h"

enum {
    MAX_ROWS = 1 << 16, /* of one function; more are made by no compiler */
};

struct frame_sizes {
    Elf *elf;               /* owned */
    Dwarf_CFI *cfi;         /* owned; NULL: there is none */
    unsigned stack_pointer; /* DWARF's number of the register */
};

struct crateld_error *frame_sizes_create(struct span file, uint16_t machine, struct frame_sizes **ret)
{
    struct frame_sizes *sizes = calloc(1, sizeof *sizes);
    if (!sizes)
        return error_memory();
    elf_version(EV_CURRENT);
    sizes->stack_pointer = crate_machine_stack_pointer(machine);
    sizes->elf = elf_memory((char *)file.data, file.size);
    sizes->cfi = sizes->elf ? dwarf_getcfi_elf(sizes->elf) : NULL;
    *ret = sizes;
    return NULL;
}

void frame_sizes_destroy(struct frame_sizes *sizes)
{
    if (!sizes)
        return;
    if (sizes->cfi)
        dwarf_cfi_end(sizes->cfi);
    if (sizes->elf)
        elf_end(sizes->elf);
    free(sizes);
}

/* Adds the row at `address` to *ret and moves on to the next one; false if there is none. */
static bool add_row(struct frame_sizes *sizes, Dwarf_Addr *address, struct frame_size *ret)
{
    Dwarf_Frame *frame = NULL;
    Dwarf_Op *ops = NULL;
    Dwarf_Addr start, end;
    size_t op_count = 0;
    if (dwarf_cfi_addrframe(sizes->cfi, *address, &frame) != 0)
        return false;
    bool is_good = dwarf_frame_info(frame, &start, &end, NULL) >= 0 && end > *address &&
                   dwarf_frame_cfa(frame, &ops, &op_count) == 0;
    if (is_good) {
        /* libdw describes a register and an offset as one operation. */
        bool is_stack_pointer = op_count == 1 && ops[0].atom == DW_OP_bregx && ops[0].number == sizes->stack_pointer;
        if (is_stack_pointer && ops[0].number2 > ret->bytes)
            ret->bytes = ops[0].number2;
        ret->is_dynamic |= !is_stack_pointer;
        *address = end;
    }
    free(frame);
    return is_good;
}

struct frame_size frame_size_of(struct frame_sizes *sizes, uint64_t address, uint64_t size)
{
    struct frame_size result = {0};
    Dwarf_Addr at = address;
    uint64_t end = address + (size ? size : 1);
    if (!sizes->cfi || !add_row(sizes, &at, &result))
        return result;
    result.is_known = true;
    for (int row = 1; row < MAX_ROWS && at < end && add_row(sizes, &at, &result); row++)
        ;
    return result;
}

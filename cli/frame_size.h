/* How much stack functions take, from the call frame information of an ELF file. */
#ifndef CLI_FRAME_SIZE_H
#define CLI_FRAME_SIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

struct frame_sizes;

struct frame_size {
    bool is_known;   /* there is call frame information */
    bool is_dynamic; /* part of the function has a frame pointer: its frame may be larger, by alloca */
    uint64_t bytes;  /* from the canonical frame address, so with the return address, to the lowest stack
                        pointer known */
};

/* Opens the call frame information of the ELF file `file`, for `machine`; a file without any is no error.
 * `file` is borrowed until frame_sizes_destroy(). Error: MEMORY. */
MUST_CHECK struct crateld_error *frame_sizes_create(struct span file, uint16_t machine, struct frame_sizes **ret);

/* Releases; NULL is allowed. */
void frame_sizes_destroy(struct frame_sizes *sizes);

/* The frame of the function of `size` bytes at the virtual address `address`. Cost: that of decoding its call
 * frame instructions, for each of their rows. */
struct frame_size frame_size_of(struct frame_sizes *sizes, uint64_t address, uint64_t size);

#endif

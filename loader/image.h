/* A crate's file in memory.
 *
 * Every part of a crate has rva = file offset, so one read-only mapping of the file places all of it, with the reserved
 * range behind it; activation then changes what must be executable or writable. Until then nothing of the mapping needs
 * the file's descriptor, and replacing the file (which is done by rename) does not touch it. */
#ifndef LOADER_IMAGE_H
#define LOADER_IMAGE_H

#include <stdbool.h>

#include "base/error.h"
#include "loader/loaded.h"

/* Where an image may lie. */
enum image_place {
    IMAGE_PREFERRED, /* at the preferred base if that is free, else anywhere */
    IMAGE_ANYWHERE,  /* where the kernel wants: near the ELF libraries, as it happens */
    IMAGE_LOW,       /* below 2 GiB */
};

/* Maps the crate file open at `fd`, checks its header and sets crate->view, base, device and inode. crate->path is
 * set; `fd` stays the caller's. Errors: IO, FORMAT, MISMATCH, UNSUPPORTED, MEMORY, RANGE (no address space). */
MUST_CHECK struct crateld_error *image_map(struct loaded_crate *crate, int fd, bool has_aslr);

/* Moves a mapped crate that has not been activated to where others reach it with 32 bits: below 2 GiB, or, from its
 * preferred base, near the ELF libraries. A crate that lies there stays. Errors: IO (no address space), FORMAT. */
MUST_CHECK struct crateld_error *image_move(struct loaded_crate *crate, bool is_low);

/* Keeps the file open at `fd` for those who ask for the relink section, if the crate has one; the descriptor that is
 * kept is high, out of the program's way. `fd` stays the caller's. */
void image_keep_file(struct loaded_crate *crate, int fd);

/* The same for a crate that was mapped earlier; keeps nothing if its file has been replaced since. */
void image_reopen_file(struct loaded_crate *crate);

/* Unmaps the image and closes the file; a crate that has none is allowed. */
void image_unmap(struct loaded_crate *crate);

/* Makes the data writable and provides the bss; the text becomes executable, or writable if fixups are to be
 * applied to it first: then image_finish_text() follows. Error: IO. */
MUST_CHECK struct crateld_error *image_open_segments(struct loaded_crate *crate);

/* Makes the read-only data writable, for fixups, or read-only again. Error: IO. */
MUST_CHECK struct crateld_error *image_open_rodata(struct loaded_crate *crate, bool is_writable);

/* Makes text that fixups were applied to executable, and no longer writable. Error: IO. */
MUST_CHECK struct crateld_error *image_finish_text(struct loaded_crate *crate);

#endif

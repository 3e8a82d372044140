/* A crate's file in memory.
 *
 * Every part of a crate has rva = file offset, so one read-only mapping of the file places all of it, with the reserved
 * range behind it; activation then changes what must be executable or writable. Nothing of the mapping needs the file's
 * descriptor, and replacing the file (which is done by rename) does not touch it.
 *
 * Most crates of a program are not used in most of its runs. So those that may wait get address space only; their files
 * stay open, and are mapped when something of them is needed, which may be never. */
#ifndef LOADER_IMAGE_H
#define LOADER_IMAGE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/vec.h"
#include "loader/loaded.h"

enum {
    IMAGE_KEPT_FD_MIN = 48, /* descriptors that are kept: above what programs and shells use by number, below where the
                               kernel's table grows */
};

/* Where patches had been, or room for them, address space without access. */
struct image_hole {
    uint8_t *start;
    size_t size;
    struct loaded_crate *host; /* borrowed; in whose reserve it is; NULL: in none */
    bool is_fresh;             /* no patch has been there yet */
};

/* The file of a patch that will come, mapped before it is written: loader/expected.h. */
struct image_expected {
    struct image_hole room;    /* what of it is mapped, or is to be given back; of no size: nothing is */
    struct loaded_crate *base; /* borrowed; which patches it is near to; NULL: no patch is expected */
    uint64_t device, inode;    /* of the file */
    size_t last_size;          /* bytes, of the last patch that was expected; 0: none was */
};

/* Address space for crates, near the ELF libraries: images are put into it from its end downwards, next to each other,
 * and what is left is kept for reloaded modules, within the reach of all. */
struct image_region {
    uint8_t *start;  /* owned mapping, without access; NULL: there is none yet */
    uint8_t *end;    /* of what is free */
    int kept_fd_end; /* descriptors that are kept for mappings are below it; 0: not known yet */
    VEC(struct image_hole) holes;
    struct image_expected expected;
};

/* Address space that the caller has set aside for one image. */
struct image_area {
    void *start; /* a multiple of the image's alignment */
    uint64_t size;
};

/* What is read of a crate that may never be used, so that its mapping is not touched: the file's first bytes, in which
 * linkers put the crate's name and those of the crates that it needs. */
struct image_start {
    _Alignas(8) uint8_t bytes[CRATE_START_SIZE];
    size_t size; /* that were read */
    struct crate_header header;
    uint64_t device, inode; /* of the file */
    bool is_expected;       /* it is mapped: loader/expected.h */
    bool has_view;          /* the name and the needed table are in what was read */
    struct crate_view view; /* then: with the first strings only, and no other table */
};

/* Opens the file at `path` and reads its start; *fd is -1 then if it is the expected patch, else the caller's, also on
 * error. Errors: NOT_FOUND, and those of image_read(). */
MUST_CHECK struct crateld_error *image_open(const struct image_region *region, const char *path, int *fd,
                                            struct image_start *ret);

/* Reads the start of the crate file open at `fd` and checks its header. `path`, which is for messages, must stay valid
 * as long as *ret. Errors: IO, FORMAT, UNSUPPORTED, MISMATCH. */
MUST_CHECK struct crateld_error *image_read(const char *path, int fd, struct image_start *ret);

/* Likewise, of a file that is mapped, and of which `status` tells. */
MUST_CHECK struct crateld_error *image_read_mapped(const char *path, const uint8_t *mapped, const struct stat *status,
                                                   struct image_start *ret);

/* Where an image is to lie. */
struct image_wish {
    struct image_region *region;
    bool has_aslr;
    bool may_wait;                 /* the mapping may be put off until image_need() */
    const struct image_area *area; /* exactly there; NULL: anywhere */
    struct loaded_crate *base;     /* for a patch: the crate within whose reach it must lie, in that one's reserve if it
                                      has any; NULL: none */
};

/* Maps the crate file open at `fd`, whose start was read, or gives it its place, and sets crate->view and base; the
 * descriptor, of which the expected patch has none, stays the caller's, or is kept, and -1 then. crate->view is not to
 * be used before image_look().
 *
 * A crate with few position-dependent words lies in the region: page tables for a place far from everything else cost
 * more than relocating those words. One with many lies at its preferred base if that is free, with its reserve behind
 * it, unless `has_aslr`; there nothing is relocated. Crates that must lie below 2 GiB or near the ELF libraries do.
 * Errors: IO (also: no address space), RANGE (no room within the base's reach), FORMAT, MISMATCH. */
MUST_CHECK struct crateld_error *image_map(struct loaded_crate *crate, int *fd, const struct image_start *start,
                                           const struct image_wish *wish);

/* Descriptors that are taken for a while. */
struct image_low_fds {
    int fds[IMAGE_KEPT_FD_MIN], count;
};

/* Takes the low descriptors that are free, as copies of `fd`, so that what is opened until they are free again can be
 * kept where it is: moving each of many costs a tenth of what they cost. */
void image_take_low(int fd, struct image_low_fds *ret);
void image_free_low(struct image_low_fds *low);

/* Maps the crate, or the bundle that it is in, unless that was done: before anything of its image is looked at. Called
 * under the process's lock. Errors: IO (also: the program has closed the descriptor, and the file was replaced). */
MUST_CHECK struct crateld_error *image_need(struct loaded_crate *crate);

/* The same, and checks the view, which can be used then. Errors: also FORMAT. */
MUST_CHECK struct crateld_error *image_look(struct loaded_crate *crate);

/* Takes `size` bytes, a multiple of the page size, from the region. NULL: there is no address space. */
uint8_t *image_take(struct image_region *region, size_t size);

/* Gives back what is left of the region. */
void image_region_deinit(struct image_region *region);

/* Moves a mapped crate that has not been activated to where others reach it with 32 bits: below 2 GiB, or, from its
 * preferred base, into the region. A crate that lies there stays. Errors: IO (no address space), FORMAT. */
MUST_CHECK struct crateld_error *image_move(struct loaded_crate *crate, struct image_region *region, bool is_low);

/* Keeps the file open at `fd` for those who ask for the relink section, if the crate has one; the descriptor that is
 * kept is high, out of the program's way. `fd` stays the caller's. */
void image_keep_file(struct loaded_crate *crate, int fd);

/* Keeps the file of a crate that was mapped earlier, whether or not it has a relink section. False: it is not there any
 * more, or there are too many open files. */
bool image_reopen_file(struct loaded_crate *crate);

/* Closes the file that is kept, unless it is for the relink section. */
void image_release_file(struct loaded_crate *crate);

/* Unmaps the image, which gives back what it had of another's reserve, and closes the file; a crate that has none is
 * allowed. */
void image_unmap(struct loaded_crate *crate);

/* Likewise, of a crate that was in use; where it was the last to be given a place in the region, that is given back. */
void image_unload(struct loaded_crate *crate, struct image_region *region);

/* Likewise, of a patch; others for the same base may get its place. With `keeps_constants` its read-only data stays
 * mapped, for good, but takes no memory while nobody reads it. */
void image_retire(struct loaded_crate *patch, bool keeps_constants);

/* Makes the data writable, and the text executable, or writable if fixups are to be applied to it first: then
 * image_finish_text() follows. Once. Best done before anything of the image is touched: pages that are entered into the
 * page tables already would have to be entered anew. Error: IO. */
MUST_CHECK struct crateld_error *image_protect(struct loaded_crate *crate);

/* Provides the bss of a crate that is protected, and the pages that are about to be used. Error: IO. */
MUST_CHECK struct crateld_error *image_provide(struct loaded_crate *crate);

/* Makes the read-only data writable, for fixups, or read-only again. Error: IO. */
MUST_CHECK struct crateld_error *image_open_rodata(struct loaded_crate *crate, bool is_writable);

/* Makes text that fixups were applied to executable, and no longer writable. Error: IO. */
MUST_CHECK struct crateld_error *image_finish_text(struct loaded_crate *crate);

#endif

/* Address space in which patches had been, or may come to be. */
#ifndef LOADER_IMAGE_HOLE_H
#define LOADER_IMAGE_HOLE_H

#include "loader/image.h"

/* Makes the memory address space without access. False: it stays what it is, and is to be left alone. */
bool image_hole_clear(uint8_t *start, size_t size);

/* Enters a hole, for others to use; one of no bytes is allowed. Without memory it is not used again. */
void image_hole_add(struct image_region *region, const struct image_hole *hole);

/* Forgets those in the reserve of a crate that is about to be unmapped. */
void image_hole_forget(struct image_region *region, const struct loaded_crate *host);

/* Takes one of at least `size` bytes, all of it, in which patches and the crate `base` reach each other. `size` is a
 * multiple of the page size. False: there is none. */
bool image_hole_take(struct image_region *region, struct loaded_crate *base, size_t size, size_t align,
                     struct image_hole *ret);

/* Takes `size` bytes of the end of what is left of the base's reserve, from there on. NULL: it has not so much. */
uint8_t *image_hole_of_reserve(struct loaded_crate *base, size_t size, size_t align);

/* Whether all of the `size` bytes at `address` are within the reach of all of the crate's code, and it of theirs. */
bool image_is_within_reach(uint64_t address, size_t size, const struct loaded_crate *crate);

#endif

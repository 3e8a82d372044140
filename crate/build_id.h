/* The build id: which contents a crate has when it is loaded. */
#ifndef CRATE_BUILD_ID_H
#define CRATE_BUILD_ID_H

#include <stdint.h>

#include "base/span.h"
#include "crateld/format.h"

enum { CRATE_BUILD_ID_SIZE = 16 };

/* Sets `ret` to the build id of a crate: XXH3-128, canonical, over the segments' parts of `file`, the whole
 * file, whose checked crate header is at `header_off`. What stripping changes counts as zero: in the ELF
 * header e_shoff, e_shnum and e_shstrndx, in the crate header the build id itself, the flag HAS_RELINK,
 * relink_off and relink_size. Linear in the size. */
void crate_build_id(struct span file, uint64_t header_off, const struct crate_header *header,
                    uint8_t ret[CRATE_BUILD_ID_SIZE]);

#endif

/* What tells whether a crate is what it was: the build id, over all that is loaded, and the hash of its headers and
 * tables, which is checked before they are used. */
#ifndef CRATE_BUILD_ID_H
#define CRATE_BUILD_ID_H

#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "crateld/format.h"

enum { CRATE_BUILD_ID_SIZE = 16 };

/* Sets `ret` to the build id of a crate: XXH3-128, canonical, over the segments' parts of `file`, the whole file, whose
 * checked crate header is at `header_off`. What stripping changes counts as zero: in the ELF header e_shoff, e_shnum
 * and e_shstrndx, in the crate header the flag HAS_RELINK, relink_off and relink_size; what carrying patches
 * changes, carried_off and carried_count; and the build id itself and meta_hash. Linear in the size. */
void crate_build_id(struct span file, uint64_t header_off, const struct crate_header *header,
                    uint8_t ret[CRATE_BUILD_ID_SIZE]);

/* Sets header->build_id and header->meta_hash, which are the last that a writer of `file` sets. The header is yet to be
 * copied to `header_off` of the file. */
void crate_seal(struct span file, uint64_t header_off, struct crate_header *header);

/* Checks that the crate's headers and tables have their hash. `meta` starts with the meta segment's part of the file,
 * of which `header` is the checked crate header. Linear in the segment's size. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_check_meta(const char *path, struct span meta,
                                                  const struct crate_header *header);

#endif

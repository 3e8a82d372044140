/* Patches that a crate's file carries: they come into effect when the crate is loaded, before any of its code runs.
 *
 * They stand behind all else that the file has, each a patch file of its own, and a list before them. The crate is the
 * same but for them: it keeps its build id. docs/format.md §8.1. */
#ifndef CRATE_CARRIED_H
#define CRATE_CARRIED_H

#include "base/error.h"
#include "base/span.h"
#include "crateld/format.h"

enum { CRATE_CARRIED_MAX = 1 << 16 }; /* patches that one file carries */

/* Checks a record of the list of a file of `file_size` bytes at `path`, whose checked header is `header`: that the
 * patch lies behind the list and what `previous`, the record before it (NULL: there is none), is of, and within the
 * file. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_carried_check(const char *path, const struct crate_header *header,
                                                     uint64_t file_size, const struct crate_carried *previous,
                                                     const struct crate_carried *carried);

/* Sets *ret to the bytes, borrowed from `file`, of the patch number `i` < header->carried_count. Error: FORMAT,
 * also if it is none. */
MUST_CHECK struct crateld_error *crate_carried_at(const char *path, struct span file, const struct crate_header *header,
                                                  uint32_t i, struct span *ret);

struct crate_carrier {
    uint8_t *bytes; /* owned by the caller, free() */
    size_t size;
};

/* Makes the crate file `file`, 8-aligned, carry just the `count` patches. `path` is for messages. Errors: those of
 * crate_header_read(); RANGE (too many); UNSUPPORTED (it is a patch); FORMAT (other parts of the file stand behind the
 * patches that it carries); MEMORY. */
MUST_CHECK struct crateld_error *crate_carry(const char *path, struct span file, const struct span *patches,
                                             uint32_t count, struct crate_carrier *ret);

#endif

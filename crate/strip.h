/* A crate file without what running it does not need. */
#ifndef CRATE_STRIP_H
#define CRATE_STRIP_H

#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

enum crate_strip_what {
    CRATE_STRIP_RELINK = 1 << 0,  /* the relink section: the crate can no longer be reloaded */
    CRATE_STRIP_SYMBOLS = 1 << 1, /* .symtab and its strings */
    CRATE_STRIP_DEBUG = 1 << 2,   /* .debug_*, .zdebug_*, .gdb_index */
    CRATE_STRIP_ALL = (1 << 3) - 1,
};

struct crate_stripped {
    uint8_t *bytes; /* owned by the caller, free() */
    size_t size;
    uint64_t relink_size; /* bytes of what was removed */
    uint64_t symbols_size;
    uint64_t debug_size;
};

/* Makes the crate file `file`, 8-aligned, without `what` (enum crate_strip_what): a valid ELF file with the
 * same loaded contents but for the fields that the build id does not cover (crate/build_id.h), so it keeps
 * its build id. Patches that it carries are
 * stripped likewise. Sections that are not loaded move together; what no section header shows is dropped. `path`
 * is for messages. Errors: those of crate_view_open(); FORMAT, when the section headers are damaged; MEMORY.
 */
MUST_CHECK struct crateld_error *crate_strip(const char *path, struct span file, unsigned what,
                                             struct crate_stripped *ret);

#endif

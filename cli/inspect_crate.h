/* The parts of a report about one crate. */
#ifndef CLI_INSPECT_CRATE_H
#define CLI_INSPECT_CRATE_H

#include "base/error.h"
#include "cli/inspected_crate.h"
#include "cli/report.h"

/* What to report. */
enum inspect_part {
    INSPECT_HEADER = 1 << 0,
    INSPECT_SEGMENTS = 1 << 1,
    INSPECT_NEEDED = 1 << 2,
    INSPECT_IMPORTS = 1 << 3,
    INSPECT_EXPORTS = 1 << 4,
    INSPECT_TOC = 1 << 5,
    INSPECT_STUBS = 1 << 6,
    INSPECT_MODULES = 1 << 7,
    INSPECT_FIXUPS = 1 << 8,
    INSPECT_FUNCTIONS = 1 << 9,
    INSPECT_PATCH = 1 << 10,
    INSPECT_MEMBERS = 1 << 11,
    INSPECT_ALL = (1 << 12) - 1,
    INSPECT_USUAL = INSPECT_HEADER | INSPECT_MEMBERS | INSPECT_SEGMENTS | INSPECT_NEEDED | INSPECT_IMPORTS |
                    INSPECT_EXPORTS | INSPECT_STUBS | INSPECT_MODULES | INSPECT_PATCH,
};

/* Writes the parts in `parts` (enum inspect_part) as members of the current object. Errors: FORMAT, MEMORY.
 */
MUST_CHECK struct crateld_error *inspect_crate(struct report *report, const struct inspected_crate *crate,
                                               unsigned parts);

#endif

/* The part of a report that is about the members of a bundle. */
#ifndef CLI_INSPECT_MEMBERS_H
#define CLI_INSPECT_MEMBERS_H

#include "base/error.h"
#include "cli/inspected_crate.h"
#include "cli/report.h"

/* Writes a table of the bundle's members. Error: FORMAT. */
MUST_CHECK struct crateld_error *inspect_members(struct report *report, const struct inspected_crate *crate);

/* Writes a table of what the members but the first export. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *inspect_member_exports(struct report *report, const struct inspected_crate *crate);

#endif

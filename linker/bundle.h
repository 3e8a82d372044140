/* Bundles: crates that are linked once more, into one.
 *
 * What is linked are the modules of the crates, as their relink sections have them: sections with their contents,
 * relocations, symbols. A symbol means in each crate what it meant there: its own, or the export of the crate that it
 * was imported from; no name of one crate is seen in another that did not import it. So calls from crate to crate
 * become direct, and words with addresses of other crates are right as they stand in the file. docs/bundles.md. */
#ifndef LINKER_BUNDLE_H
#define LINKER_BUNDLE_H

#include "crate/writer.h"
#include "linker/link.h"

/* The passes up to the scan: crates are opened and taken apart, imports become what they mean, and where functions go
 * is decided. Faults are reported; other errors: IO, FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *link_bundle_open(struct link *link);
MUST_CHECK struct crateld_error *link_bundle_read_modules(struct link *link);
MUST_CHECK struct crateld_error *link_bundle_bind(struct link *link);
MUST_CHECK struct crateld_error *link_bundle_order(struct link *link);
MUST_CHECK struct crateld_error *link_bundle_lines(struct link *link);

void link_bundle_destroy(struct link_bundle *bundle);

/* Whether the symbol is exported by the bundle as a crate, which its first member does. */
bool link_bundle_exports(const struct link *link, const struct link_symbol *symbol);

/* The tables of members: first what determines their sizes, then, once all has its place, what stands in them. Error:
 * MEMORY. */
MUST_CHECK struct crateld_error *link_bundle_count(struct link *link, struct crate_tables *tables);
MUST_CHECK struct crateld_error *link_bundle_fill(struct link *link, struct crate_tables *tables,
                                                  struct crate_header *header);

#endif

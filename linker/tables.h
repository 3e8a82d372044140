/* The crate's tables, made from what the scan found: needed, imports, exports, RELR, data relocations, fixups. */
#ifndef LINKER_TABLES_H
#define LINKER_TABLES_H

#include "linker/layout.h"

/* Makes needed, imports, exports and strings; rvas in them come later. */
MUST_CHECK struct crateld_error *link_tables_count(struct link *link, struct link_image *image);

/* Makes RELR for the places as they are laid out now, in place of what it was. */
MUST_CHECK struct crateld_error *link_tables_relr(struct link *link, struct link_image *image);

/* Fills in the header, but for what is a bundle's. */
void link_tables_fill_header(const struct link *link, struct crate_header *header);

/* Puts rvas into imports and exports, and fills in what is a bundle's of the header. Emission may go on meanwhile. */
MUST_CHECK struct crateld_error *link_tables_fill(struct link *link, struct link_image *image);

/* Makes the data relocations and fixups from the places that emission has listed. */
MUST_CHECK struct crateld_error *link_tables_places(struct link *link, struct link_image *image);

/* The rva of what &symbol is: an entry stub, an import stub or the place itself. The symbol is DEFINED, or imported
 * with a canonical stub. */
uint64_t link_canonical_rva(const struct link *link, const struct link_symbol *symbol);

/* What an export of the symbol says of it, but its name and its place; and, once all is laid out, that place. */
void link_tables_describe_export(const struct link_symbol *symbol, struct crate_export *ret);
void link_tables_fill_export(const struct link *link, const struct link_symbol *symbol, struct crate_export *entry);

#endif

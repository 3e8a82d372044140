/* The relink section of a crate: all its modules, sections, symbols and relocations, as laid out. Its records:
 * reloc/relink.h. */
#ifndef LINKER_RELINK_SECTION_H
#define LINKER_RELINK_SECTION_H

#include "linker/link.h"
#include "reloc/relink_builder.h"

/* Whether the relink section has a record of the section. */
bool link_relink_records(const struct link_section *section);

/* The section's content hash: reloc/relink_hash.h. Its relocations are sorted. */
uint64_t link_relink_hash(const struct link_section *section);

/* Sets the content hashes of all sections that have records, and the hashes of objects, by other threads from the first
 * call to the second. Call the first when relocations are sorted and symbols are resolved, the second when what merging
 * leaves is known. */
MUST_CHECK struct crateld_error *link_relink_begin_hashes(struct link *link);
MUST_CHECK struct crateld_error *link_relink_end_hashes(struct link *link);

/* Makes a builder of the section, with all modules, sections and symbols. Call when everything has its rva. Errors:
 * MEMORY, RANGE. */
MUST_CHECK struct crateld_error *link_relink_begin(struct link *link, struct relink_builder **ret);

/* Adds the relocations to it, and ends them. Error: MEMORY, RANGE. */
MUST_CHECK struct crateld_error *link_relink_relocs(struct link *link, struct relink_builder *builder);

#endif

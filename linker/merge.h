/* Sections of SHF_MERGE: strings and constants of which the output needs one copy (gABI ch. 4, "Section
 * Attribute Flags"). Input sections are cut into pieces; equal pieces of sections with the same output name,
 * flags, entry size and alignment share a place in one merged section of the linker's own. */
#ifndef LINKER_MERGE_H
#define LINKER_MERGE_H

#include "linker/link.h"

/* Cuts all live MERGE sections and makes the merged sections, which join link->own_sections. Those of a lone object
 * that are not loaded stay whole. Error: MEMORY.
 */
MUST_CHECK struct crateld_error *link_merge_sections(struct link *link);

/* Releases the tables; NULL is allowed. */
void link_merge_table_destroy(struct link_merge_table *tables);

/* Where byte `off` of the MERGE section `section` went: the merged section, and the offset in it. An offset
 * behind the last piece is taken as its end. */
struct link_section *link_merge_find(const struct link_section *section, uint64_t off, uint64_t *ret);

#endif

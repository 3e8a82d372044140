/* Which places of the base refer to what a patch moves. */
#ifndef LINKER_PATCH_SITES_H
#define LINKER_PATCH_SITES_H

#include "linker/patch_base.h"

/* Fills the patch's sites, by place, from its moves, sorted by old_rva, and its grown variables, sorted by base_rva.
 * Errors: FORMAT (of the relink section), UNSUPPORTED (a reference that can not be done again), MEMORY. */
MUST_CHECK struct crateld_error *patch_find_sites(struct link *link);

#endif

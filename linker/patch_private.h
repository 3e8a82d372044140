/* Whether others can come to have addresses of what is in a patch: if not, the patch can go when no thread is in it any
 * more. */
#ifndef LINKER_PATCH_PRIVATE_H
#define LINKER_PATCH_PRIVATE_H

#include "linker/link.h"

/* Sets *ret to those of CRATE_FLAG_PRIVATE_* that hold for the patch, whose sections are known by now. An address that
 * is computed counts, whatever becomes of it; one that is only called, jumped to or read from does not, and neither do
 * tables of jumps. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_private_flags(struct link *link, uint32_t *ret);

#endif

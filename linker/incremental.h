/* Updating the crate of an earlier link where only the contents of some objects' code and data have changed: the result
 * is what a link of everything gives, byte for byte. */
#ifndef LINKER_INCREMENTAL_H
#define LINKER_INCREMENTAL_H

#include "linker/link.h"

/* Updates the crate, and sets link->is_updated, if there is one that the options and the inputs but for such changes
 * are the same as of; else does nothing, and says why under -v and --time-passes. */
MUST_CHECK struct crateld_error *link_update(struct link *link);

#endif

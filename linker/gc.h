/* Garbage collection of sections: what cannot be reached from a root is left out. */
#ifndef LINKER_GC_H
#define LINKER_GC_H

#include "linker/link.h"

/* Marks the live sections. Roots: the entry, exports, initialisers, retained sections; with --no-gc-sections
 * everything. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_collect_garbage(struct link *link);

#endif

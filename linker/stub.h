/* Stub crates: crates without code whose exports stand for those of an ELF library. */
#ifndef LINKER_STUB_H
#define LINKER_STUB_H

#include "linker/layout.h"
#include "linker/link.h"

/* Sees to it that the inputs of the link of a stub are ELF libraries (of one name there may be several, in a linker
 * script), and has them recorded as needed. Nothing, if the link is of another kind. Error: USAGE. */
MUST_CHECK struct crateld_error *link_stub_check(struct link *link);

/* Enters an import and an export for each symbol that a link against the libraries can bind to: its default version,
 * or the one without a version. Old versions are reached by objects that name them, through the same export. Errors:
 * UNSUPPORTED, when there is none; MEMORY. */
MUST_CHECK struct crateld_error *link_stub_tables(struct link *link, struct crate_tables *tables);

#endif

/* The command line's inputs: files and libraries, opened and sorted by what they are. */
#ifndef LINKER_INPUTS_H
#define LINKER_INPUTS_H

#include "linker/link.h"

/* Opens all inputs of the options in order, and the default libraries behind them: objects enter the link at
 * once, archives, crates and ELF libraries become sources. What can not be taken is reported (link_report);
 * an error returned is MEMORY. */
MUST_CHECK struct crateld_error *link_read_inputs(struct link *link);

/* Opens a crate or an ELF library as a further source, recorded as needed if something is imported from it. Faults are
 * reported or returned. */
MUST_CHECK struct crateld_error *link_add_library_file(struct link *link, const char *path);

/* Enters a provider, which has a name; where room was reserved it is the link's even after an error. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_enter_provider(struct link *link, struct link_provider *provider);

/* Opens the libraries that a compiler's driver would name, behind all others; for a patch, only in case they are
 * needed. Faults are reported. */
void link_add_default_libraries(struct link *link);

#endif

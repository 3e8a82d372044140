/* Unwinding through crates in a process whose unwinder does not ask us: the host's. There libgcc_s is told of each
 * crate's call frames, and personality routines of crates are wrapped, which set the TOC register of landing pads. */
#ifndef LOADER_FRAMES_H
#define LOADER_FRAMES_H

#include "base/error.h"
#include "loader/loaded.h"

/* Tells libgcc_s of the crate's call frames, for the rest of the process's life. Error: NOT_FOUND (libgcc_s), MEMORY.
 */
MUST_CHECK struct crateld_error *frames_register(const struct loaded_crate *crate);

/* What crates get for `name`, if that is one of the personality routines of C and C++; NULL: it is another name. */
void *frames_personality(const char *name);

#endif

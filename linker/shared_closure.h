/* Whether opening an ELF library runs initialisers, its own or those of any library that it needs. */
#ifndef LINKER_SHARED_CLOSURE_H
#define LINKER_SHARED_CLOSURE_H

#include <stdbool.h>

#include "base/error.h"
#include "linker/search.h"
#include "linker/shared_library.h"

/* Whether every process has the library `soname`, started, before any crate runs: libc and ld.so. */
bool shared_closure_is_resident(const char *soname);

/* Sets *ret to whether `library`, or a library that it needs, directly or not, has initialisers. libc and
 * ld.so do not count, for they are initialised in every process. Needed libraries are looked for as ld.so
 * does, best effort: beside DT_RUNPATH and `search`'s folders; one that is not found or can not be read
 * counts as having initialisers (the careful answer). Each library is read once. Errors: MEMORY. */
MUST_CHECK struct crateld_error *shared_closure_has_initialisers(const struct shared_library *library,
                                                                 const struct search *search, bool *ret);

#endif

/* Gates: what stands in place of the functions of a crate that is not active, so that others can have their addresses.
 *
 * The address of a function is known as soon as its crate is mapped. A crate that only holds such addresses need not
 * have the others activated: over the pages in which those functions (their entry stubs, mostly) begin, a page of gates
 * is mapped, one at each multiple of a gate's size. Whoever calls one gets the crate activated, which puts the file's
 * pages back, and goes on at the same address. The gates of a crate that is unloaded go with its image. */
#ifndef LOADER_GATE_H
#define LOADER_GATE_H

#include "base/error.h"
#include "loader/loaded.h"

/* Sets *ret to whether the address of what `import`, of kind ADDRESS, of the crate `user` names in `provider` can be
 * given away although that is not active: then gates are in place. Not if it is data, or if code of that crate may run
 * while it becomes active, or where debuggers want to see its text. Called under the process's lock. Errors: FORMAT,
 * IO, MEMORY. */
MUST_CHECK struct crateld_error *gate_close(const struct loaded_crate *user, const struct crate_import *import,
                                            struct loaded_crate *provider, bool *ret);

/* Puts the crate's own text in place of its gates, if it has some; all else that activation does to the crate alone is
 * done. Error: IO. */
MUST_CHECK struct crateld_error *gate_open(struct loaded_crate *crate);

/* For bind_slow(): the function whose gate's call returns to `address`. Activates its crate. Error: as
 * activate_crate(). */
MUST_CHECK struct crateld_error *gate_enter(uint64_t address, uint64_t *ret);

#endif

/* The one process of a host (include/crateld/host.h), and what libraries made by `crateld export` ask of it. */
#ifndef LOADER_HOST_PROCESS_H
#define LOADER_HOST_PROCESS_H

#include "base/error.h"
#include "crateld/export.h"
#include "loader/bind.h"

/* Binds the slot of an export library, whose crate is opened if it is not yet: what to jump to, with `toc_register` as
 * the caller left it. Ends the process if that is not possible. */
struct crateld_function host_bind_export(struct crateld_export *library, struct crateld_function *slot,
                                         uint64_t toc_register);

/* The address that the host has given `name`; NULL: none. Called under the process's lock. */
void *host_symbol(const char *name);

#endif

/* Showing crates to debuggers: a list of link maps in a namespace of its own, chained to ld.so's struct r_debug. gdb
 * 12 and later walk such namespaces (glibc 2.35, struct r_debug_extended). */
#ifndef LOADER_DEBUGGER_H
#define LOADER_DEBUGGER_H

#include "loader/loaded.h"

struct link_map;

/* Shows the crate; called under the process's lock, once it is active. */
void debugger_add(struct loaded_crate *crate);

/* Tells a debugger that is watching that crates were added: it reads the list anew. Does nothing without one. */
void debugger_notify(void);

/* The crate's link map; NULL before it is active. */
struct link_map *debugger_link_map(const struct loaded_crate *crate);

#endif

/* Showing crates to debuggers: a list of link maps in a namespace of its own, chained to ld.so's struct r_debug. gdb
 * 12 and later walk such namespaces (glibc 2.35, struct r_debug_extended). */
#ifndef LOADER_DEBUGGER_H
#define LOADER_DEBUGGER_H

#include "loader/loaded.h"

struct link_map;
struct process;

/* Shows those of the process's crates that are mapped and not shown yet, and makes ready what is shown of the others.
 * Called under the process's lock. */
void debugger_show(struct process *process);

/* Shows a crate that has just been mapped, if it was made ready, and tells a debugger that is watching: where break
 * points of it are, there is text now. Called under the process's lock. */
void debugger_show_late(struct loaded_crate *crate);

/* Whether a debugger attends to this process. */
bool debugger_is_watching(void);

/* Tells a debugger that is watching that crates were added: it reads the list anew. Does nothing without one. */
void debugger_notify(void);

/* Takes a crate out of the list, for good. Called under the process's lock. */
void debugger_hide(struct loaded_crate *crate);

/* The crate's link map; NULL before it was made ready. */
struct link_map *debugger_link_map(const struct loaded_crate *crate);

#endif

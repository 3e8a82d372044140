/* What happens to a process's crates, found by looking again and again at what there is: it costs the program nothing.
 */
#ifndef LOADER_TRACE_H
#define LOADER_TRACE_H

#include "loader/process.h"

struct trace;

/* Notes what there is. Called under the process's lock. Error: MEMORY. */
MUST_CHECK struct crateld_error *trace_create(struct process *process, struct trace **ret);

/* NULL is allowed. */
void trace_destroy(struct trace *trace);

/* Calls `tell` with a line for each thing that has happened since: crates that were loaded, became active or were
 * unloaded; imported functions that were bound, which is on their first call; versions of modules that came into effect
 * or no longer are. Called under the process's lock. Error: MEMORY. */
MUST_CHECK struct crateld_error *trace_step(struct trace *trace, struct process *process,
                                            void (*tell)(void *context, const char *line), void *context);

#endif

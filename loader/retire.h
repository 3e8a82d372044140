/* Superseded versions: what is kept of them, and letting go of what nobody can come back to. docs/reload.md. */
#ifndef LOADER_RETIRE_H
#define LOADER_RETIRE_H

#include "loader/process.h"

/* Goes on with what there is to do, if it is time for that. Called by crateld's own thread, without the lock. */
void retire_serve(struct process *process);

/* Whether retire_serve() waits for something that takes less than a second. */
bool retire_is_busy(void);

/* Calls `tell` with a line for each superseded version that is kept, and why it is. Called under the process's lock. */
void retire_tell(const struct process *process, void (*tell)(void *context, const char *line), void *context);

/* In a child of fork: what is being done is the parent's. */
void retire_forget(void);

#endif

/* The thread that serves those who want something of this process: see loader/control.h.
 *
 * It is made when somebody first asks, by a signal (loader/park.h), so a program that nobody asks has no thread more
 * than it makes, and its libc none of the locks that several threads need. */
#ifndef LOADER_AGENT_H
#define LOADER_AGENT_H

#include <stdbool.h>

#include "loader/process.h"

/* Makes the process ready to be asked. */
void agent_init(struct process *process);

/* Sees to it that it still is: libc takes the signal for itself when it makes its first thread. */
void agent_keep(void);

/* Starts `crateld watch` for this process, which is no child of it, and makes the thread. For a process of one thread.
 * `compile`: the path of a compile_commands.json, for it to compile what is edited; NULL: none;
 * `is_tiered`: with tcc first. Error: IO. */
MUST_CHECK struct crateld_error *agent_watch(const char *compile, bool is_tiered);

/* Makes the thread, unless there is one. For a caller that holds no lock of libc's. */
void agent_start(void);

#endif

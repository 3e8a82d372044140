/* Requests to a running process, over a socket that belongs to the user who runs it: see loader/control_format.h. */
#ifndef LOADER_CONTROL_H
#define LOADER_CONTROL_H

#include "loader/process.h"

/* Serves requests, one after the other, until the process ends. */
void control_serve(struct process *process);

/* In a child of fork: the socket is the parent's. */
void control_forget(void);

#endif

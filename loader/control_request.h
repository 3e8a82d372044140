/* What is done for those who ask something of this process: loader/control_format.h. */
#ifndef LOADER_CONTROL_REQUEST_H
#define LOADER_CONTROL_REQUEST_H

#include "loader/process.h"
#include "loader/trace.h"

/* Does what the packet, of `size` bytes, asks for, and sends the answer, or what is wrong with it, to the socket
 * `client`. Nothing about the packet is trusted; of one of more than CONTROL_MAX_SIZE bytes none is read. *trace is
 * what the client has been told so far, which it owns; NULL: it has not asked. Takes the process's lock, and runs code
 * of the program's. */
void control_answer(struct process *process, int client, struct trace **trace, const char *packet, size_t size);

#endif

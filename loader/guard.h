/* Calling code of the program's that may fault. */
#ifndef LOADER_GUARD_H
#define LOADER_GUARD_H

#include <stdbool.h>

/* Calls function(argument). If it faults (SIGSEGV, SIGBUS, SIGILL, SIGFPE, abort) it is given up, and the result is
 * false, with the signal in *ret; faults of other threads meanwhile are the program's. One at a time. */
bool guard_call(void (*function)(void *argument), void *argument, int *ret);

#endif

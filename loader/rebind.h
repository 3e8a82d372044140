/* Letting ELF objects call past the stub of a library made by `crateld export`: what ld.so has bound lazily to the stub
 * is bound to what the stub leads to. Only slots of calls are changed; a function's address stays that of its stub. */
#ifndef LOADER_REBIND_H
#define LOADER_REBIND_H

#include <stdint.h>

/* In all objects that are loaded: lets each call slot that holds `stub` hold `target`, unless it is read-only by now
 * (-z now). Any number of threads may be calling. Cost: a look at each call slot of the process. */
void rebind_calls(uint64_t stub, uint64_t target);

#endif

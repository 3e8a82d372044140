/* Holding all threads of the process at whatever instruction they are, and letting them go without their noticing.
 *
 * The signal is one of those that glibc keeps for itself and lets nobody block: its handler for it is called for all
 * that is not ours. A system call that the signal interrupts is made again, so that no EINTR reaches the program. */
#ifndef LOADER_PARK_H
#define LOADER_PARK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <ucontext.h>

#include "base/error.h"
#include "base/latency.h"

/* The signal. */
enum { PARK_SIGNAL = 33 };

/* Installs the handler, unless it is there. `poke` is called, in a handler, when the signal came from another process;
 * the thread's context may be looked at. */
void park_install(void (*poke)(const ucontext_t *context));

/* Restarts, in a handler, what the signal interrupted. */
void park_resume(ucontext_t *context);

/* A thread that is held. */
struct parked_thread {
    pid_t id;
    _Atomic uint32_t state;           /* enum park_state */
    const ucontext_t *context;        /* on its stack; NULL: it has ended */
    uint64_t pointer;                 /* context_thread_pointer() */
    bool is_lifted;                   /* the scheduler prefers it until it goes on */
    struct latency_attributes before; /* then: how it is treated otherwise */
};

/* Holds all threads but the calling one; none is held on error. Nothing may be allocated until they are let go, since
 * they may hold any lock. Errors: TIMEOUT-like IO, naming the thread that did not stop; MEMORY. */
MUST_CHECK struct crateld_error *park_threads(void);

/* Lets them go. */
void park_release(void);

/* The threads that are held; valid between the two. */
const struct parked_thread *park_list(size_t *count);

/* One of them whose stack pointer is in [start, end); NULL: there is none. */
const struct parked_thread *park_find(uint64_t start, uint64_t end);

/* Where the calling thread's stack is, which is not held. Before threads are: it may allocate. False: that can not be
 * found out. */
bool park_own_stack(uint64_t *start, uint64_t *end);

#endif

/* The first seconds after a reload, in which a fault of the new code takes it back.
 *
 * A fault is a signal SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT for which the program has no handler, in a thread that
 * has a new function on its stack. The thread that faulted waits until crateld's own thread has brought the version
 * before into effect and said what happened; then it goes on at the safe point that it declared (crateld/safe_point.h),
 * or ends the process as the signal would have. A version that faulted is not loaded again. docs/reload.md. */
#ifndef LOADER_TRIAL_H
#define LOADER_TRIAL_H

#include "loader/process.h"

/* The patches are about to take effect; those that do not are forgotten by trial_serve(). Called by crateld's own
 * thread. */
void trial_begin(struct loaded_crate *const *patches, size_t count);

/* What becomes readable when a thread has faulted; -1: nothing does. */
int trial_descriptor(void);

/* Takes back what faulted; ends trials whose time is over. `is_called`: the descriptor has become readable, or is none
 * any more. Called by crateld's own thread. */
void trial_serve(struct process *process, bool is_called);

/* In a child of fork: it has no such thread. */
void trial_forget(void);

/* Where the calling thread's safe point is kept, a sigjmp_buf; `frame` is the frame of who declares it. */
void *trial_safe_point(const void *frame);

#endif

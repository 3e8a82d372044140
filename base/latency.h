/* Threads that sleep until somebody wants something of them, and are to be quick then. */
#ifndef BASE_LATENCY_H
#define BASE_LATENCY_H

/* Asks the scheduler to let the calling thread run as soon as it wakes up, in exchange for short slices of time, and
 * not to interrupt it for others where the process may ask for that (setrlimit(2): RLIMIT_NICE). Without, kernels
 * before Linux 6.12 do nothing. Threads and processes that it starts are as if it had not asked. */
void latency_prefer(void);

#endif

/* Threads that sleep until somebody wants something of them, and are to be quick then. */
#ifndef BASE_LATENCY_H
#define BASE_LATENCY_H

/* Asks the scheduler to let the calling thread run as soon as it wakes up, in exchange for short slices of time. Needs
 * no privileges; kernels before Linux 6.12 do nothing. */
void latency_prefer(void);

#endif

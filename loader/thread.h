/* Threads that crates and ELF libraries create. The static pool of thread-locals (loader/tls.h) lies on each thread's
 * stack, which would be too small for those that ask for little, PTHREAD_STACK_MIN for one. */
#ifndef LOADER_THREAD_H
#define LOADER_THREAD_H

#include <pthread.h>

/* libc's, but that the stack is larger by the pool, unless the caller brings the stack itself. Interposes libc's for
 * ELF libraries. */
int pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

#endif

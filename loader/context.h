/* The state of a thread that a signal has interrupted: what depends on the CPU. */
#ifndef LOADER_CONTEXT_H
#define LOADER_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* What signal handlers return to. */
extern const char context_restorer[];

uint64_t context_pc(const ucontext_t *context);
uint64_t context_sp(const ucontext_t *context);

/* The system call that the thread was blocked in; -1: it was in none, or which one can not be told. */
long context_system_call(const ucontext_t *context);

/* Its argument `i`, 0 or 1. */
uint64_t context_system_call_argument(const ucontext_t *context, int i);

/* Whether the system call has returned EINTR because of the signal, instead of being started again by the kernel. */
bool context_is_interrupted(const ucontext_t *context);

/* Has the thread make system call `number` again when the handler returns. */
void context_restart(ucontext_t *context, long number);

/* The registers, as words. */
const uint64_t *context_registers(const ucontext_t *context, uint32_t *count);

/* The calling thread's pointer to its thread-locals and libc's record of it, which libc has at the top of the stack
 * that it made for it. */
uint64_t context_thread_pointer(void);

/* Lets the thread be where the call that has just been made comes from: `caller`, the word at the stack pointer. */
void context_leave_call(ucontext_t *context, uint64_t caller);

/* What setjmp(), atexit() and others of libc's keep in place of the address that is `word` then. */
uint64_t context_unmangle(uint64_t word);

/* Bytes below the stack pointer that belong to the thread's function. */
enum { CONTEXT_RED_ZONE = 128 };

#endif

/* What a traced program and its watcher share. For loader/first_calls*.c only. */
#ifndef LOADER_FIRST_CALLS_AREA_H
#define LOADER_FIRST_CALLS_AREA_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    TRACE_NAME_SIZE = 256,
    TRACE_MAX_CRATES = 1 << 14,
    TRACE_MAX_FUNCTIONS = 1 << 24,
};

/* A function with a trap. */
struct trace_function {
    uint64_t address;
    uint32_t symbol;  /* number in the relink section */
    uint32_t order;   /* of its first call, from 1; 0: it was not called yet. The watcher's */
    uint8_t original; /* what the trap stands in place of */
};

/* A crate with traps. */
struct trace_crate {
    char path[PATH_MAX]; /* absolute */
    char name[TRACE_NAME_SIZE];
    uint32_t first, count;    /* functions, sorted by address */
    atomic_bool is_published; /* all else is set */
};

struct first_calls {
    _Atomic uint32_t crate_count, function_count; /* of those that were given a place */
    struct trace_crate crates[TRACE_MAX_CRATES];
    struct trace_function functions[TRACE_MAX_FUNCTIONS];
};

/* The trap: one byte. */
extern const uint8_t first_calls_trap;

/* Sets *ret to where the trap is that a stopped thread has run into. False: its registers are not to be had. */
bool first_calls_trap_address(pid_t thread, uint64_t *ret);

/* Lets the thread, when it goes on, begin at `address`. */
bool first_calls_resume_at(pid_t thread, uint64_t address);

#endif

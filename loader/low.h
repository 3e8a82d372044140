/* The low twin: a build of this program at a fixed low address (crateld-low), with copies of libc's variables, which
 * libc itself then uses (ELF copy relocations). Crates that address those variables with 32 bits run in it. */
#ifndef LOADER_LOW_H
#define LOADER_LOW_H

#include "base/error.h"
#include "loader/process.h"
#include "loader/start.h"

/* Hands over to the twin if one of the crates can not do without it; returns if none needs it, or in the twin itself.
 * Called when all crates are mapped, before anything was activated. Errors: UNSUPPORTED, when a crate refers directly
 * to variables of another ELF library than libc; NOT_FOUND, when the twin is not installed; FORMAT. */
MUST_CHECK struct crateld_error *low_check(struct process *process, const struct start_args *args);

#endif

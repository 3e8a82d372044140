/* Traces: which functions of crates a program calls first, in which order.
 *
 * The program runs as a child of this process, which watches it (ptrace(2)). When a crate is activated the loader puts
 * a trap at the start of each function that the crate's relink section knows; the first call runs into it, the watcher
 * notes the function and takes the trap away. What both know is in memory that they share. Crates without a relink
 * section are not traced. A program that is traced can not be reloaded. */
#ifndef LOADER_FIRST_CALLS_H
#define LOADER_FIRST_CALLS_H

#include <stdbool.h>

#include "base/error.h"
#include "loader/loaded.h"

struct first_calls; /* what is shared */

/* Forks. In the child, which is to be the program, *ret is what it hands to process_init(), for as long as it runs. The
 * parent watches it until it and what it starts have ended, writes the functions to the file at `path`, and does not
 * return but with an error: it ends as the child did. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *first_calls_fork(const char *path, struct first_calls **ret);

/* Puts traps into a crate that is being activated, whose text is in place. Errors: IO, FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *first_calls_arm(struct first_calls *trace, struct loaded_crate *crate);

#endif

/* The crates of a live process, and what else its addresses belong to. */
#ifndef CLI_PROCESS_CRATES_H
#define CLI_PROCESS_CRATES_H

#include <sys/types.h>

#include "base/error.h"
#include "cli/inspected_crate.h"

struct process_crates;

/* Reads which crates the process `pid` has mapped, by /proc. Errors: NOT_FOUND (no such process, or it has no
 * crates); IO (no permission); FORMAT; MEMORY. */
MUST_CHECK struct crateld_error *process_crates_create(pid_t pid, struct process_crates **ret);

/* Releases; NULL is allowed. */
void process_crates_destroy(struct process_crates *crates);

/* Crate `i` in the order of addresses, borrowed; NULL behind the last. */
const struct inspected_crate *process_crates_at(const struct process_crates *crates, size_t i);

#endif

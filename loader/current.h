/* The process for those who are called without one: the functions that take the place of libc's. */
#ifndef LOADER_CURRENT_H
#define LOADER_CURRENT_H

#include "loader/loaded.h"
#include "loader/process.h"

/* What runs in this OS process; set once, before any code of crates runs. NULL before. */
struct process *current_process(void);

/* The crate whose entry function is the program. NULL before. */
struct loaded_crate *current_entry(void);

void current_set(struct process *process, struct loaded_crate *entry);

#endif

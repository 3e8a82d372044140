/* Functions that a crate may have for crateld to call when it is reloaded: include/crateld/reload.h. */
#ifndef LOADER_HOOKS_H
#define LOADER_HOOKS_H

#include "loader/loaded.h"

/* The address of the crate's function `name`: that of the latest active patch that has it, else the crate's own; 0:
 * there is none, or it is TOC code. Called under the process's lock. */
uint64_t hooks_find(const struct loaded_crate *base, const char *name);

#endif

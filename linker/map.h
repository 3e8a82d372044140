/* The link map: what went where, for people and scripts. */
#ifndef LINKER_MAP_H
#define LINKER_MAP_H

#include "linker/link.h"

/* Writes the map to link->options->map_path ("-": standard output): output sections, the input sections in each with
 * their global symbols, slots of the TOC, and what was left out. Does nothing without a path. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *link_write_map(struct link *link);

#endif

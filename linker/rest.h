/* Letting go of the memory that inputs take: they are mapped files, and come back from there when they are looked at.
 */
#ifndef LINKER_REST_H
#define LINKER_REST_H

#include "linker/link.h"

/* To be called by a pass over all objects, in their order, when it has done with object `i`: the objects' memory goes
 * some of them at a time. Other threads may be looking at them. */
void link_rest_after(const struct link *link, size_t i);

#endif

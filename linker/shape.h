/* The shape of an object: all that decides how a link lays out and resolves, which is everything but the bytes of code
 * and data between their relocations. Of two versions of an object with one shape, one can take the other's place in a
 * crate without a change anywhere else. */
#ifndef LINKER_SHAPE_H
#define LINKER_SHAPE_H

#include "linker/object.h"
#include "reloc/machine.h"

/* Whether the shape leaves the section's bytes open. */
bool link_shape_is_open(const struct link_section *section);

/* A hash of the shape of an object that was just read; 0 if more may depend on its bytes than can be told. Linear. */
uint64_t link_shape(const struct reloc_machine *machine, const struct link_object *object);

#endif

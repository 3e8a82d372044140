/* Emission: the bytes of the crate. Every place is computed from the same decision that the scan took. */
#ifndef LINKER_EMIT_H
#define LINKER_EMIT_H

#include "linker/layout.h"

/* Writes all loaded output sections into `image`, whose byte 0 is rva 0, and lists the places that are left to the
 * loader. Faults are reported. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_emit(struct link *link, uint8_t *image);

/* Writes the sections that are not loaded, such as DWARF, to their places in the file. */
void link_emit_debug(struct link *link, uint8_t *file);

/* Runs relocation `number` of the live, loaded `section` at `place`, which has the rva `rva`. Faults are reported. */
void link_emit_reloc(struct link *link, struct link_section *section, uint32_t number, uint8_t *place, uint64_t rva);

#endif

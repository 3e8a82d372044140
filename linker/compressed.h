/* Sections of SHF_COMPRESSED (gABI ch. 4, "Section Compression"), as compilers make them with -gz. */
#ifndef LINKER_COMPRESSED_H
#define LINKER_COMPRESSED_H

#include "base/arena.h"
#include "base/error.h"
#include "base/span.h"

/* Expands the section contents `data`, an Elf64_Chdr and a zlib stream, into memory of `arena`; the alignment that
 * they want goes to *ret_align, a power of two up to 2^31. Errors, without a place: FORMAT, UNSUPPORTED (another
 * compression), MEMORY. */
MUST_CHECK struct crateld_error *compressed_expand(struct arena *arena, struct span data, struct span *ret,
                                                   uint64_t *ret_align);

#endif

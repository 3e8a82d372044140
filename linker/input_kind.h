/* What a link's input file is, told by its first bytes and never by its name. */
#ifndef LINKER_INPUT_KIND_H
#define LINKER_INPUT_KIND_H

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"

enum input_kind {
    INPUT_OBJECT,  /* ELF, ET_REL */
    INPUT_SHARED,  /* ELF, ET_DYN with PT_DYNAMIC */
    INPUT_CRATE,   /* ELF, ET_DYN with PT_CRATE */
    INPUT_ARCHIVE, /* ar archive, thin ones included */
    INPUT_SCRIPT,  /* text: a linker script (its parser says whether it is one) */
};

/* Sets *ret to the kind of the file or archive member whose bytes are `data`; `path` is for messages. Errors:
 * UNSUPPORTED for LLVM bitcode (names -fno-lto), 32-bit and big-endian ELF, ELF programs and core files;
 * FORMAT for everything that is not listed. */
MUST_CHECK struct crateld_error *input_kind_of(struct span data, const char *path, enum input_kind *ret);

/* Whether the file whose first bytes are `start` is a crate, as far as these tell. */
bool input_is_crate(struct span start);

#endif

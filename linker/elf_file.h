/* The crate as an ELF file: headers around what emission writes, and the parts that are not loaded. */
#ifndef LINKER_ELF_FILE_H
#define LINKER_ELF_FILE_H

#include "linker/layout.h"

/* Writes the crate to link->options->output: temporary file, emission, headers, build id, rename. Nothing is left
 * behind on errors. */
MUST_CHECK struct crateld_error *link_write_file(struct link *link, struct link_image *image);

#endif

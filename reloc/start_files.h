/* The compiler's start files: what crti.o and crtbegin.o put into every library is not an initialiser of its
 * own. */
#ifndef RELOC_START_FILES_H
#define RELOC_START_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

/* Whether the machine code `code`, which DT_INIT names, is nothing but crti.o's and crtn.o's _init (a call of
 * __gmon_start__ if there is one). False for machines (EM_*) whose start files are not known here. */
bool start_files_is_plain_init(uint16_t machine, struct span code);

/* Whether the machine code at offset `off` of `text`, which the only entry of DT_INIT_ARRAY names, is
 * crtbegin.o's frame_dummy, which registers transactional clones if there are any. False likewise. */
bool start_files_is_frame_dummy(uint16_t machine, struct span text, uint64_t off);

#endif

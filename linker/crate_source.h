/* A crate that symbols can be imported from, read no further than a link needs it: its header, its name and the hashes
 * of its exports, and an export where one is found. What is read is checked; the hash of its tables is for a loader to
 * check.
 */
#ifndef LINKER_CRATE_SOURCE_H
#define LINKER_CRATE_SOURCE_H

#include "base/arena.h"
#include "base/file.h"
#include "base/span.h"
#include "crate/reader.h"

struct crate_source {
    const char *path;      /* borrowed */
    struct open_file file; /* owned; fd -1: it is opened when it is needed, or there are the contents */
    struct span contents;  /* borrowed; empty: they are read from the file */
    struct crate_header header;
    const char *name; /* in the arena, like all that follows */
    uint64_t *hashes; /* of its exports, in their order, which is rising */
    uint64_t *filter; /* two bits for each export's hash, in a word that the hash chooses too: where they are not both
                         set there is no such export */
    uint32_t filter_mask; /* words of it - 1 */
};

/* Reads the crate of which path, file or contents are set, and `start` is the beginning: CRATE_START_SIZE bytes of it,
 * or all. Errors: those of crate_header_read(); FORMAT; IO; MEMORY. */
MUST_CHECK struct crateld_error *crate_source_read(struct arena *arena, struct span start, struct crate_source *source);

/* Closes its file; the source stays of use. */
void crate_source_rest(struct crate_source *source);

/* Whether it exports `name`, of which `hash` is the hash; *entry is the export then. Errors: FORMAT; IO, also when the
 * file is another one by now; MEMORY. */
MUST_CHECK struct crateld_error *crate_source_find(struct crate_source *source, uint64_t hash, const char *name,
                                                   struct crate_export *entry, bool *ret);

#endif

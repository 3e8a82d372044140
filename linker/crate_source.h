/* A crate that symbols can be imported from, read no further than a link needs it: its header, its name, the hashes of
 * its exports, and those of these that were expected to be asked for; when another one is, all. What is read is
 * checked; the hash of its tables is for a loader to check.
 */
#ifndef LINKER_CRATE_SOURCE_H
#define LINKER_CRATE_SOURCE_H

#include "base/arena.h"
#include "base/file.h"
#include "base/span.h"
#include "crate/reader.h"
#include "linker/name_filter.h"

/* An export; the fields are those of struct crate_export. */
struct source_export {
    uint64_t hash;
    const char *name;
    uint32_t size;
    uint16_t kind;
    uint16_t flags;
};

struct crate_source {
    const char *path;        /* borrowed */
    struct file_stamp stamp; /* of the file, where there is one */
    struct span contents;    /* borrowed; empty: they are read from the file */
    uint8_t build_id[16];
    bool has_soname; /* CRATE_FLAG_SONAME */
    uint32_t exports_rva;
    struct crate_table strings;
    const char *name; /* in the arena, like all that follows */
    uint32_t *hashes; /* the upper halves of its exports' */
    uint32_t export_total;
    struct source_export *exports;
    uint32_t export_count;            /* of those that were read, with rising hashes */
    const struct name_filter *wanted; /* borrowed; they are those that may be in it; NULL: all */
};

/* Reads the crate of which path and stamp or contents are set, open as `file` unless there are the contents. `start` is
 * its beginning: CRATE_START_SIZE bytes of it, or all. `wanted` (NULL: all) are the exports that will be asked for, as
 * far as is known. Errors: those of crate_header_read(); FORMAT; IO; MEMORY. */
MUST_CHECK struct crateld_error *crate_source_read(struct arena *arena, const struct open_file *file, struct span start,
                                                   const struct name_filter *wanted, struct crate_source *source);

/* Its export `name`, of which `hash` is the hash; NULL: there is none. Errors: FORMAT; IO,
 * also when the file is another one by now; MEMORY. */
MUST_CHECK struct crateld_error *crate_source_find(struct arena *arena, struct crate_source *source, uint64_t hash,
                                                   const char *name, const struct source_export **ret);

#endif

/* An ar archive: its members and its symbol index. Member data is never copied.
 *
 * Understood are System V and GNU archives (long names in `//`, symbol index in `/` or `/SYM64/`), BSD long
 * names
 * (`#1/<length>`), and GNU thin archives (`!<thin>`), whose members are other files, named relative to the
 * archive's folder, or members of other archives. Format: ar(5), binutils' include/aout/ar.h.
 */
#ifndef LINKER_ARCHIVE_H
#define LINKER_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/span.h"

struct archive_member {
    const char *name;          /* borrowed from the archive's arena; as stored, without padding and terminator */
    struct span data;          /* borrowed from the archive's file, 2-aligned and no more; empty in a thin archive */
    const char *external_path; /* in a thin archive: the file that holds the member; else NULL */
    uint64_t nested_off;       /* != 0: external_path is an archive, and the member has its header there */
    uint64_t header_off;       /* of its header in this archive; identifies the member in messages */
};

struct archive_symbol {
    const char *name;    /* borrowed from the archive's file */
    uint32_t member_idx; /* into members */
};

struct archive_external; /* a file that a thin archive's member lies in, kept open */

struct archive {
    const char *path;               /* borrowed from the arena */
    struct span data;               /* borrowed from `file`, or from the caller of archive_init */
    struct archive_member *members; /* owned; in file order, without the index and the long names */
    uint32_t member_count;
    struct archive_symbol *symbols; /* borrowed from the arena; in the index's order */
    uint32_t symbol_count;
    bool has_index; /* false: symbol_count is 0, and the members' own symbol tables must be asked */
    bool is_thin;
    struct arena arena;                 /* owned */
    struct file file;                   /* owned; zeroed after archive_init */
    struct archive_external *externals; /* owned list */
};

/* Maps and reads the archive at `path`. Cost: one step per member and per symbol of the index. Errors: IO,
 * FORMAT (with path and offset), MEMORY. */
MUST_CHECK struct crateld_error *archive_open(const char *path, struct archive *ret);

/* Reads the archive whose bytes are `data` (borrowed, until archive_deinit) and whose members, if it is thin,
 * are named relative to `path`'s folder. Errors as archive_open's. */
MUST_CHECK struct crateld_error *archive_init(struct span data, const char *path, struct archive *ret);

/* Releases everything, member data and names included; a zeroed archive is allowed. */
void archive_deinit(struct archive *archive);

/* Sets *ret to the bytes of member `idx` (below member_count), valid until archive_deinit. Members of thin
 * archives are opened here, once per file. Errors: IO, FORMAT (the file behind a thin member is not there any
 * more, or is no archive though it should be), MEMORY. Not thread-safe for thin archives. */
MUST_CHECK struct crateld_error *archive_member_data(struct archive *archive, uint32_t idx, struct span *ret);

#endif

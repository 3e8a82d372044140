/* Objects as links are given them: files, and members of archives. */
#ifndef CLI_OBJECT_FILE_H
#define CLI_OBJECT_FILE_H

#include "base/file.h"
#include "linker/archive.h"

/* A file that objects are read from. Start with its path, and nothing else set. */
struct object_file {
    const char *path; /* borrowed */
    struct archive archive;
    bool is_open;  /* the archive */
    uint32_t next; /* of its members, most likely */
};

/* Reads the file's object, or the member of the archive that it is called `member`, unless that is empty; *hash is that
 * of what it has before, and then of what it has. `bytes` are that, in place of what they were, unless the hash is the
 * same. Errors: those of file_read() and archive_open(); NOT_FOUND (there is no such member). */
MUST_CHECK struct crateld_error *object_file_read(struct object_file *file, const char *member, uint64_t *hash,
                                                  struct file_bytes *bytes);

void object_file_close(struct object_file *file);

#endif

/* Objects as links are given them: files, and members of archives. */
#ifndef CLI_OBJECT_FILE_H
#define CLI_OBJECT_FILE_H

#include "base/file.h"

/* Reads the object at `path`, or the archive's member called `member` there, unless that is empty, in place of what
 * `bytes` had. Errors: those of file_read() and archive_open(); NOT_FOUND (there is no such member). */
MUST_CHECK struct crateld_error *object_file_read(const char *path, const char *member, struct file_bytes *bytes);

#endif

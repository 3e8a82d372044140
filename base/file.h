/* Files: whole files as read-only spans, and output that appears by one rename or not at all. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <sys/types.h>

#include "base/error.h"
#include "base/signals.h"
#include "base/span.h"

/* What tells whether a file is the one it was: it changes with every write and with every other file under the name. */
struct file_stamp {
    uint64_t device;
    uint64_t inode; /* 0: there is no such file */
    uint64_t size;
    int64_t modified_ns; /* since 1970 */
    int64_t changed_ns;  /* likewise; of the contents, the name or the permissions */
};

/* The stamp of the file at `path`, or of the open file `fd`; that of no file where there is none. */
struct file_stamp file_stamp_at(const char *path);
struct file_stamp file_stamp_of(int fd);

/* A file's bytes, mapped privately and read-only. */
struct file {
    char *path;       /* owned; for messages */
    struct span data; /* owned mapping */
    dev_t device;
    ino_t inode;
};

/* Maps the regular file at `path`. Errors: IO (absent, unreadable, not a regular file), MEMORY. */
MUST_CHECK struct crateld_error *file_open(const char *path, struct file *ret);

/* Unmaps; a zeroed file is allowed. */
void file_close(struct file *file);

/* An open file. */
struct open_file {
    int fd;
    struct file_stamp stamp;
};

/* Opens the regular file at `path`; the caller closes ret->fd. Errors: as file_open(). */
MUST_CHECK struct crateld_error *file_open_only(const char *path, struct open_file *ret);

/* Reads `size` bytes from `off` of the file. Error: IO, also when it ends before. */
MUST_CHECK struct crateld_error *file_read_at(const char *path, const struct open_file *file, uint64_t off, void *ret,
                                              size_t size);

/* Maps the open file as file_open() does. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *file_map(const char *path, const struct open_file *file, struct file *ret);

/* Bytes read from a file, in memory that is used again. Zeroed: none. */
struct file_bytes {
    uint8_t *at; /* owned; malloc'ed */
    size_t size;
    size_t capacity;
};

/* Reads the whole of the regular file at `path` in place of what was there. What becomes of the file then does not
 * matter. Errors: those of file_open(). */
MUST_CHECK struct crateld_error *file_read(const char *path, struct file_bytes *bytes);

/* Lets go of the memory for whole mappings of files, `count` <= 64: it comes back from the files when it is looked at,
 * which other threads may be doing meanwhile. */
void file_rest(const struct span *mappings, size_t count);

/* A file under construction. It has no name until it is committed, so that nothing is left of it however the process
 * ends; where the file system can not do that, it has a temporary name beside its destination, and the signals that
 * end a process wait until that is gone. */
struct output_file {
    char *path;      /* owned; the destination */
    char *temp_path; /* owned; NULL while there is no temporary name */
    int fd;          /* owned */
    uint8_t *data;   /* owned shared mapping, writable */
    size_t size;
    size_t allocated;   /* bytes that have their blocks; at least `size` */
    size_t mapped_size; /* of the mapping, which goes on behind the file's end */
    struct held_signals signals;
    bool has_held_signals;
    bool is_adopted; /* fd is the caller's */
};

/* Creates a file to become `path`, `size` > 0 zeroed bytes with their blocks allocated (a full disk is reported here,
 * not as a SIGBUS later). Commit and discard it in the same thread. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *output_file_create(const char *path, size_t size, struct output_file *ret);

/* The same for a file that is there, open for reading and writing at `fd`, empty, and the caller's: committing it does
 * nothing. Its size is 0 until it grows, which takes next to no time up to `room` bytes: they have their blocks, and
 * their memory. What of that is left over is given back when it is discarded. */
MUST_CHECK struct crateld_error *output_file_adopt(int fd, const char *path, size_t room, struct output_file *ret);

/* Creates a file to become `path`, with these bytes; it is not mapped. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *output_file_create_from(const char *path, const void *bytes, size_t size,
                                                         struct output_file *ret);

/* Writes bytes at `off` of it. Error: IO. */
MUST_CHECK struct crateld_error *output_file_write(struct output_file *file, uint64_t off, const void *bytes,
                                                   size_t size);

/* Lets go of the memory for bytes [begin, end) of `data`, as far as it can: they are in the file, and come back from
 * there when they are looked at. For bytes that are written and not needed for a while. Does nothing for small files.
 */
void output_file_rest(const struct output_file *file, size_t begin, size_t end);

/* Makes a file longer, as if it had been created with `size` bytes; `data` may be elsewhere then. Errors: IO. */
MUST_CHECK struct crateld_error *output_file_grow(struct output_file *file, size_t size);

/* Gives the file `mode` (less the umask) and renames it over its destination; a file that is mapped elsewhere
 * under that name stays what it was. On error the destination is untouched. */
MUST_CHECK struct crateld_error *output_file_commit(struct output_file *file, mode_t mode);

/* Releases; removes the temporary file if it was not committed. A zeroed file is allowed. */
void output_file_discard(struct output_file *file);

/* Writes `size` bytes as the whole file `path`, by a temporary file and rename. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *file_write(const char *path, const void *bytes, size_t size, mode_t mode);

#endif

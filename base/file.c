#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Opens a regular file. */
static struct crateld_error *open_regular(const char *path, int *fd, struct stat *status)
{
    /* Nonblocking: a FIFO is to be refused below, not waited for. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return error_errno(errno, "%s: cannot open", path);
    if (fstat(*fd, status) < 0)
        return error_errno(errno, "%s: cannot stat", path);
    return S_ISREG(status->st_mode) ? NULL : error_create(CRATELD_ERROR_IO, "%s: not a regular file", path);
}

struct crateld_error *file_open(const char *path, struct file *ret)
{
    int fd AUTO_CLOSE = -1;
    struct stat status;
    TRY(open_regular(path, &fd, &status));
    char *name AUTO_FREE = strdup(path);
    if (!name)
        return error_memory();
    void *data = NULL;
    if (status.st_size) {
        data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            return error_errno(errno, "%s: cannot map", path); // cppcheck-suppress memleak; AUTO_FREE frees it
    }
    *ret = (struct file){
        .path = STEAL_PTR(name),
        .data = {data, (size_t)status.st_size},
        .device = status.st_dev,
        .inode = status.st_ino,
    };
    return NULL;
}

void file_close(struct file *file)
{
    if (file->data.size)
        munmap((void *)file->data.data, file->data.size);
    free(file->path);
    *file = (struct file){0};
}

struct crateld_error *file_read(const char *path, struct file_bytes *bytes)
{
    int fd AUTO_CLOSE = -1;
    struct stat status;
    TRY(open_regular(path, &fd, &status));
    bytes->size = 0;
    for (size_t wanted = (size_t)status.st_size + 1;; wanted = bytes->capacity * 2) {
        if (wanted > bytes->capacity) {
            uint8_t *more = realloc(bytes->at, wanted);
            if (!more)
                return error_memory();
            bytes->at = more;
            bytes->capacity = wanted;
        }
        while (bytes->size < bytes->capacity) {
            ssize_t got = read(fd, bytes->at + bytes->size, bytes->capacity - bytes->size);
            if (got < 0 && errno != EINTR)
                return error_errno(errno, "%s: cannot read", path);
            if (!got)
                return NULL;
            bytes->size += got > 0 ? (size_t)got : 0;
        }
    }
}

/* The folder of `path`, malloc'ed; NULL without memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Opens a new file without a name where `path` will be; -1: that can not be done here. */
static struct crateld_error *open_unnamed(const char *path, int *fd)
{
    char *folder AUTO_FREE = folder_of(path);
    if (!folder)
        return error_memory();
    /* A name is given through /proc, for want of a better way without privileges (linkat(2)). */
    *fd = access("/proc/self/fd", F_OK) ? -1 : open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return NULL;
}

static struct crateld_error *hold_signals(struct output_file *file)
{
    if (file->has_held_signals)
        return NULL;
    TRY(signals_hold(&file->signals));
    file->has_held_signals = true;
    return NULL;
}

/* Opens a new file with a name beside `path`. */
static struct crateld_error *open_neighbour(const char *path, struct output_file *file)
{
    char *name AUTO_FREE = NULL;
    if (asprintf(&name, "%s.XXXXXX", path) < 0) {
        name = NULL;
        return error_memory();
    }
    TRY(hold_signals(file));
    file->fd = mkostemp(name, O_CLOEXEC);
    if (file->fd < 0)
        return error_errno(errno, "%s: cannot create", path);
    file->temp_path = STEAL_PTR(name);
    return NULL;
}

/* Allocates and maps the file's bytes. */
static struct crateld_error *fill(struct output_file *file, size_t size)
{
    int reason = posix_fallocate(file->fd, 0, (off_t)size);
    if (reason)
        return error_errno(reason, "%s: cannot write %zu bytes", file->path, size);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (data == MAP_FAILED)
        return error_errno(errno, "%s: cannot map %zu bytes", file->path, size);
    file->data = data;
    file->size = size;
    return NULL;
}

static struct crateld_error *create(const char *path, size_t size, struct output_file *file)
{
    file->path = strdup(path);
    if (!file->path)
        return error_memory();
    TRY(open_unnamed(path, &file->fd));
    if (file->fd < 0)
        TRY(open_neighbour(path, file));
    return fill(file, size);
}

struct crateld_error *output_file_create(const char *path, size_t size, struct output_file *ret)
{
    struct output_file file = {.fd = -1};
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return error_create(CRATELD_ERROR_IO, "%s: exists and is not a regular file", path);
    struct crateld_error *error = create(path, size, &file);
    if (error)
        output_file_discard(&file);
    else
        *ret = file;
    return error;
}

/* Gives an unnamed file a name beside its destination. Signals wait from here on, for the name is temporary. */
static struct crateld_error *link_neighbour(struct output_file *file)
{
    TRY(hold_signals(file));
    char source[64];
    snprintf(source, sizeof source, "/proc/self/fd/%d", file->fd);
    for (;;) {
        char *name AUTO_FREE = NULL;
        uint64_t number;
        if (getrandom(&number, sizeof number, 0) != sizeof number)
            return error_errno(errno, "%s: cannot find a temporary name", file->path);
        if (asprintf(&name, "%s.%08llx", file->path, (unsigned long long)number & 0xffffffff) < 0) {
            name = NULL;
            return error_memory();
        }
        if (!linkat(AT_FDCWD, source, AT_FDCWD, name, AT_SYMLINK_FOLLOW)) {
            file->temp_path = STEAL_PTR(name);
            return NULL;
        }
        if (errno != EEXIST)
            return error_errno(errno, "%s: cannot create", file->path);
    }
}

struct crateld_error *output_file_adopt(int fd, const char *path, size_t size, struct output_file *ret)
{
    struct output_file file = {.fd = fd, .path = strdup(path), .size = size, .is_adopted = true};
    if (!file.path)
        return error_memory();
    int errnum = posix_fallocate(fd, 0, (off_t)size);
    if (!errnum) {
        file.data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        errnum = file.data == MAP_FAILED ? errno : 0;
    }
    if (errnum) {
        free(file.path);
        return error_errno(errnum, "%s: cannot write", path);
    }
    *ret = file;
    return NULL;
}

struct crateld_error *output_file_commit(struct output_file *file, mode_t mode)
{
    if (file->is_adopted)
        return NULL;
    mode_t mask = umask(0);
    umask(mask);
    if (fchmod(file->fd, mode & ~mask) < 0)
        return error_errno(errno, "%s: cannot set permissions", file->path);
    if (!file->temp_path)
        TRY(link_neighbour(file));
    if (rename(file->temp_path, file->path) < 0)
        return error_errno(errno, "%s: cannot rename into place", file->path);
    free(STEAL_PTR(file->temp_path));
    return NULL;
}

void output_file_discard(struct output_file *file)
{
    if (file->data)
        munmap(file->data, file->size);
    if (file->temp_path)
        unlink(file->temp_path);
    if (file->path && file->fd >= 0 && !file->is_adopted)
        close(file->fd);
    free(file->temp_path);
    free(file->path);
    if (file->has_held_signals)
        signals_release(&file->signals);
    *file = (struct output_file){.fd = -1};
}

struct crateld_error *file_write(const char *path, const void *bytes, size_t size, mode_t mode)
{
    struct output_file file;
    TRY(output_file_create(path, size ? size : 1, &file));
    memcpy(file.data, bytes, size);
    struct crateld_error *error = NULL;
    if (!size && ftruncate(file.fd, 0) < 0)
        error = error_errno(errno, "%s: cannot truncate", path);
    if (!error)
        error = output_file_commit(&file, mode);
    output_file_discard(&file);
    return error;
}

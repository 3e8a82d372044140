#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

struct crateld_error *file_open(const char *path, struct file *ret)
{
    /* Nonblocking: a FIFO is to be refused below, not waited for. */
    int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_errno(errno, "%s: cannot open", path);
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_errno(errno, "%s: cannot stat", path);
    if (!S_ISREG(status.st_mode))
        return error_create(CRATELD_ERROR_IO, "%s: not a regular file", path);
    char *name AUTO_FREE = strdup(path);
    if (!name)
        return error_memory();
    void *data = NULL;
    if (status.st_size) {
        data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            return error_errno(errno, "%s: cannot map", path);
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

/* Opens a new file beside `path`, whose name goes to *temp_path. */
static struct crateld_error *create_neighbour(const char *path, char **temp_path, int *fd)
{
    if (asprintf(temp_path, "%s.XXXXXX", path) < 0) {
        *temp_path = NULL;
        return error_memory();
    }
    *fd = mkostemp(*temp_path, O_CLOEXEC);
    if (*fd >= 0)
        return NULL;
    int reason = errno;
    free(STEAL_PTR(*temp_path));
    return error_errno(reason, "%s: cannot create", path);
}

struct crateld_error *output_file_create(const char *path, size_t size, struct output_file *ret)
{
    struct output_file file = {.fd = -1};
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return error_create(CRATELD_ERROR_IO, "%s: exists and is not a regular file", path);
    TRY(create_neighbour(path, &file.temp_path, &file.fd));
    file.path = strdup(path);
    if (!file.path) {
        output_file_discard(&file);
        return error_memory();
    }
    int reason = posix_fallocate(file.fd, 0, (off_t)size);
    if (reason) {
        output_file_discard(&file);
        return error_errno(reason, "%s: cannot write %zu bytes", path, size);
    }
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
    if (data == MAP_FAILED) {
        reason = errno;
        output_file_discard(&file);
        return error_errno(reason, "%s: cannot map %zu bytes", path, size);
    }
    file.data = data;
    file.size = size;
    *ret = file;
    return NULL;
}

struct crateld_error *output_file_commit(struct output_file *file, mode_t mode)
{
    mode_t mask = umask(0);
    umask(mask);
    if (fchmod(file->fd, mode & ~mask) < 0)
        return error_errno(errno, "%s: cannot set permissions", file->path);
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
    if (file->fd > 0)
        close(file->fd);
    free(file->temp_path);
    free(file->path);
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

#define _GNU_SOURCE
#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
    ROOM_TO_GROW = 1 << 20, /* address space, for what is not known when a file is created */
    REST_MIN = 4 << 20,     /* bytes of files of which memory is let go */
};

static struct file_stamp stamp_of(const struct stat *status)
{
    const int64_t second = 1000000000;
    return (struct file_stamp){
        .device = status->st_dev,
        .inode = status->st_ino,
        .size = (uint64_t)status->st_size,
        .modified_ns = status->st_mtim.tv_sec * second + status->st_mtim.tv_nsec,
        .changed_ns = status->st_ctim.tv_sec * second + status->st_ctim.tv_nsec,
    };
}

struct file_stamp file_stamp_at(const char *path)
{
    struct stat status;
    struct file_stamp none = {0};
    return stat(path, &status) < 0 ? none : stamp_of(&status);
}

struct file_stamp file_stamp_of(int fd)
{
    struct stat status;
    struct file_stamp none = {0};
    return fstat(fd, &status) < 0 ? none : stamp_of(&status);
}

struct crateld_error *file_open_only(const char *path, struct open_file *ret)
{
    /* Nonblocking: a FIFO is to be refused below, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (fd < 0)
        return error_errno(errno, "%s: cannot open", path);
    struct crateld_error *error = NULL;
    if (fstat(fd, &status) < 0)
        error = error_errno(errno, "%s: cannot stat", path);
    else if (!S_ISREG(status.st_mode))
        error = error_create(CRATELD_ERROR_IO, "%s: not a regular file", path);
    else
        *ret = (struct open_file){fd, stamp_of(&status)};
    if (error)
        close(fd);
    return error;
}

struct crateld_error *file_read_at(const char *path, const struct open_file *handle, uint64_t off, void *ret,
                                   size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(handle->fd, (char *)ret + done, size - done, (off_t)(off + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(errno, "%s: cannot read", path);
        if (!got)
            return error_create(CRATELD_ERROR_IO, "%s: ends at 0x%llx: somebody cut it short", path,
                                (unsigned long long)(off + done));
        done += (size_t)got;
    }
    return NULL;
}

struct crateld_error *file_map(const char *path, const struct open_file *handle, struct file *ret)
{
    char *name AUTO_FREE = strdup(path);
    if (!name)
        return error_memory();
    void *data = NULL;
    if (handle->stamp.size) {
        data = mmap(NULL, (size_t)handle->stamp.size, PROT_READ, MAP_PRIVATE, handle->fd, 0);
        if (data == MAP_FAILED)
            return error_errno(errno, "%s: cannot map", path); // cppcheck-suppress memleak; AUTO_FREE frees it
    }
    *ret = (struct file){
        .path = STEAL_PTR(name),
        .data = {data, (size_t)handle->stamp.size},
        .device = handle->stamp.device,
        .inode = handle->stamp.inode,
    };
    return NULL;
}

struct crateld_error *file_open(const char *path, struct file *ret)
{
    struct open_file handle;
    TRY(file_open_only(path, &handle));
    struct crateld_error *error = file_map(path, &handle, ret);
    close(handle.fd);
    return error;
}

void file_close(struct file *file)
{
    if (file->data.size)
        munmap((void *)file->data.data, file->data.size);
    free(file->path);
    *file = (struct file){0};
}

void file_rest(const struct span *mappings, size_t count)
{
    enum { MANY = 64 };
    struct iovec ranges[MANY];
    assert(count <= MANY);
    for (size_t i = 0; i < count; i++)
        ranges[i] = (struct iovec){(void *)(uintptr_t)mappings[i].data, mappings[i].size};
    /* At once, so that processors are told once; kernels before Linux 6.13 take them one by one. */
    int self = count > 1 ? (int)syscall(SYS_pidfd_open, getpid(), 0) : -1;
    bool is_done = self >= 0 && syscall(SYS_process_madvise, self, ranges, count, MADV_DONTNEED, 0) >= 0;
    if (self >= 0)
        close(self);
    for (size_t i = 0; i < count && !is_done; i++)
        (void)madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED);
}

struct crateld_error *file_read(const char *path, struct file_bytes *bytes)
{
    struct open_file handle;
    TRY(file_open_only(path, &handle));
    int fd AUTO_CLOSE = handle.fd;
    bytes->size = 0;
    for (size_t wanted = (size_t)handle.stamp.size + 1;; wanted = bytes->capacity * 2) {
        if (wanted > bytes->capacity) {
            uint8_t *more = realloc(bytes->at, wanted);
            if (!more)
                return error_memory();
            bytes->at = more;
            bytes->capacity = wanted;
        }
        while (bytes->size < bytes->capacity) {
            size_t asked = bytes->capacity - bytes->size;
            ssize_t got = read(fd, bytes->at + bytes->size, asked);
            if (got < 0 && errno != EINTR)
                return error_errno(errno, "%s: cannot read", path);
            bytes->size += got > 0 ? (size_t)got : 0;
            bool is_end = got > 0 && (size_t)got < asked && bytes->size == handle.stamp.size;
            if (!got || is_end)
                return NULL;
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

/* Sees to it that the file's first bytes have their blocks. */
static struct crateld_error *allocate(struct output_file *file, size_t size)
{
    int reason =
        size > file->allocated ? posix_fallocate(file->fd, (off_t)file->allocated, (off_t)(size - file->allocated)) : 0;
    if (reason)
        return error_errno(reason, "%s: cannot write %zu bytes", file->path, size);
    file->allocated = size > file->allocated ? size : file->allocated;
    return NULL;
}

/* Allocates and maps the file's bytes. */
static struct crateld_error *fill(struct output_file *file, size_t size)
{
    TRY(allocate(file, size));
    void *data = mmap(NULL, size + ROOM_TO_GROW, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (data == MAP_FAILED)
        return error_errno(errno, "%s: cannot map %zu bytes", file->path, size);
    file->data = data;
    file->mapped_size = size + ROOM_TO_GROW;
    return NULL;
}

/* Opens a new file that is to become `path`. */
static struct crateld_error *create(const char *path, struct output_file *file)
{
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return error_create(CRATELD_ERROR_IO, "%s: exists and is not a regular file", path);
    file->path = strdup(path);
    if (!file->path)
        return error_memory();
    TRY(open_unnamed(path, &file->fd));
    return file->fd < 0 ? open_neighbour(path, file) : NULL;
}

struct crateld_error *output_file_create(const char *path, size_t size, struct output_file *ret)
{
    struct output_file file = {.fd = -1};
    struct crateld_error *error = create(path, &file);
    if (!error)
        error = fill(&file, size);
    file.size = size;
    if (error)
        output_file_discard(&file);
    else
        *ret = file;
    return error;
}

struct crateld_error *output_file_write(struct output_file *file, uint64_t off, const void *bytes, size_t size)
{
    if (file->is_adopted && off <= file->size && size <= file->size - off) { /* its pages are there already */
        if (size)
            memcpy(file->data + off, bytes, size);
        return NULL;
    }
    for (size_t done = 0; done < size;) {
        ssize_t written = pwrite(file->fd, (const char *)bytes + done, size - done, (off_t)(off + done));
        if (written < 0 && errno != EINTR)
            return error_errno(errno, "%s: cannot write", file->path);
        done += written > 0 ? (size_t)written : 0;
    }
    return NULL;
}

struct crateld_error *output_file_create_from(const char *path, const void *bytes, size_t size, struct output_file *ret)
{
    struct output_file file = {.fd = -1};
    struct crateld_error *error = create(path, &file);
    if (!error)
        error = allocate(&file, size);
    if (!error)
        error = output_file_write(&file, 0, bytes, size);
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

struct crateld_error *output_file_adopt(int fd, const char *path, size_t room, struct output_file *ret)
{
    struct output_file file = {.fd = fd, .path = strdup(path), .is_adopted = true};
    if (!file.path)
        return error_memory();
    struct crateld_error *error = fill(&file, room);
    if (!error && room)
        (void)madvise(file.data, room, MADV_POPULATE_WRITE); /* without (before Linux 5.14), it is only slower */
    if (error)
        output_file_discard(&file);
    else
        *ret = file;
    return error; // cppcheck-suppress memleak; output_file_discard() frees the path
}

void output_file_rest(const struct output_file *file, size_t begin, size_t end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    begin = (begin + page - 1) & ~(page - 1);
    end &= ~(page - 1);
    if (begin < end && file->size >= REST_MIN)
        (void)madvise(file->data + begin, end - begin, MADV_DONTNEED); /* of a shared mapping: no page is lost */
}

struct crateld_error *output_file_grow(struct output_file *file, size_t size)
{
    TRY(allocate(file, size));
    if (size > file->mapped_size) {
        void *data = mremap(file->data, file->mapped_size, size, MREMAP_MAYMOVE);
        if (data == MAP_FAILED)
            return error_errno(errno, "%s: cannot map %zu bytes", file->path, size);
        file->data = data;
        file->mapped_size = size;
    }
    file->size = size;
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
        munmap(file->data, file->mapped_size);
    if (file->temp_path)
        unlink(file->temp_path);
    if (file->is_adopted && file->allocated > file->size)
        (void)!ftruncate(file->fd, (off_t)file->size); /* else it is longer than it need be */
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
    TRY(output_file_create_from(path, bytes, size, &file));
    struct crateld_error *error = output_file_commit(&file, mode);
    output_file_discard(&file);
    return error;
}

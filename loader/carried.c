#define _GNU_SOURCE
#include "loader/carried.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crate/carried.h"
#include "loader/patch.h"

enum {
    KEPT_FD_MIN = 48, /* above what programs and shells use by number */
    NAME_SIZE = 128,
};

struct crateld_error *carried_make_file(const struct loaded_crate *crate, int *ret)
{
    char name[NAME_SIZE];
    const char *slash = strrchr(crate->path, '/');
    snprintf(name, sizeof name, "%.*s.patch", NAME_SIZE - 8, slash ? slash + 1 : crate->path);
    int made AUTO_CLOSE = memfd_create(name, MFD_CLOEXEC);
    int fd = made < 0 ? -1 : fcntl(made, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
    if (fd < 0)
        return error_errno(errno, "%s: cannot make a file for a patch", crate->path);
    *ret = fd;
    return NULL;
}

struct crateld_error *carried_adopt(struct process *process, struct loaded_crate *crate, int fd)
{
    char path[64];
    struct loaded_crate *patch = NULL;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), fd);
    struct crateld_error *error = patch_load(process, path, &patch);
    if (!error && patch->needed[0].crate != crate)
        error = error_create(CRATELD_ERROR_MISMATCH, "it is for another crate, '%s'", patch->needed[0].name);
    if (!error && patch->fd < 0)
        patch->fd = fd; /* debuggers open it by the path */
    else
        close(fd);
    return error;
}

/* A copy of the patch as a file of its own, so that debuggers and others who look at what is mapped find a crate; its
 * descriptor is the caller's. */
static struct crateld_error *copy_patch(const struct loaded_crate *crate, const struct crate_carried *carried, int *ret)
{
    int fd = -1;
    TRY(carried_make_file(crate, &fd));
    off_t off = (off_t)carried->off;
    for (uint64_t done = 0; done < carried->size;) {
        ssize_t sent = sendfile(fd, crate->fd, &off, carried->size - done);
        if (sent > 0) {
            done += (uint64_t)sent;
        } else if (!sent || errno != EINTR) {
            struct crateld_error *error =
                error_errno(sent ? errno : EIO, "%s: cannot read a patch that it carries", crate->path);
            close(fd);
            return error;
        }
    }
    *ret = fd;
    return NULL;
}

/* Reads entry `i` of the list. */
static struct crateld_error *read_entry(const struct loaded_crate *crate, uint32_t i, struct crate_carried *ret)
{
    struct crate_carried records[2] = {{0}};
    struct stat status;
    uint32_t before = i > 0;
    ssize_t size = (ssize_t)((1 + before) * sizeof *records);
    off_t off = (off_t)(crate->view.header.carried_off + (i - before) * sizeof *records);
    if (fstat(crate->fd, &status) != 0 || pread(crate->fd, records, (size_t)size, off) != size)
        return error_errno(EIO, "%s: cannot read which patches it carries", crate->path);
    *ret = records[before];
    return crate_carried_check(crate->path, &crate->view.header, (uint64_t)status.st_size, before ? records : NULL,
                               ret);
}

static struct crateld_error *load_one(struct process *process, struct loaded_crate *crate, uint32_t i)
{
    struct crate_carried carried = {0};
    int fd = -1;
    TRY(read_entry(crate, i, &carried));
    TRY(copy_patch(crate, &carried, &fd));
    struct crateld_error *error = carried_adopt(process, crate, fd);
    return error ? error_prefix(error, "%s: patch %u of those that it carries", crate->path, i) : NULL;
}

static struct crateld_error *load_all(struct process *process, size_t first)
{
    size_t end = process->crates.count;
    for (size_t i = first; i < end; i++) {
        struct loaded_crate *crate = process->crates.at[i];
        if (!crate->view.header.carried_count)
            continue;
        if (!image_reopen_file(crate))
            return error_create(CRATELD_ERROR_IO, "%s: was replaced while it was being loaded", crate->path);
        for (uint32_t k = 0; k < crate->view.header.carried_count; k++)
            TRY(load_one(process, crate, k));
    }
    return NULL;
}

struct crateld_error *carried_load(struct process *process, const char *path, struct loaded_crate **ret)
{
    size_t before = process->crates.count;
    TRY(process_load(process, path, ret));
    struct crateld_error *error = load_all(process, before);
    if (error)
        process_forget(process, before);
    return error;
}

struct crateld_error *carried_commit(struct process *process, bool *ret)
{
    struct crateld_error *errors = NULL;
    *ret = false;
    for (size_t i = 0; i < process->crates.count; i++) {
        struct loaded_crate *patch = process->crates.at[i];
        struct patch_report report;
        if (!(patch->view.header.flags & CRATE_FLAG_PATCH) || atomic_load(&patch->state) != LOADED_FOUND)
            continue;
        *ret = true;
        struct crateld_error *error = patch_commit(&process->crates.at[i], 1, false, &report);
        if (error && atomic_load(&patch->state) == LOADED_FOUND)
            atomic_store(&patch->state, LOADED_FAILED);
        errors = error_join(errors, error);
    }
    return errors;
}

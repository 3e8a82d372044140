#define _GNU_SOURCE
#include "loader/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "loader/log.h"
#include "loader/valgrind.h"

enum {
    PAGE_MASK = CRATE_PAGE_SIZE - 1,
    KEPT_FD_MIN = 48, /* above what programs and shells use by number, below where the kernel's table grows */
};

#define LOW_LIMIT (UINT64_C(1) << 31)

/* Reads up to `size` of the file's first bytes. */
static struct crateld_error *read_start(const char *path, int fd, uint8_t *start, size_t size, size_t *ret)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got = pread(fd, start + have, size - have, (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(errno, "%s: cannot read", path);
        if (!got)
            break;
        have += (size_t)got;
    }
    *ret = have;
    return NULL;
}

static struct crateld_error *read_header(struct loaded_crate *crate, int fd, struct crate_header *ret)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_errno(errno, "%s: cannot stat", crate->path);
    if (!S_ISREG(status.st_mode))
        return error_create(CRATELD_ERROR_IO, "%s: not a regular file", crate->path);
    _Alignas(8) uint8_t start[CRATE_START_SIZE];
    size_t size = 0;
    TRY(read_start(crate->path, fd, start, sizeof start, &size));
    TRY(crate_header_read(crate->path, (struct span){start, size}, (uint64_t)status.st_size, ret));
    crate->device = status.st_dev;
    crate->inode = status.st_ino;
    return NULL;
}

static enum image_place place_for(const struct crate_header *header, bool has_aslr)
{
    if (header->flags & CRATE_FLAG_LOW)
        return IMAGE_LOW;
    if (header->flags & CRATE_FLAG_NEAR || has_aslr)
#ifdef CRATELD_LOW
        /* The library data that such crates address directly are this program's copies. */
        return header->flags & CRATE_FLAG_NEAR ? IMAGE_LOW : IMAGE_ANYWHERE;
#else
        return IMAGE_ANYWHERE;
#endif
    return IMAGE_PREFERRED;
}

static void *map_file(int fd, uint64_t address, size_t size, int flags)
{
    return mmap((void *)(uintptr_t)address, size, PROT_READ, MAP_PRIVATE | flags, fd, 0);
}

/* At `address` or not at all. */
static void *map_fixed(int fd, uint64_t address, size_t size)
{
    if (!address)
        return MAP_FAILED;
    void *base = map_file(fd, address, size, MAP_FIXED_NOREPLACE);
    if (base == MAP_FAILED || (uint64_t)(uintptr_t)base == address)
        return base;
    munmap(base, size); /* a kernel that does not know the flag took the address for a hint */
    return MAP_FAILED;
}

/* Maps image and reserve with one call. What lies behind the end of the file must not be touched yet. */
static struct crateld_error *map_image(struct loaded_crate *crate, int fd, const struct crate_header *header,
                                       bool has_aslr)
{
    size_t size = header->image_size + header->reserve_size;
    enum image_place place = place_for(header, has_aslr);
    bool wants_preferred = !has_aslr && (place == IMAGE_PREFERRED || (header->flags & CRATE_FLAG_LOW));
    void *base = MAP_FAILED;
    if (wants_preferred)
        base = map_fixed(fd, header->preferred_base, size);
    if (base == MAP_FAILED)
        base = map_file(fd, 0, size, place == IMAGE_LOW ? MAP_32BIT : 0);
    if (base == MAP_FAILED)
        return error_errno(errno, "%s: cannot map 0x%zx bytes%s", crate->path, size,
                           place == IMAGE_LOW ? " below 2 GiB" : "");
    if (place == IMAGE_LOW && (uintptr_t)base + header->image_size > LOW_LIMIT) {
        munmap(base, size);
        return error_create(CRATELD_ERROR_RANGE, "%s: no room for 0x%zx bytes below 2 GiB", crate->path, size);
    }
    crate->base = base;
    return NULL;
}

struct crateld_error *image_map(struct loaded_crate *crate, int fd, bool has_aslr)
{
    struct crate_header header = {0};
    TRY(read_header(crate, fd, &header));
    TRY(map_image(crate, fd, &header, has_aslr));
    struct span meta = {crate->base, header.segments[CRATE_SEGMENT_META].file_size};
    struct crateld_error *error = crate_view_init(crate->path, meta, &header, &crate->view);
    if (error) {
        munmap(crate->base, header.image_size + header.reserve_size);
        crate->base = NULL;
        return error;
    }
    crate->toc = (struct crateld_toc *)(crate->base + header.toc_rva);
    log_state.crates_mapped++;
    LOG(LOG_LOAD, "%s: mapped at %p (preferred: 0x%" PRIx64 ")", crate->path, (void *)crate->base,
        header.preferred_base);
    return NULL;
}

struct crateld_error *image_move(struct loaded_crate *crate, bool is_low)
{
    const struct crate_header header = crate->view.header;
    size_t size = header.image_size + header.reserve_size;
    uint64_t base = (uint64_t)(uintptr_t)crate->base;
    if (is_low ? base + header.image_size <= LOW_LIMIT : base != header.preferred_base)
        return NULL;
    void *place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | (is_low ? MAP_32BIT : 0), -1, 0);
    if (place == MAP_FAILED)
        return error_errno(errno, "%s: cannot map 0x%zx bytes%s", crate->path, size, is_low ? " below 2 GiB" : "");
    if (mremap(crate->base, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED) {
        int reason = errno;
        munmap(place, size);
        return error_errno(reason, "%s: cannot move", crate->path);
    }
    crate->base = place;
    crate->toc = (struct crateld_toc *)(crate->base + header.toc_rva);
    LOG(LOG_LOAD, "%s: moved to %p, into the reach of others", crate->path, (void *)crate->base);
    return crate_view_init(crate->path, (struct span){place, header.segments[CRATE_SEGMENT_META].file_size}, &header,
                           &crate->view);
}

void image_keep_file(struct loaded_crate *crate, int fd)
{
    if (crate->view.header.flags & CRATE_FLAG_HAS_RELINK && crate->fd < 0)
        crate->fd = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
}

/* Opens the crate's file; -1 if it was replaced since it was mapped. */
static int open_same_file(const struct loaded_crate *crate)
{
    int fd = open(crate->path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || (fstat(fd, &status) == 0 && status.st_dev == crate->device && status.st_ino == crate->inode))
        return fd;
    close(fd);
    return -1;
}

void image_reopen_file(struct loaded_crate *crate)
{
    if (!(crate->view.header.flags & CRATE_FLAG_HAS_RELINK) || crate->fd >= 0)
        return;
    int fd AUTO_CLOSE = open_same_file(crate);
    if (fd >= 0)
        image_keep_file(crate, fd);
}

void image_unmap(struct loaded_crate *crate)
{
    if (crate->fd >= 0)
        close(crate->fd);
    crate->fd = -1;
    if (crate->base)
        munmap(crate->base, crate->view.header.image_size + crate->view.header.reserve_size);
    crate->base = NULL;
}

static struct crateld_error *protect(struct loaded_crate *crate, uint64_t rva, uint64_t size, int protection,
                                     const char *what)
{
    if (size && mprotect(crate->base + rva, size, protection) != 0)
        return error_errno(errno, "%s: cannot change the protection of its %s", crate->path, what);
    return NULL;
}

/* Whether all bytes are zero. */
static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i])
            return false;
    }
    return true;
}

/* Bytes behind the file's part of the data are zero in memory, whatever the file holds there. */
static struct crateld_error *provide_bss(struct loaded_crate *crate, const struct crate_segment *data)
{
    uint64_t start = data->rva + data->file_size, end = data->rva + data->mem_size;
    uint64_t page_end = (start + PAGE_MASK) & ~(uint64_t)PAGE_MASK;
    if (start == end)
        return NULL;
    size_t rest = (page_end < end ? page_end : end) - start;
    if (rest && !is_zero(crate->base + start, rest)) /* looked at first, so that the page stays clean */
        memset(crate->base + start, 0, rest);
    if (page_end < end && mmap(crate->base + page_end, end - page_end, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        return error_errno(errno, "%s: cannot map 0x%" PRIx64 " bytes of bss", crate->path, end - page_end);
    return NULL;
}

/* Maps text and data from the file once more, with the protection they are to have. */
static struct crateld_error *map_segments_again(struct loaded_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    int fd AUTO_CLOSE = open_same_file(crate);
    if (fd < 0)
        return NULL;
    for (int kind = CRATE_SEGMENT_TEXT; kind <= CRATE_SEGMENT_DATA; kind++) {
        const struct crate_segment *segment = &header->segments[kind];
        int protection = kind == CRATE_SEGMENT_TEXT   ? PROT_READ | PROT_EXEC
                         : kind == CRATE_SEGMENT_DATA ? PROT_READ | PROT_WRITE
                                                      : PROT_READ;
        if (segment->file_size && mmap(crate->base + segment->rva, segment->file_size, protection,
                                       MAP_PRIVATE | MAP_FIXED, fd, (off_t)segment->rva) == MAP_FAILED)
            return error_errno(errno, "%s: cannot map its segments", crate->path);
    }
    return NULL;
}

struct crateld_error *image_open_segments(struct loaded_crate *crate)
{
    if (valgrind_is_running())
        TRY(map_segments_again(crate));
    const struct crate_header *header = &crate->view.header;
    const struct crate_segment *text = &header->segments[CRATE_SEGMENT_TEXT];
    const struct crate_segment *data = &header->segments[CRATE_SEGMENT_DATA];
    bool has_fixups = header->flags & CRATE_FLAG_TEXT_FIXUPS;
    TRY(protect(crate, text->rva, text->mem_size, has_fixups ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC, "text"));
    TRY(protect(crate, data->rva, data->file_size, PROT_READ | PROT_WRITE, "data"));
    return provide_bss(crate, data);
}

struct crateld_error *image_open_rodata(struct loaded_crate *crate, bool is_writable)
{
    const struct crate_segment *rodata = &crate->view.header.segments[CRATE_SEGMENT_RODATA];
    return protect(crate, rodata->rva, rodata->file_size, is_writable ? PROT_READ | PROT_WRITE : PROT_READ,
                   "read-only data");
}

struct crateld_error *image_finish_text(struct loaded_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    const struct crate_segment *text = &header->segments[CRATE_SEGMENT_TEXT];
    if (!(header->flags & CRATE_FLAG_TEXT_FIXUPS))
        return NULL;
    return protect(crate, text->rva, text->mem_size, PROT_READ | PROT_EXEC, "text");
}

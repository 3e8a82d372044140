#define _GNU_SOURCE
#include "loader/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "loader/debugger.h"
#include "loader/expected.h"
#include "loader/image_hole.h"
#include "loader/log.h"
#include "loader/process.h"
#include "loader/valgrind.h"

enum {
    KEPT_FD_MIN = IMAGE_KEPT_FD_MIN,
    PAGE_MASK = CRATE_PAGE_SIZE - 1,
    POPULATE_SIZE = 64 << 10,
    LITTLE_DATA = 8 << 10,   /* bytes: where words of two pages are relocated, most pages are written to */
    FEW_RELR = 128,          /* words of RELR: some 16 pages of pointers, or 64 scattered ones */
    REGION_SIZE = 512 << 20, /* address space, not memory */
};

#define LOW_LIMIT (UINT64_C(1) << 31)

/* Reads up to `size` bytes of the file from `off` on. */
static struct crateld_error *read_file(const char *path, int fd, uint64_t off, void *bytes, size_t size, size_t *ret)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got = pread(fd, (uint8_t *)bytes + have, size - have, (off_t)(off + have));
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

/* Reads the file's first bytes, and the crate header in them. */
static struct crateld_error *read_start(const char *path, int fd, uint64_t file_size, struct image_start *start)
{
    TRY(read_file(path, fd, 0, start->bytes, sizeof start->bytes, &start->size));
    return crate_header_read(path, (struct span){start->bytes, start->size}, file_size, &start->header);
}

/* Makes a view of the needed table and the first strings, if they are in the file's first bytes. */
static void view_start(const char *path, struct image_start *start)
{
    struct crate_table needed = start->header.tables[CRATE_TABLE_NEEDED];
    struct crate_table table = start->header.tables[CRATE_TABLE_STRINGS];
    uint64_t needed_end = needed.count ? needed.rva + (uint64_t)needed.count * sizeof(struct crate_needed) : 0;
    start->has_view = table.rva < start->size && needed_end <= start->size;
    if (!start->has_view)
        return;
    size_t size = start->size - table.rva < table.count ? start->size - table.rva : table.count;
    const char *strings = (const char *)start->bytes + table.rva;
    start->view = (struct crate_view){.path = path, .header = start->header, .strings = strings};
    start->view.needed = (const struct crate_needed *)(start->bytes + (needed.count ? needed.rva : 0));
    while (size && strings[size - 1]) /* the last one may go on behind what was read */
        size--;
    start->view.header.tables[CRATE_TABLE_STRINGS].count = (uint32_t)size;
    start->has_view = size;
}

/* What is known of the file besides its contents. */
static void begin_start(const struct stat *status, bool is_expected, struct image_start *ret)
{
    ret->device = status->st_dev;
    ret->inode = status->st_ino;
    ret->is_expected = is_expected;
}

struct crateld_error *image_read(const char *path, int fd, struct image_start *ret)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return error_errno(errno, "%s: cannot stat", path);
    if (!S_ISREG(status.st_mode))
        return error_create(CRATELD_ERROR_IO, "%s: not a regular file", path);
    begin_start(&status, false, ret);
    TRY(read_start(path, fd, (uint64_t)status.st_size, ret));
    view_start(path, ret);
    return NULL;
}

struct crateld_error *image_read_mapped(const char *path, const uint8_t *mapped, const struct stat *status,
                                        struct image_start *ret)
{
    begin_start(status, true, ret);
    ret->size = (uint64_t)status->st_size < sizeof ret->bytes ? (size_t)status->st_size : sizeof ret->bytes;
    memcpy(ret->bytes, mapped, ret->size);
    TRY(crate_header_read(path, (struct span){ret->bytes, ret->size}, (uint64_t)status->st_size, &ret->header));
    view_start(path, ret);
    return NULL;
}

struct crateld_error *image_open(const struct image_region *region, const char *path, int *fd, struct image_start *ret)
{
    *fd = -1;
    if (expected_read(region, path, ret))
        return NULL;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT)
        return error_create(CRATELD_ERROR_NOT_FOUND, "%s: no such file", path);
    return *fd < 0 ? error_errno(errno, "%s: cannot open", path) : image_read(path, *fd, ret);
}

/* Where an image may lie. */
enum image_place {
    IMAGE_PREFERRED, /* at the preferred base if that is free, else in the region */
    IMAGE_REGION,    /* in the region */
    IMAGE_LOW,       /* below 2 GiB */
};

static enum image_place place_for(const struct crate_header *header, bool has_aslr)
{
    if (header->flags & CRATE_FLAG_LOW)
        return IMAGE_LOW;
#ifdef CRATELD_LOW
    /* The library data that such crates address directly are this program's copies. */
    if (header->flags & CRATE_FLAG_NEAR)
        return IMAGE_LOW;
#endif
    if (!(header->flags & CRATE_FLAG_NEAR) && valgrind_is_running())
        return IMAGE_PREFERRED;
    if (header->flags & CRATE_FLAG_NEAR || has_aslr || header->tables[CRATE_TABLE_RELR].count <= FEW_RELR)
        return IMAGE_REGION;
    return IMAGE_PREFERRED;
}

/* Whether the whole image is writable until it has been relocated, and then all but its data executable. A patch is
 * small, and used at once: so it takes fewer calls, and has two mappings instead of four. (Valgrind wants to see the
 * segments.) */
static bool is_opened_whole(const struct crate_header *header)
{
    return header->flags & CRATE_FLAG_PATCH && !valgrind_is_running();
}

/* Maps the file, read-only unless it is to be relocated as a whole. */
static void *map_file(int fd, void *address, size_t size, int flags, const struct crate_header *header)
{
    int protection = is_opened_whole(header) ? PROT_READ | PROT_WRITE : PROT_READ;
    return mmap(address, size, protection, MAP_PRIVATE | flags, fd, 0);
}

/* At `address` or not at all. */
static void *map_fixed(int fd, uint64_t address, size_t size, const struct crate_header *header)
{
    void *wanted = (void *)(uintptr_t)address;
    if (!address)
        return MAP_FAILED;
    void *base = map_file(fd, wanted, size, MAP_FIXED_NOREPLACE, header);
    if (base == MAP_FAILED || base == wanted)
        return base;
    munmap(base, size); /* a kernel that does not know the flag took the address for a hint */
    return MAP_FAILED;
}

/* Address space without access. */
static uint8_t *reserve(size_t size, int flags)
{
    return mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

/* Takes `size` bytes, a multiple of the page size, from the region, or from a new one when it is used up: half of a
 * region is never filled with images. MAP_FAILED: there is no address space. */
static uint8_t *take_from_region(struct image_region *region, size_t size, size_t align)
{
    size_t left = region->start ? (size_t)(region->end - region->start) : 0;
    if (left < REGION_SIZE / 2 + size + align) {
        size_t wanted = REGION_SIZE > 4 * size ? REGION_SIZE : 4 * size;
        uint8_t *start = reserve(wanted, 0);
        if (start == MAP_FAILED)
            return MAP_FAILED;
        region->start = start; /* an old one stays, for the crates in it */
        region->end = start + wanted;
    }
    region->end -= size + ((uintptr_t)(region->end - size) & (align - 1));
    return region->end;
}

static bool is_low_range(uint64_t base, uint64_t size)
{
    return base + size <= LOW_LIMIT;
}

uint8_t *image_take(struct image_region *region, size_t size)
{
    uint8_t *at = take_from_region(region, size, CRATE_PAGE_SIZE);
    return at == MAP_FAILED ? NULL : at;
}

/* Takes `size` bytes below 2 GiB; MAP_FAILED: there are none. */
static uint8_t *take_low(size_t size, size_t align)
{
    size_t more = align - CRATE_PAGE_SIZE;
    uint8_t *start = reserve(size + more, MAP_32BIT);
    if (start == MAP_FAILED)
        return start;
    if (!is_low_range((uintptr_t)start, size + more)) {
        munmap(start, size + more);
        errno = ENOMEM;
        return MAP_FAILED;
    }
    uint8_t *place = (uint8_t *)(((uintptr_t)start + more) & ~(uintptr_t)(align - 1));
    if (place != start)
        munmap(start, (size_t)(place - start));
    if (place != start + more)
        munmap(place + size, (size_t)(start + more - place));
    return place;
}

/* Address space for an image and, below 2 GiB, the reserve behind it. MAP_FAILED: there is none. */
static uint8_t *take_place(struct image_region *region, const struct crate_header *header, bool is_low,
                           size_t *ret_size)
{
    *ret_size = header->image_size + (is_low ? header->reserve_size : 0);
    return is_low ? take_low(*ret_size, header->image_align) : take_from_region(region, *ret_size, header->image_align);
}

void image_region_deinit(struct image_region *region)
{
    if (region->start)
        munmap(region->start, (size_t)(region->end - region->start));
    free(region->holes.at);
    *region = (struct image_region){0};
}

static struct crateld_error *no_room(const struct loaded_crate *crate, size_t size, bool is_low)
{
    return error_errno(errno, "%s: cannot map 0x%zx bytes%s", crate->path, size, is_low ? " below 2 GiB" : "");
}

/* Maps the image to where the caller wants it. */
static struct crateld_error *map_into_area(struct loaded_crate *crate, int fd, const struct crate_header *header,
                                           const struct image_area *area)
{
    if (header->image_size > area->size || (uintptr_t)area->start & (header->image_align - 1))
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s: an image of 0x%" PRIx64 " bytes, aligned to 0x%" PRIx64
                            ", does not fit into the 0x%" PRIx64 " at %p that were kept for it",
                            crate->path, header->image_size, header->image_align, area->size, area->start);
    void *base = map_file(fd, area->start, header->image_size, MAP_FIXED, header);
    if (base == MAP_FAILED)
        return no_room(crate, header->image_size, false);
    crate->base = base;
    crate->mapped_size = header->image_size;
    return NULL;
}

/* Maps the image with one call, and outside the region the reserve behind it. What lies behind the end of the file must
 * not be touched yet. */
static struct crateld_error *map_image(struct loaded_crate *crate, struct image_region *region, int fd,
                                       const struct crate_header *header, bool has_aslr)
{
    enum image_place place = place_for(header, has_aslr);
    bool is_low = place == IMAGE_LOW;
    void *base = MAP_FAILED;
    crate->mapped_size = header->image_size + header->reserve_size;
    if (place != IMAGE_REGION && !has_aslr && (!is_low || is_low_range(header->preferred_base, header->image_size)))
        base = map_fixed(fd, header->preferred_base, crate->mapped_size, header);
    if (base == MAP_FAILED) {
        uint8_t *at = take_place(region, header, is_low, &crate->mapped_size);
        if (at != MAP_FAILED)
            base = map_file(fd, at, crate->mapped_size, MAP_FIXED, header);
    }
    if (base == MAP_FAILED)
        return no_room(crate, crate->mapped_size, is_low);
    crate->base = base;
    return NULL;
}

/* The image has found its place: what follows from that. */
static struct crateld_error *set_base(struct loaded_crate *crate, const struct crate_header *header)
{
    struct span meta = {crate->base, header->segments[CRATE_SEGMENT_META].file_size};
    crate->toc = (struct crateld_toc *)(crate->base + header->toc_rva);
    return crate_view_place(crate->path, meta, header, &crate->view);
}

/* Maps a patch to the end of what is left of the base's reserve. */
static struct crateld_error *map_into_reserve(struct loaded_crate *patch, int fd, const struct crate_header *header,
                                              struct loaded_crate *base)
{
    size_t used = base->reserve_used;
    struct image_area area = {image_hole_of_reserve(base, header->image_size, header->image_align), header->image_size};
    if (!area.start)
        return error_create(CRATELD_ERROR_RANGE, "%s: 0x%" PRIx64 " bytes have no room within the reach of %s",
                            patch->path, area.size, base->path);
    struct crateld_error *error = map_into_area(patch, fd, header, &area);
    patch->host = error ? NULL : base;
    base->reserve_used = error ? used : base->reserve_used;
    return error;
}

/* Maps a patch to where another had been; *ret is whether there was such a place. */
static struct crateld_error *map_into_hole(struct loaded_crate *patch, int fd, const struct crate_header *header,
                                           const struct image_wish *wish, bool *ret)
{
    struct image_hole hole;
    size_t size = (header->image_size + PAGE_MASK) & ~(size_t)PAGE_MASK;
    *ret = image_hole_take(wish->region, wish->base, size, header->image_align, &hole);
    if (!*ret)
        return NULL;
    struct image_area area = {hole.start, hole.size};
    struct crateld_error *error = map_into_area(patch, fd, header, &area);
    if (!error) {
        patch->is_in_hole = true;
        patch->is_reusing = !hole.is_fresh;
        patch->host = hole.host;
        hole.start += size;
        hole.size -= size;
    }
    image_hole_add(wish->region, &hole);
    return error;
}

/* Maps a patch to where it and its base reach each other. */
static struct crateld_error *map_near(struct loaded_crate *patch, int fd, const struct crate_header *header,
                                      const struct image_wish *wish)
{
    struct loaded_crate *base = wish->base;
    TRY(image_need(base));
    bool is_mapped = false;
    TRY(map_into_hole(patch, fd, header, wish, &is_mapped));
    if (is_mapped)
        return NULL;
    if (base->mapped_size > base->view.header.image_size)
        return map_into_reserve(patch, fd, header, base);
    TRY(map_image(patch, wish->region, fd, header, wish->has_aslr));
    if (image_is_within_reach(loaded_address(patch, 0), header->image_size, base))
        return NULL;
    return error_create(CRATELD_ERROR_RANGE, "%s: 0x%" PRIx64 " bytes have no room within the reach of %s", patch->path,
                        header->image_size, base->path);
}

static struct crateld_error *map(struct loaded_crate *crate, int fd, const struct crate_header *header,
                                 const struct image_wish *wish)
{
    if (wish->base)
        return map_near(crate, fd, header, wish);
    return wish->area ? map_into_area(crate, fd, header, wish->area)
                      : map_image(crate, wish->region, fd, header, wish->has_aslr);
}

static void note_mapping(struct loaded_crate *crate)
{
    crate->is_mapped = true;
    log_state.crates_mapped++;
    LOG(LOG_LOAD, "%s: mapped at %p (preferred: 0x%" PRIx64 ")", crate->path, (void *)crate->base,
        crate->view.header.preferred_base);
}

/* Where descriptors that are kept have to end: half of what the program may have is left to it. */
static int kept_fd_end(struct image_region *region)
{
    struct rlimit limit;
    if (!region->kept_fd_end)
        region->kept_fd_end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 2 < INT_MAX
                                  ? (int)(limit.rlim_cur / 2)
                                  : KEPT_FD_MIN;
    return region->kept_fd_end;
}

/* Whether the crate can do without its mapping until something of it is needed: what is known of it suffices to find
 * what it needs, and where it lies depends on nothing else. */
static bool may_wait(const struct image_start *start, const struct image_wish *wish)
{
    static const uint32_t soon = CRATE_FLAG_EAGER | CRATE_FLAG_PATCH | CRATE_FLAG_BUNDLE | CRATE_FLAG_TEXT_FIXUPS |
                                 CRATE_FLAG_NEAR | CRATE_FLAG_LOW;
    return wish->may_wait && start->has_view && !(start->header.flags & soon) && !start->header.carried_count &&
           !wish->base && !wish->area && place_for(&start->header, wish->has_aslr) == IMAGE_REGION &&
           !debugger_is_watching();
}

/* Gives the crate its place without mapping it; its file is kept for that: the descriptor itself if it is high, which
 * is -1 then. False: there are too many open files, or there is no address space. */
static bool put_off(struct loaded_crate *crate, int *fd, const struct crate_header *header, struct image_region *region)
{
    int kept = *fd >= KEPT_FD_MIN ? *fd : fcntl(*fd, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
    uint8_t *place =
        kept >= 0 && kept < kept_fd_end(region) ? take_place(region, header, false, &crate->mapped_size) : MAP_FAILED;
    if (place == MAP_FAILED) {
        if (kept >= 0 && kept != *fd)
            close(kept);
        return false;
    }
    if (kept == *fd)
        *fd = -1;
    crate->fd = kept;
    crate->base = place;
    return true;
}

void image_take_low(int fd, struct image_low_fds *ret)
{
    int taken = -1;
    ret->count = 0;
    while (ret->count < KEPT_FD_MIN && (taken = fcntl(fd, F_DUPFD_CLOEXEC, 0)) >= 0 && taken < KEPT_FD_MIN)
        ret->fds[ret->count++] = taken;
    if (taken >= KEPT_FD_MIN)
        close(taken);
}

void image_free_low(struct image_low_fds *low)
{
    while (low->count)
        close(low->fds[--low->count]);
}

/* Has the kernel enter the pages of a patch that are about to be written into the page tables, before a page fault
 * enters them read-only with their neighbours: that costs a page fault each, and to tell all processors. It may fail
 * (before Linux 5.14). */
static void populate_patch(const struct loaded_crate *patch, const struct crate_header *header)
{
    for (int kind = CRATE_SEGMENT_TEXT; kind <= CRATE_SEGMENT_DATA; kind++) {
        const struct crate_segment *segment = &header->segments[kind];
        if (kind != CRATE_SEGMENT_RODATA && segment->file_size && segment->file_size <= POPULATE_SIZE)
            (void)madvise(patch->base + segment->rva, segment->file_size, MADV_POPULATE_WRITE);
    }
}

struct crateld_error *image_map(struct loaded_crate *crate, int *fd, const struct image_start *start,
                                const struct image_wish *wish)
{
    bool is_put_off = may_wait(start, wish) && put_off(crate, fd, &start->header, wish->region);
    struct crateld_error *error = NULL;
    crate->device = start->device;
    crate->inode = start->inode;
    if (start->is_expected)
        expected_take(wish->region, &start->header, crate);
    else if (!is_put_off)
        error = map(crate, *fd, &start->header, wish);
    if (!error && is_opened_whole(&start->header))
        populate_patch(crate, &start->header);
    if (!error)
        error = set_base(crate, &start->header);
    if (error) {
        image_unmap(crate);
        return error;
    }
    if (!is_put_off)
        note_mapping(crate);
    return NULL;
}

struct crateld_error *image_move(struct loaded_crate *crate, struct image_region *region, bool is_low)
{
    const struct crate_header header = crate->view.header;
    uint64_t base = (uint64_t)(uintptr_t)crate->base;
    if (is_low ? is_low_range(base, header.image_size) : base != header.preferred_base)
        return NULL;
    size_t size;
    void *place = take_place(region, &header, is_low, &size);
    if (place == MAP_FAILED)
        return no_room(crate, size, is_low);
    if (crate->is_mapped &&
        mremap(crate->base, crate->mapped_size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED)
        return error_errno(errno, "%s: cannot move", crate->path);
    crate->base = place;
    crate->mapped_size = size;
    LOG(LOG_LOAD, "%s: moved to %p, into the reach of others", crate->path, (void *)crate->base);
    return set_base(crate, &header);
}

static bool has_relink(const struct loaded_crate *crate)
{
    return crate->view.header.flags & CRATE_FLAG_HAS_RELINK;
}

static void keep_file(struct loaded_crate *crate, int fd)
{
    if (crate->fd < 0)
        crate->fd = fcntl(fd, F_DUPFD_CLOEXEC, KEPT_FD_MIN);
}

void image_keep_file(struct loaded_crate *crate, int fd)
{
    if (has_relink(crate))
        keep_file(crate, fd);
}

/* Whether the file open at `fd` is the one that the crate was found in. */
static bool is_file_of(const struct loaded_crate *crate, int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && status.st_dev == crate->device && status.st_ino == crate->inode;
}

/* Opens the crate's file; -1 if it was replaced since it was found. */
static int open_same_file(const struct loaded_crate *crate)
{
    /* The program may have gone elsewhere. */
    int fd = open(crate->absolute_path ? crate->absolute_path : crate->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || is_file_of(crate, fd))
        return fd;
    close(fd);
    return -1;
}

bool image_reopen_file(struct loaded_crate *crate)
{
    if (crate->fd >= 0)
        return true;
    int fd AUTO_CLOSE = open_same_file(crate);
    if (fd >= 0)
        keep_file(crate, fd);
    return crate->fd >= 0;
}

void image_release_file(struct loaded_crate *crate)
{
    if (crate->fd >= 0 && !has_relink(crate)) {
        close(crate->fd);
        crate->fd = -1;
    }
}

/* Nobody else may map something into the reserve, so what can not be given back stays. The last patch's part is used
 * again. */
static void leave_reserve(struct loaded_crate *crate)
{
    struct loaded_crate *host = crate->host;
    uint8_t *reserve_end = host->base + host->mapped_size;
    if (image_hole_clear(crate->base, crate->mapped_size) && crate->base == reserve_end - host->reserve_used)
        host->reserve_used = (size_t)(reserve_end - (crate->base + crate->mapped_size));
    crate->host = NULL;
}

void image_unmap(struct loaded_crate *crate)
{
    if (crate->fd >= 0)
        close(crate->fd);
    crate->fd = -1;
    if (crate->is_in_hole)
        image_retire(crate, false);
    else if (crate->host)
        leave_reserve(crate);
    else if (crate->base)
        munmap(crate->base, crate->mapped_size);
    crate->base = NULL;
    crate->is_mapped = false;
}

/* Gives a part of the patch's image back, for others to use. */
static void add_hole(struct loaded_crate *patch, uint64_t rva, uint64_t end)
{
    struct image_hole hole = {.start = patch->base + rva, .size = end - rva, .host = patch->host};
    if (image_hole_clear(hole.start, hole.size))
        image_hole_add(&patch->process->region, &hole);
}

/* Whether the read-only data is another than in the file. */
static bool has_changed_constants(const struct loaded_crate *crate)
{
    for (uint32_t i = 0; i < crate_view_count(&crate->view, CRATE_TABLE_FIXUPS); i++)
        if (crate_segment_has(&crate->view.header, CRATE_SEGMENT_RODATA, crate->view.fixups[i].place_rva, 1, true))
            return true;
    return false;
}

void image_retire(struct loaded_crate *patch, bool keeps_constants)
{
    const struct crate_segment *rodata = &patch->view.header.segments[CRATE_SEGMENT_RODATA];
    uint64_t end = (patch->mapped_size + PAGE_MASK) & ~(uint64_t)PAGE_MASK, constants = end, constants_end = end;
    if (patch->fd >= 0)
        close(patch->fd);
    patch->fd = -1;
    if (keeps_constants) {
        constants = rodata->rva & ~(uint64_t)PAGE_MASK;
        constants_end = (rodata->rva + rodata->mem_size + PAGE_MASK) & ~(uint64_t)PAGE_MASK;
        if (!has_changed_constants(patch))
            (void)madvise(patch->base + constants, constants_end - constants, MADV_DONTNEED);
    }
    add_hole(patch, 0, constants);
    add_hole(patch, constants_end, end);
    patch->base = NULL;
    patch->host = NULL;
    patch->is_in_hole = false;
}

void image_unload(struct loaded_crate *crate, struct image_region *region)
{
    if (region->expected.base == crate)
        expected_close(region);
    image_hole_forget(region, crate);
    if (crate->base == region->end && image_hole_clear(crate->base, crate->mapped_size)) {
        region->end += crate->mapped_size; /* what aligned it stays */
        crate->base = NULL;
    }
    image_unmap(crate);
}

static struct crateld_error *protect(struct loaded_crate *crate, uint64_t rva, uint64_t size, int protection,
                                     const char *what)
{
    if (size && mprotect(crate->base + rva, size, protection) != 0)
        return error_errno(errno, "%s: cannot change the protection of its %s", crate->path, what);
    return NULL;
}

struct crateld_error *image_need(struct loaded_crate *crate)
{
    crate = loaded_image(crate);
    if (crate->is_mapped)
        return NULL;
    if (crate->fd >= 0 && !is_file_of(crate, crate->fd))
        crate->fd = -1; /* the program has closed what it did not open, and the number is another file's now */
    if (!image_reopen_file(crate))
        return error_create(CRATELD_ERROR_IO, "%s: was replaced, and the program has closed its descriptor",
                            crate->path);
    const struct crate_segment *data = &crate->view.header.segments[CRATE_SEGMENT_DATA];
    if (map_file(crate->fd, crate->base, crate->mapped_size, MAP_FIXED, &crate->view.header) == MAP_FAILED)
        return no_room(crate, crate->mapped_size, false);
    /* Before anything is touched: what is read of the tables brings in the pages around, as far as they have the same
     * protection, and those of the data are to be private copies. */
    TRY(protect(crate, data->rva, data->file_size, PROT_READ | PROT_WRITE, "data"));
    crate->is_late = true;
    note_mapping(crate);
    image_release_file(crate);
    debugger_show_late(crate);
    return NULL;
}

struct crateld_error *image_look(struct loaded_crate *crate)
{
    TRY(image_need(crate));
    return crate_view_check(&crate->view);
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

/* Has the kernel enter the pages that are about to be used into the page tables, in two calls: a page fault costs
 * several times that, under hypervisors more. They are the first pages of the image, as many as a page fault would
 * bring in, and those of the TOC that are about to be written: all if it is to be relocated, with the data behind it if
 * that is little, else the first. A crate that was mapped late has been looked at, which has brought in the tables; of
 * its text few pages will be used. It may fail (before Linux 5.14). */
static void populate(const struct loaded_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    uint64_t read_size = header->segments[CRATE_SEGMENT_DATA].rva;
    uint64_t data_size = header->segments[CRATE_SEGMENT_DATA].file_size;
    bool is_relocated = loaded_address(crate, 0) != header->preferred_base;
    uint64_t toc_size = is_relocated ? crate->view.toc.size : sizeof(struct crateld_toc);
    if (read_size > POPULATE_SIZE)
        read_size = POPULATE_SIZE;
    if (toc_size > POPULATE_SIZE)
        toc_size = POPULATE_SIZE;
    if (is_relocated && data_size <= toc_size + LITTLE_DATA)
        toc_size = data_size;
    if (!crate->gates_end && !crate->is_late)
        (void)madvise(crate->base, read_size, MADV_POPULATE_READ);
    (void)madvise(crate->toc, toc_size, MADV_POPULATE_WRITE);
}

/* Maps text and data from the file once more, with the protection they are to have. */
static struct crateld_error *map_segments_again(struct loaded_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    /* Valgrind takes a file that lies below what its headers say for one that lies where they say, and aborts. */
    if (loaded_address(crate, 0) < header->preferred_base)
        return NULL;
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

struct crateld_error *image_protect(struct loaded_crate *crate)
{
    if (crate->is_protected || is_opened_whole(&crate->view.header))
        return NULL;
    if (valgrind_is_running())
        TRY(map_segments_again(crate));
    const struct crate_header *header = &crate->view.header;
    const struct crate_segment *text = &header->segments[CRATE_SEGMENT_TEXT];
    const struct crate_segment *data = &header->segments[CRATE_SEGMENT_DATA];
    bool has_fixups = header->flags & CRATE_FLAG_TEXT_FIXUPS;
    if (!crate->gates_end)
        TRY(protect(crate, text->rva, text->mem_size, has_fixups ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC,
                    "text"));
    if (!crate->is_late)
        TRY(protect(crate, data->rva, data->file_size, PROT_READ | PROT_WRITE, "data"));
    crate->is_protected = true;
    return NULL;
}

struct crateld_error *image_provide(struct loaded_crate *crate)
{
    if (!is_opened_whole(&crate->view.header))
        populate(crate);
    return provide_bss(crate, &crate->view.header.segments[CRATE_SEGMENT_DATA]);
}

struct crateld_error *image_open_rodata(struct loaded_crate *crate, bool is_writable)
{
    const struct crate_segment *rodata = &crate->view.header.segments[CRATE_SEGMENT_RODATA];
    if (is_opened_whole(&crate->view.header))
        return NULL;
    return protect(crate, rodata->rva, rodata->file_size, is_writable ? PROT_READ | PROT_WRITE : PROT_READ,
                   "read-only data");
}

struct crateld_error *image_finish_text(struct loaded_crate *crate)
{
    const struct crate_segment *text = &crate->view.header.segments[CRATE_SEGMENT_TEXT];
    if (is_opened_whole(&crate->view.header))
        return protect(crate, 0, crate->view.header.segments[CRATE_SEGMENT_DATA].rva, PROT_READ | PROT_EXEC, "text");
    if (!(crate->view.header.flags & CRATE_FLAG_TEXT_FIXUPS))
        return NULL;
    return protect(crate, text->rva, text->mem_size, PROT_READ | PROT_EXEC, "text");
}

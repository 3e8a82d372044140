#define _GNU_SOURCE
#include "loader/expected.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "loader/image_hole.h"
#include "loader/valgrind.h"
#include "loader/versions.h"

enum {
    ROOM = 64 << 10, /* bytes that are kept for a patch, where no hole is large enough for the last one */
    PAGE_MASK = CRATE_PAGE_SIZE - 1,
};

/* The crate that the next patch will be for, most likely; NULL: nothing can be said. */
static struct loaded_crate *guess_base(const struct process *process)
{
    if (!process->history.count)
        return process->crates.count ? process->crates.at[0] : NULL;
    const struct version_set *last = process->history.at[process->history.count - 1];
    return last->bases.count ? last->bases.at[last->bases.count - 1] : NULL;
}

/* Takes room for a patch like the last one, or a usual one. */
static bool take_room(struct image_region *region, struct loaded_crate *base, struct image_hole *ret)
{
    size_t wanted = region->expected.last_size ? region->expected.last_size : ROOM / 2;
    if (image_hole_take(region, base, wanted, CRATE_PAGE_SIZE, ret))
        return true;
    wanted = wanted > ROOM ? wanted : ROOM;
    bool has_reserve = base->mapped_size > base->view.header.image_size;
    uint8_t *start = has_reserve ? image_hole_of_reserve(base, wanted, CRATE_PAGE_SIZE) : image_take(region, wanted);
    if (!start)
        return false;
    *ret = (struct image_hole){start, wanted, has_reserve ? base : NULL, true};
    if (image_is_within_reach((uintptr_t)start, wanted, base))
        return true;
    image_hole_add(region, ret);
    return false;
}

/* Maps as much of the file as there is room for, and gives back the rest of that. */
static void map_room(struct image_region *region, struct loaded_crate *base, struct image_hole room, int fd,
                     const struct stat *status)
{
    size_t size = (size_t)status->st_size & ~(size_t)PAGE_MASK;
    if (size > room.size)
        size = room.size;
    if (!size || mmap(room.start, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
        size = 0;
    if (size) {
        /* Its header is read first; no other page is to be there before it is written, if it is to be. */
        (void)madvise(room.start, CRATE_PAGE_SIZE, MADV_POPULATE_READ);
        region->expected = (struct image_expected){.room = {room.start, size, room.host, room.is_fresh},
                                                   .base = base,
                                                   .device = status->st_dev,
                                                   .inode = status->st_ino,
                                                   .last_size = region->expected.last_size};
    }
    room.start += size;
    room.size -= size;
    image_hole_add(region, &room);
}

void expected_open(struct process *process, const char *path)
{
    struct image_region *region = &process->region;
    struct loaded_crate *base = guess_base(process);
    struct stat status;
    struct image_hole room;
    expected_close(region);
    if (!base || !loaded_image(base)->is_mapped || base->view.header.flags & CRATE_FLAG_LOW || valgrind_is_running() ||
        !VEC_RESERVE(&region->holes, 2)) /* for what is left of the room, and for the room when it is given back */
        return;
    int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && take_room(region, base, &room))
        map_room(region, base, room, fd, &status);
}

void expected_close(struct image_region *region)
{
    struct image_hole room = region->expected.room;
    region->expected = (struct image_expected){.last_size = region->expected.last_size};
    if (room.size && image_hole_clear(room.start, room.size))
        image_hole_add(region, &room);
}

void expected_trim(struct image_region *region)
{
    if (!region->expected.base)
        expected_close(region);
}

/* Whether the patch is for the crate that the mapping is near to. */
static bool is_for(const struct image_start *start, const struct loaded_crate *base)
{
    struct crate_needed needed;
    struct crateld_error *error = crate_view_needed(&start->view, 0, &needed);
    bool ret = !error && !strcmp(crate_view_string(&start->view, needed.name), base->name) &&
               !memcmp(needed.build_id, base->view.header.build_id, sizeof needed.build_id);
    crateld_error_destroy(error);
    return ret;
}

bool expected_read(const struct image_region *region, const char *path, struct image_start *ret)
{
    const struct image_expected *expected = &region->expected;
    const struct crate_header *header = &ret->header;
    struct stat status;
    if (!expected->base || stat(path, &status) != 0 || status.st_dev != expected->device ||
        status.st_ino != expected->inode || (size_t)status.st_size < expected->room.size)
        return false;
    /* In a process whose memory is locked, what is read here has been copied before there was anything in the file. */
    struct crateld_error *error = image_read_mapped(path, expected->room.start, &status, ret);
    bool is_right = !error && header->flags & CRATE_FLAG_PATCH && header->image_size <= expected->room.size &&
                    !((uintptr_t)expected->room.start & (header->image_align - 1)) &&
                    !(header->flags & CRATE_FLAG_LOW) && ret->has_view && is_for(ret, expected->base);
    crateld_error_destroy(error);
    return is_right;
}

void expected_take(struct image_region *region, const struct crate_header *header, struct loaded_crate *patch)
{
    struct image_expected *expected = &region->expected;
    size_t size = (header->image_size + PAGE_MASK) & ~(size_t)PAGE_MASK;
    patch->base = expected->room.start;
    patch->mapped_size = header->image_size;
    patch->host = expected->room.host;
    patch->is_in_hole = true;
    patch->is_reusing = !expected->room.is_fresh;
    expected->room.start += size;
    expected->room.size -= size;
    expected->last_size = size;
    expected->base = NULL; /* what is left is given back later */
}

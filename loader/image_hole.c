#define _GNU_SOURCE
#include "loader/image_hole.h"

#include <sys/mman.h>

bool image_hole_clear(uint8_t *start, size_t size)
{
    return mmap(start, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

void image_hole_add(struct image_region *region, const struct image_hole *hole)
{
    struct image_hole united = *hole;
    if (!hole->size)
        return;
    for (size_t i = 0; i < region->holes.count;) {
        const struct image_hole *other = &region->holes.at[i];
        bool is_before = other->start + other->size == united.start;
        bool is_behind = united.start + united.size == other->start;
        if (other->host != united.host || (!is_before && !is_behind)) {
            i++;
            continue;
        }
        united.start = is_before ? other->start : united.start;
        united.size += other->size;
        united.is_fresh &= other->is_fresh;
        region->holes.at[i] = region->holes.at[--region->holes.count];
    }
    (void)!VEC_PUSH(&region->holes, united);
}

void image_hole_forget(struct image_region *region, const struct loaded_crate *host)
{
    size_t count = 0;
    for (size_t i = 0; i < region->holes.count; i++)
        if (region->holes.at[i].host != host)
            region->holes.at[count++] = region->holes.at[i];
    region->holes.count = count;
}

bool image_is_within_reach(uint64_t address, size_t size, const struct loaded_crate *crate)
{
    uint64_t other = loaded_address(crate, 0), start = address < other ? address : other;
    uint64_t end = address + size, other_end = other + crate->view.header.image_size;
    return (end > other_end ? end : other_end) - start <= CRATE_MAX_SIZE;
}

bool image_hole_take(struct image_region *region, struct loaded_crate *base, size_t size, size_t align,
                     struct image_hole *ret)
{
    const struct loaded_crate *host = base->mapped_size > base->view.header.image_size ? base : NULL;
    for (size_t i = 0; i < region->holes.count; i++) {
        const struct image_hole *hole = &region->holes.at[i];
        if (hole->host != host || hole->size < size || (uintptr_t)hole->start & (align - 1) ||
            !image_is_within_reach((uintptr_t)hole->start, size, base))
            continue;
        *ret = *hole;
        region->holes.at[i] = region->holes.at[--region->holes.count];
        return true;
    }
    return false;
}

uint8_t *image_hole_of_reserve(struct loaded_crate *base, size_t size, size_t align)
{
    uint8_t *end = base->base + base->mapped_size - base->reserve_used;
    size_t left = base->mapped_size - base->view.header.image_size - base->reserve_used;
    size_t taken = size + ((uintptr_t)(end - size) & (align - 1));
    if (taken > left)
        return NULL;
    base->reserve_used += taken;
    return end - taken;
}

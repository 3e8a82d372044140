#include "runtime/region.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* Where the parts of a slot begin, and what of each is accessible. */
struct part_layout {
    size_t off;  /* from the instance page */
    size_t size; /* bytes that may be accessible */
};

struct slot_state {
    size_t heap_writable; /* bytes of the heap that are accessible, whether the slot is in use or not */
    bool is_mapped;       /* its parts are accessible */
    bool is_used;
    bool has_run;            /* all of it may have been written */
    struct region_slot slot; /* a copy that the instance can not damage */
};

struct region {
    char *base; /* owned: the whole reservation */
    size_t reserved_size;
    char *first_instance; /* the instance page of slot 0 */
    size_t stride;        /* from slot to slot */
    size_t slot_size;     /* from the instance page to the end of the last guard */
    size_t capacity;
    size_t used_count;
    struct region_limits limits;
    struct part_layout parts[REGION_PART_COUNT];
    enum region_placement placement;
    uint64_t random_state;
    struct slot_state *slots; /* owned */
    size_t *free;             /* owned: a stack of slots that are not in use */
    size_t free_count;
};

/* Checks that `size` is a multiple of the page, and not 0 where `is_needed`. */
static struct crateld_error *check_size(const char *name, size_t size, bool is_needed)
{
    if (size % REGION_PAGE_SIZE)
        return error_create(CRATELD_ERROR_USAGE, "region: %s is %zu bytes, wanted a multiple of %d", name, size,
                            REGION_PAGE_SIZE);
    if (is_needed && !size)
        return error_create(CRATELD_ERROR_USAGE, "region: %s is 0, wanted at least %d bytes", name, REGION_PAGE_SIZE);
    return NULL;
}

static struct crateld_error *check_limits(const struct region_limits *limits)
{
    TRY(check_size("the heap's address space", limits->heap_address_space_size, true));
    TRY(check_size("the heap's memory", limits->heap_memory_size, true));
    TRY(check_size("the stack", limits->stack_size, true));
    TRY(check_size("the globals", limits->globals_size, false));
    TRY(check_size("the signal stack", limits->signal_stack_size, true));
    if (limits->heap_memory_size > limits->heap_address_space_size)
        return error_create(CRATELD_ERROR_USAGE,
                            "region: the heap's memory is %zu bytes, wanted at most its address space, %zu",
                            limits->heap_memory_size, limits->heap_address_space_size);
    return NULL;
}

/* Lays out a slot; error RANGE if its size overflows. */
static struct crateld_error *lay_out(struct region *region)
{
    const struct region_limits *limits = &region->limits;
    const size_t space[REGION_PART_COUNT] = {
        [REGION_INSTANCE] = REGION_PAGE_SIZE,
        [REGION_HEAP] = limits->heap_address_space_size,
        [REGION_STACK] = limits->stack_size,
        [REGION_GLOBALS] = limits->globals_size,
        [REGION_SIGNAL_STACK] = limits->signal_stack_size,
    };
    size_t off = 0;
    for (int part = 0; part < REGION_PART_COUNT; part++) {
        size_t guard = part == REGION_INSTANCE ? 0 : REGION_PAGE_SIZE; /* the heap follows at once: heap - 8 */
        region->parts[part] = (struct part_layout){off, part == REGION_HEAP ? limits->heap_memory_size : space[part]};
        if (__builtin_add_overflow(off, space[part], &off) || __builtin_add_overflow(off, guard, &off))
            return error_create(CRATELD_ERROR_RANGE, "region: the limits' sum overflows");
    }
    region->slot_size = off;
    return NULL;
}

/* Reserves slots whose heaps are aligned; error RANGE if the size overflows. */
static struct crateld_error *reserve(struct region *region, size_t alignment)
{
    size_t stride = region->slot_size, size;
    if (__builtin_add_overflow(stride, alignment - 1, &stride))
        stride = SIZE_MAX;
    stride &= ~(alignment - 1);
    region->stride = stride;
    /* In front: the guard and the first instance page, wherever the first aligned heap lies. */
    if (stride < region->slot_size || __builtin_mul_overflow(stride, region->capacity, &size) ||
        __builtin_add_overflow(size, alignment + 2 * REGION_PAGE_SIZE, &size))
        return error_create(CRATELD_ERROR_RANGE, "region: %zu slots of %zu bytes overflow the address space",
                            region->capacity, region->slot_size);
    char *base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return error_create(CRATELD_ERROR_MEMORY, "region: cannot reserve %zu bytes for %zu slots: %s", size,
                            region->capacity, strerror(errno));
    region->base = base;
    region->reserved_size = size;
    uintptr_t heap = ((uintptr_t)base + 2 * REGION_PAGE_SIZE + alignment - 1) & ~(uintptr_t)(alignment - 1);
    region->first_instance = base + (heap - (uintptr_t)base) - REGION_PAGE_SIZE;
    return NULL;
}

static struct crateld_error *make_free_list(struct region *region)
{
    region->slots = calloc(region->capacity, sizeof *region->slots);
    region->free = calloc(region->capacity, sizeof *region->free);
    if (!region->slots || !region->free)
        return error_memory();
    for (size_t i = 0; i < region->capacity; i++)
        region->free[i] = region->capacity - 1 - i;
    region->free_count = region->capacity;
    return NULL;
}

static struct crateld_error *init(struct region *region, size_t alignment)
{
    TRY(check_limits(&region->limits));
    TRY(lay_out(region));
    TRY(reserve(region, alignment));
    return make_free_list(region);
}

struct crateld_error *region_create_aligned(size_t instance_capacity, const struct region_limits *limits,
                                            size_t heap_alignment, const struct region_opts *opts, struct region **ret)
{
    if (heap_alignment < REGION_PAGE_SIZE || heap_alignment > REGION_ALIGNMENT_MAX ||
        (heap_alignment & (heap_alignment - 1)))
        return error_create(CRATELD_ERROR_USAGE,
                            "region: the heap's alignment is %zu, wanted a power of two from %d to %" PRIu64,
                            heap_alignment, REGION_PAGE_SIZE, REGION_ALIGNMENT_MAX);
    if (!instance_capacity)
        return error_create(CRATELD_ERROR_USAGE, "region: its capacity is 0, wanted at least 1");
    struct region *region = calloc(1, sizeof *region);
    if (!region)
        return error_memory();
    region->capacity = instance_capacity;
    region->limits = *limits;
    region->placement = opts ? opts->placement : REGION_LAST_FREED_FIRST;
    region->random_state = opts ? opts->seed : 0;
    if (!region->random_state && getrandom(&region->random_state, sizeof region->random_state, GRND_NONBLOCK) < 0)
        region->random_state = (uintptr_t)region;
    struct crateld_error *error = init(region, heap_alignment);
    if (error) {
        region_destroy(region);
        return error;
    }
    *ret = region;
    return NULL;
}

struct crateld_error *region_create(size_t instance_capacity, const struct region_limits *limits,
                                    const struct region_opts *opts, struct region **ret)
{
    return region_create_aligned(instance_capacity, limits, REGION_PAGE_SIZE, opts, ret);
}

void region_destroy(struct region *region)
{
    if (!region)
        return;
    if (region->base)
        munmap(region->base, region->reserved_size);
    free(region->slots);
    free(region->free);
    free(region);
}

size_t region_capacity(const struct region *region)
{
    return region->capacity;
}

size_t region_used_count(const struct region *region)
{
    return region->used_count;
}

static char *instance_of(const struct region *region, size_t index)
{
    return region->first_instance + index * region->stride;
}

static struct crateld_error *protect(char *at, size_t size, int protection)
{
    if (!size || mprotect(at, size, protection) == 0)
        return NULL;
    return error_create(CRATELD_ERROR_MEMORY, "region: slot at %p: cannot make %zu bytes %s: %s", (void *)at, size,
                        protection == PROT_NONE ? "inaccessible" : "writable", strerror(errno));
}

/* Makes the parts of a slot writable, its heap excepted. */
static struct crateld_error *map_slot(struct region *region, size_t index)
{
    struct slot_state *state = &region->slots[index];
    for (int part = 0; part < REGION_PART_COUNT && !state->is_mapped; part++)
        if (part != REGION_HEAP)
            TRY(protect(instance_of(region, index) + region->parts[part].off, region->parts[part].size,
                        PROT_READ | PROT_WRITE));
    state->is_mapped = true;
    return NULL;
}

static bool is_zero_page(const char *page)
{
    /* Equal to itself shifted by 8 bytes that are zero: libc compares as fast as the CPU can. */
    uint64_t first;
    memcpy(&first, page, sizeof first);
    return !first && !memcmp(page, page + sizeof first, REGION_PAGE_SIZE - sizeof first);
}

static struct crateld_error *give_back(char *at, size_t size)
{
    if (!size || madvise(at, size, MADV_DONTNEED) == 0)
        return NULL;
    return error_errno(errno, "region: cannot clear %zu bytes at %p", size, (void *)at);
}

/* Makes the `size` bytes at `at` zero. They have been written from their end on where `is_downward` (stacks), else from
 * their start; of a large part, only that end is likely to be needed again. */
static struct crateld_error *clear_part(char *at, size_t size, bool is_downward)
{
    size_t keep = size < REGION_KEEP_SIZE ? size : REGION_KEEP_SIZE, rest = size - keep;
    TRY(give_back(is_downward ? at : at + keep, rest));
    char *begin = is_downward ? at + rest : at, *end = begin + keep;
    if (is_downward)
        while (begin < end && is_zero_page(begin))
            begin += REGION_PAGE_SIZE;
    else
        while (begin < end && is_zero_page(end - REGION_PAGE_SIZE))
            end -= REGION_PAGE_SIZE;
    memset(begin, 0, (size_t)(end - begin));
    return NULL;
}

/* Clears what may have been written: of a slot in which no code has run, its heap, which is all that others write, and
 * what acquisition wrote. */
static struct crateld_error *clear_slot(struct region *region, size_t index)
{
    struct slot_state *state = &region->slots[index];
    char *instance = instance_of(region, index);
    if (!state->has_run) {
        memset(instance, 0, sizeof(struct region_slot));
        return clear_part(instance + region->parts[REGION_HEAP].off, state->heap_writable, false);
    }
    for (int part = 0; part < REGION_PART_COUNT; part++) {
        size_t size = part == REGION_HEAP ? state->heap_writable : region->parts[part].size;
        TRY(clear_part(instance + region->parts[part].off, size, part == REGION_STACK || part == REGION_SIGNAL_STACK));
    }
    state->has_run = false;
    return NULL;
}

void region_slot_enter(struct region_slot *slot)
{
    slot->region->slots[slot->index].has_run = true;
}

/* Writes the instance page of a cleared slot: what it says at its start, and the globals' address at its end. */
static void write_instance(struct region *region, size_t index)
{
    char *instance = instance_of(region, index), *globals = region->slots[index].slot.start[REGION_GLOBALS];
    memcpy(instance, &region->slots[index].slot, sizeof(struct region_slot));
    memcpy(instance + REGION_PAGE_SIZE - sizeof globals, &globals, sizeof globals);
}

static struct crateld_error *check_heap_size(const struct region *region, size_t heap_size)
{
    TRY(check_size("the heap wanted", heap_size, false));
    if (heap_size > region->limits.heap_memory_size)
        return error_create(CRATELD_ERROR_USAGE, "region: a heap of %zu bytes is wanted, the limit is %zu", heap_size,
                            region->limits.heap_memory_size);
    return NULL;
}

/* Makes exactly `heap_size` bytes of the heap accessible. What is taken away is cleared at once, as it may be given
 * again. */
static struct crateld_error *set_heap(struct region *region, size_t index, size_t heap_size)
{
    struct slot_state *state = &region->slots[index];
    char *heap = instance_of(region, index) + region->parts[REGION_HEAP].off;
    if (heap_size > state->heap_writable) {
        TRY(protect(heap + state->heap_writable, heap_size - state->heap_writable, PROT_READ | PROT_WRITE));
    } else if (heap_size < state->heap_writable) {
        TRY(give_back(heap + heap_size, state->heap_writable - heap_size));
        TRY(protect(heap + heap_size, state->heap_writable - heap_size, PROT_NONE));
    }
    state->heap_writable = heap_size;
    return NULL;
}

/* The place in the free list of the slot to hand out next. */
static size_t choose(struct region *region)
{
    if (region->placement == REGION_LAST_FREED_FIRST)
        return region->free_count - 1;
    uint64_t z = region->random_state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % region->free_count;
}

struct crateld_error *region_acquire(struct region *region, size_t heap_size, struct region_slot **ret)
{
    TRY(check_heap_size(region, heap_size));
    if (!region->free_count)
        return error_create(CRATELD_ERROR_MEMORY, "region: all %zu slots are in use", region->capacity);
    size_t place = choose(region), index = region->free[place];
    struct slot_state *state = &region->slots[index];
    TRY(map_slot(region, index));
    TRY(set_heap(region, index, heap_size));
    region->free[place] = region->free[--region->free_count];
    region->used_count++;
    state->is_used = true;
    state->slot =
        (struct region_slot){.magic = REGION_INSTANCE_MAGIC, .index = index, .region = region, .heap_size = heap_size};
    for (int part = 0; part < REGION_PART_COUNT; part++)
        state->slot.start[part] = instance_of(region, index) + region->parts[part].off;
    write_instance(region, index);
    *ret = &state->slot;
    return NULL;
}

struct crateld_error *region_slot_resize_heap(struct region_slot *slot, size_t heap_size)
{
    TRY(check_heap_size(slot->region, heap_size));
    TRY(set_heap(slot->region, slot->index, heap_size));
    slot->heap_size = heap_size;
    memcpy(slot->start[REGION_INSTANCE] + offsetof(struct region_slot, heap_size), &heap_size, sizeof heap_size);
    return NULL;
}

struct crateld_error *region_slot_reset(struct region_slot *slot)
{
    TRY(clear_slot(slot->region, slot->index));
    write_instance(slot->region, slot->index);
    return NULL;
}

struct crateld_error *region_release(struct region_slot *slot)
{
    struct region *region = slot->region;
    struct slot_state *state = &region->slots[slot->index];
    if (!state->is_used)
        return error_create(CRATELD_ERROR_USAGE, "region: slot %zu is released, but is not in use", slot->index);
    state->is_used = false;
    region->used_count--;
    TRY(clear_slot(region, slot->index));
    region->free[region->free_count++] = slot->index;
    return NULL;
}

/* Which part the byte `off` of slot `index` lies in, or which guard. */
static struct region_location locate_in_slot(const struct region *region, size_t index, size_t off)
{
    int part = REGION_PART_COUNT - 1;
    while (part > 0 && off < region->parts[part].off)
        part--;
    size_t size = part == REGION_HEAP ? region->slots[index].heap_writable : region->parts[part].size;
    bool is_inside = region->slots[index].is_mapped && off - region->parts[part].off < size;
    return (struct region_location){is_inside ? REGION_IN_PART : REGION_GUARD, (enum region_part)part, index};
}

struct region_location region_locate(const struct region *region, const void *address)
{
    uintptr_t at = (uintptr_t)address, base = (uintptr_t)region->base, first = (uintptr_t)region->first_instance;
    if (at - base >= region->reserved_size || at < base)
        return (struct region_location){.place = REGION_OUTSIDE};
    if (at < first)
        return (struct region_location){.place = REGION_GUARD_BEFORE};
    size_t index = (at - first) / region->stride, off = (at - first) % region->stride;
    if (index >= region->capacity || off >= region->slot_size)
        return (struct region_location){.place = REGION_GUARD_BEFORE,
                                        .slot_index = index + 1 < region->capacity ? index + 1 : region->capacity - 1};
    return locate_in_slot(region, index, off);
}

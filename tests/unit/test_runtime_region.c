/* Regions of instance slots: what is accessible and what guards, that nothing stays, capacity, placement, limits. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/region.h"
#include "tests/unit/errors.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(runtime_region, .fini = require_no_leaks);

enum { PAGE = REGION_PAGE_SIZE };

static const struct region_limits limits = {.heap_address_space_size = 16 * PAGE,
                                            .heap_memory_size = 8 * PAGE,
                                            .stack_size = 4 * PAGE,
                                            .globals_size = 2 * PAGE,
                                            .signal_stack_size = 3 * PAGE};

/* Whether the system can write to the byte at `at`: no signal comes where it can not. */
static bool is_writable(char *at)
{
    int zero = open("/dev/zero", O_RDONLY);
    char kept = 0;
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    bool is_readable = write(ends[1], at, 1) == 1;
    if (is_readable)
        cr_assert_eq(read(ends[0], &kept, 1), 1);
    bool result = is_readable && read(zero, at, 1) == 1;
    if (result)
        *at = kept;
    close(ends[0]);
    close(ends[1]);
    close(zero);
    return result;
}

static size_t part_size(const struct region_slot *slot, int part)
{
    switch (part) {
    case REGION_INSTANCE:
        return PAGE;
    case REGION_HEAP:
        return slot->heap_size;
    case REGION_STACK:
        return limits.stack_size;
    case REGION_GLOBALS:
        return limits.globals_size;
    default:
        return limits.signal_stack_size;
    }
}

static struct region *make(size_t capacity, const struct region_opts *opts)
{
    struct region *region;
    require_success(region_create(capacity, &limits, opts, &region));
    return region;
}

Test(runtime_region, a_slot_has_the_layout_and_guards_on_every_boundary)
{
    struct region *region = make(3, NULL);
    struct region_slot *slots[3];
    for (int i = 0; i < 3; i++) {
        require_success(region_acquire(region, 5 * PAGE, &slots[i]));
        struct region_slot *slot = slots[i];
        cr_assert_eq(slot->start[REGION_HEAP], slot->start[REGION_INSTANCE] + PAGE);
        cr_assert_eq(slot->start[REGION_STACK], slot->start[REGION_HEAP] + limits.heap_address_space_size + PAGE);
        cr_assert_eq(slot->start[REGION_GLOBALS], slot->start[REGION_STACK] + limits.stack_size + PAGE);
        cr_assert_eq(slot->start[REGION_SIGNAL_STACK], slot->start[REGION_GLOBALS] + limits.globals_size + PAGE);
        char *globals;
        memcpy(&globals, slot->start[REGION_HEAP] - sizeof globals, sizeof globals);
        cr_assert_eq(globals, slot->start[REGION_GLOBALS]);
        cr_assert_arr_eq(slot->start[REGION_INSTANCE], slot, sizeof *slot);
        for (int part = 0; part < REGION_PART_COUNT; part++) {
            char *start = slot->start[part], *end = start + part_size(slot, part);
            cr_assert(is_writable(start) && is_writable(end - 1), "part %d", part);
            if (part != REGION_INSTANCE)
                cr_assert_not(is_writable(end), "behind part %d there is no guard", part);
            if (part != REGION_HEAP)
                cr_assert_not(is_writable(start - 1), "before part %d there is no guard", part);
        }
    }
    for (int i = 0; i < 3; i++)
        require_success(region_release(slots[i]));
    region_destroy(region);
}

/* What region_locate() must say, from the slots' fields alone. */
static struct region_location expected_location(struct region_slot *slots[], size_t count, const char *at)
{
    for (size_t i = 0; i < count; i++)
        for (int part = 0; part < REGION_PART_COUNT; part++) {
            const char *start = slots[i]->start[part];
            const char *next =
                part + 1 < REGION_PART_COUNT ? slots[i]->start[part + 1] : start + limits.signal_stack_size + PAGE;
            if (at >= start && at < next)
                return (struct region_location){at < start + part_size(slots[i], part) ? REGION_IN_PART : REGION_GUARD,
                                                (enum region_part)part, slots[i]->index};
        }
    return (struct region_location){.place = REGION_GUARD_BEFORE};
}

Test(runtime_region, every_page_is_located_and_accessible_accordingly)
{
    struct region *region = make(2, NULL);
    struct region_slot *slots[2];
    require_success(region_acquire(region, 5 * PAGE, &slots[0]));
    require_success(region_acquire(region, 0, &slots[1]));
    char *low = slots[0]->start[0] - PAGE,
         *high = slots[1]->start[REGION_SIGNAL_STACK] + limits.signal_stack_size + PAGE;
    cr_assert_lt(low, high);
    for (char *at = low; at < high; at += PAGE) {
        struct region_location want = expected_location(slots, 2, at), found = region_locate(region, at);
        cr_assert_eq(found.place, want.place, "%td pages in: %d, wanted %d", (at - low) / PAGE, found.place,
                     want.place);
        if (want.place != REGION_GUARD_BEFORE)
            cr_assert(found.part == want.part && found.slot_index == want.slot_index);
        cr_assert_eq(is_writable(at), want.place == REGION_IN_PART, "%td pages in", (at - low) / PAGE);
    }
    cr_assert_eq(region_locate(region, &region).place, REGION_OUTSIDE);
    cr_assert_eq(region_locate(region, NULL).place, REGION_OUTSIDE);
    cr_assert_eq(region_locate(region, (void *)UINTPTR_MAX).place, REGION_OUTSIDE);
    region_destroy(region);
}

static struct region *faulting_region;
static struct region_location fault;
static sigjmp_buf after_fault;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    fault = region_locate(faulting_region, info->si_addr);
    siglongjmp(after_fault, 1);
}

Test(runtime_region, a_handler_is_told_which_guard_of_which_slot_was_hit)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
    cr_assert_eq(sigaction(SIGSEGV, &action, &before), 0);
    faulting_region = make(2, NULL);
    struct region_slot *slots[2];
    for (int i = 0; i < 2; i++)
        require_success(region_acquire(faulting_region, PAGE, &slots[i]));
    for (int i = 0; i < 2; i++)
        for (int part = REGION_HEAP; part < REGION_PART_COUNT; part++) {
            volatile char *at = slots[i]->start[part] + part_size(slots[i], part);
            fault = (struct region_location){0};
            if (!sigsetjmp(after_fault, 1)) {
                *at = 1;
                cr_assert_fail("no fault behind part %d", part);
            }
            cr_assert_eq(fault.place, REGION_GUARD);
            cr_assert_eq((int)fault.part, part);
            cr_assert_eq(fault.slot_index, slots[i]->index);
        }
    sigaction(SIGSEGV, &before, NULL);
    region_destroy(faulting_region);
}

static void require_zero(const char *at, size_t size, const char *what)
{
    for (size_t i = 0; i < size; i++)
        cr_assert_eq(at[i], 0, "%s: byte %zu is %d", what, i, at[i]);
}

/* Everything but what acquisition itself writes on the instance page. */
static void require_clean(const struct region_slot *slot, const struct region_limits *given)
{
    require_zero(slot->start[REGION_INSTANCE] + sizeof *slot, PAGE - sizeof *slot - sizeof(char *), "instance");
    require_zero(slot->start[REGION_HEAP], slot->heap_size, "heap");
    require_zero(slot->start[REGION_STACK], given->stack_size, "stack");
    require_zero(slot->start[REGION_GLOBALS], given->globals_size, "globals");
    require_zero(slot->start[REGION_SIGNAL_STACK], given->signal_stack_size, "signal stack");
}

/* Writes random bytes all over the slot, also over its instance page; or to the heap of one in which no code has run.
 */
static void dirty(struct region_slot *slot, const struct region_limits *given, uint64_t *seed)
{
    bool is_entered = random_below(seed, 3);
    if (is_entered)
        region_slot_enter(slot);
    const size_t sizes[REGION_PART_COUNT] = {PAGE, slot->heap_size, given->stack_size, given->globals_size,
                                             given->signal_stack_size};
    for (int part = 0; part < REGION_PART_COUNT; part++)
        for (uint64_t i = random_below(seed, 20); sizes[part] && i && (is_entered || part == REGION_HEAP); i--)
            slot->start[part][random_below(seed, sizes[part])] = (char)random_below(seed, 256);
}

static void random_lives(const struct region_limits *given, const struct region_opts *opts, uint64_t seed, long rounds)
{
    struct region *region;
    struct region_slot *used[8];
    size_t used_count = 0;
    require_success(region_create(8, given, opts, &region));
    for (long i = 0; i < rounds; i++) {
        size_t pages = given->heap_memory_size / PAGE + 1;
        if (used_count < 8 && random_below(&seed, 2)) {
            require_success(region_acquire(region, random_below(&seed, pages) * PAGE, &used[used_count]));
            require_clean(used[used_count], given);
            dirty(used[used_count++], given, &seed);
        } else if (used_count) {
            size_t k = random_below(&seed, used_count);
            struct region_slot *slot = used[k];
            size_t before = slot->heap_size, after = random_below(&seed, pages) * PAGE;
            switch (random_below(&seed, 3)) {
            case 0:
                require_success(region_release(slot));
                used[k] = used[--used_count];
                break;
            case 1:
                require_success(region_slot_reset(slot));
                require_clean(slot, given);
                dirty(slot, given, &seed);
                break;
            default:
                require_success(region_slot_resize_heap(slot, after));
                cr_assert_eq(slot->heap_size, after);
                if (after > before)
                    require_zero(slot->start[REGION_HEAP] + before, after - before, "grown heap");
                dirty(slot, given, &seed);
            }
        }
        cr_assert_eq(region_used_count(region), used_count);
    }
    region_destroy(region);
}

Test(runtime_region, nothing_of_a_former_instance_is_readable)
{
    uint64_t seed = 11;
    fprintf(stderr, "# seed %d\n", 11);
    random_lives(&limits, NULL, seed, random_rounds(600, 20000));
    random_lives(&limits, &(struct region_opts){.placement = REGION_RANDOM, .seed = 5}, seed,
                 random_rounds(600, 20000));
}

Test(runtime_region, nothing_of_a_former_instance_is_readable_in_large_parts)
{
    struct region_limits large = {.heap_address_space_size = 2 << 20,
                                  .heap_memory_size = 1 << 20,
                                  .stack_size = 512 << 10,
                                  .globals_size = REGION_KEEP_SIZE + PAGE,
                                  .signal_stack_size = REGION_KEEP_SIZE};
    random_lives(&large, NULL, 12, random_rounds(40, 2000));
}

Test(runtime_region, the_last_freed_slot_is_handed_out_first)
{
    struct region *region = make(4, NULL);
    struct region_slot *slots[4], *again;
    for (int i = 0; i < 4; i++) {
        require_success(region_acquire(region, 0, &slots[i]));
        cr_assert_eq(slots[i]->index, (size_t)i);
    }
    require_success(region_release(slots[2]));
    require_success(region_release(slots[1]));
    require_success(region_acquire(region, 0, &again));
    cr_assert_eq(again->index, 1);
    require_success(region_acquire(region, 0, &again));
    cr_assert_eq(again->index, 2);
    region_destroy(region);
}

Test(runtime_region, random_placement_follows_the_seed_and_uses_every_slot)
{
    size_t orders[3][16];
    for (int k = 0; k < 3; k++) {
        struct region *region = make(16, &(struct region_opts){.placement = REGION_RANDOM, .seed = k == 2 ? 9 : 7});
        unsigned seen = 0;
        for (int i = 0; i < 16; i++) {
            struct region_slot *slot;
            require_success(region_acquire(region, 0, &slot));
            orders[k][i] = slot->index;
            seen |= 1u << slot->index;
        }
        cr_assert_eq(seen, 0xffff);
        region_destroy(region);
    }
    cr_assert_arr_eq(orders[0], orders[1], sizeof orders[0]);
    cr_assert_neq(memcmp(orders[0], orders[2], sizeof orders[0]), 0);
}

Test(runtime_region, a_full_region_says_so)
{
    struct region *region = make(2, NULL);
    struct region_slot *slots[2], *third = NULL;
    for (int i = 0; i < 2; i++)
        require_success(region_acquire(region, 0, &slots[i]));
    cr_assert_eq(region_used_count(region), region_capacity(region));
    require_error(region_acquire(region, 0, &third), CRATELD_ERROR_MEMORY, "region: all 2 slots are in use");
    cr_assert_null(third);
    require_success(region_release(slots[0]));
    require_error(region_release(slots[0]), CRATELD_ERROR_USAGE, "slot 0 is released, but is not in use");
    require_success(region_acquire(region, 0, &third));
    require_error(region_slot_resize_heap(third, 9 * PAGE), CRATELD_ERROR_USAGE,
                  "a heap of 36864 bytes is wanted, the limit is 32768");
    require_error(region_slot_resize_heap(third, 5), CRATELD_ERROR_USAGE, "the heap wanted is 5 bytes");
    region_destroy(region);
}

Test(runtime_region, heaps_are_aligned_up_to_4_gib)
{
    for (size_t alignment = PAGE; alignment <= REGION_ALIGNMENT_MAX; alignment <<= 4) {
        struct region *region;
        require_success(region_create_aligned(3, &limits, alignment, NULL, &region));
        for (int i = 0; i < 3; i++) {
            struct region_slot *slot;
            require_success(region_acquire(region, PAGE, &slot));
            cr_assert_eq((uintptr_t)slot->start[REGION_HEAP] % alignment, 0);
            require_clean(slot, &limits);
            enum region_place before = region_locate(region, slot->start[REGION_INSTANCE] - 1).place;
            cr_assert(before == REGION_GUARD_BEFORE || before == REGION_GUARD);
        }
        region_destroy(region);
    }
}

Test(runtime_region, limits_are_checked)
{
    struct region *region = NULL;
    struct region_limits wrong = limits;
    wrong.stack_size = 100;
    require_error(region_create(1, &wrong, NULL, &region), CRATELD_ERROR_USAGE,
                  "region: the stack is 100 bytes, wanted a multiple of 4096");
    wrong.stack_size = 0;
    require_error(region_create(1, &wrong, NULL, &region), CRATELD_ERROR_USAGE, "the stack is 0, wanted at least 4096");
    wrong = limits;
    wrong.heap_memory_size = 17 * PAGE;
    require_error(region_create(1, &wrong, NULL, &region), CRATELD_ERROR_USAGE,
                  "wanted at most its address space, 65536");
    wrong = limits;
    wrong.globals_size = SIZE_MAX - PAGE + 1;
    require_error(region_create(1, &wrong, NULL, &region), CRATELD_ERROR_RANGE, "the limits' sum overflows");
    require_error(region_create(SIZE_MAX / PAGE, &limits, NULL, &region), CRATELD_ERROR_RANGE,
                  "overflow the address space");
    require_error(region_create((size_t)1 << 40, &limits, NULL, &region), CRATELD_ERROR_MEMORY,
                  "region: cannot reserve");
    require_error(region_create(0, &limits, NULL, &region), CRATELD_ERROR_USAGE, "its capacity is 0");
    for (size_t alignment = 0; alignment <= 2 * REGION_ALIGNMENT_MAX; alignment = alignment ? alignment * 3 : 1)
        require_error(region_create_aligned(1, &limits, alignment, NULL, &region), CRATELD_ERROR_USAGE, "power of two");
    cr_assert_null(region);
}

static struct crateld_error *one_life(void)
{
    struct region *region;
    struct crateld_error *error = region_create(3, &limits, NULL, &region);
    if (!error)
        region_destroy(region);
    return error;
}

Test(runtime_region, failing_allocations_are_reported)
{
    cr_assert_gt(failing_memory_try_all(one_life), 0);
}

/* A slot of an instance region is acquired, 4 pages of its heap are written, and it is released; against a slot of the
 * same layout whose parts are made accessible by mprotect when it is acquired, and taken away by madvise and mprotect
 * when it is released, as usual in such regions. Prints the CPU nanoseconds of both for a cycle, the shortest of some
 * rounds, in turns; then ours with code having run in the slot, so that all of its parts are searched.
 *
 * Each user looks, before it writes, at what the one before has written; after a round every byte is looked at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "runtime/region.h"

enum { CYCLES = 2000, ROUNDS = 20, PAGES = 4, PAGE = REGION_PAGE_SIZE };

static const struct region_limits limits = {.heap_address_space_size = 16 * PAGE,
                                            .heap_memory_size = 16 * PAGE,
                                            .stack_size = 2 * PAGE,
                                            .globals_size = PAGE,
                                            .signal_stack_size = 2 * PAGE};

static void check(struct crateld_error *error)
{
    if (!error)
        return;
    fprintf(stderr, "%s\n", crateld_error_message(error));
    exit(1);
}

static void check_call(int result)
{
    if (!result)
        return;
    perror("bench_gc_region");
    exit(1);
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Dirties the pages, each at a place that moves through it, having seen that the last place is clean. */
static void write_pages(volatile char *heap, int cycle)
{
    static int last;
    int place = cycle * 72 % PAGE;
    for (int i = 0; i < PAGES; i++) {
        if (heap[i * PAGE + last])
            abort();
        heap[i * PAGE + place] = 1;
    }
    last = place;
}

/* All of a slot that has just been acquired is zero. */
static void check_clean(struct region *region)
{
    static const char zeros[PAGES * PAGE];
    struct region_slot *slot;
    check(region_acquire(region, PAGES * PAGE, &slot));
    if (memcmp(slot->start[REGION_HEAP], zeros, PAGES * PAGE) ||
        memcmp(slot->start[REGION_STACK], zeros, limits.stack_size) ||
        memcmp(slot->start[REGION_GLOBALS], zeros, limits.globals_size) ||
        memcmp(slot->start[REGION_SIGNAL_STACK], zeros, limits.signal_stack_size))
        abort();
    check(region_release(slot));
}

static void cycle_ours(struct region *region, int has_run, int cycle)
{
    struct region_slot *slot;
    check(region_acquire(region, PAGES * PAGE, &slot));
    if (has_run)
        region_slot_enter(slot);
    write_pages(slot->start[REGION_HEAP], cycle);
    check(region_release(slot));
}

/* The instance page and the heap are next to each other, so one call is for both. */
static void cycle_peer(char *memory, int cycle)
{
    char *stack = memory + PAGE + limits.heap_address_space_size + PAGE, *globals = stack + limits.stack_size + PAGE;
    char *signal_stack = globals + limits.globals_size + PAGE, *end = signal_stack + limits.signal_stack_size;
    check_call(mprotect(memory, PAGE + PAGES * PAGE, PROT_READ | PROT_WRITE));
    check_call(mprotect(stack, limits.stack_size, PROT_READ | PROT_WRITE));
    check_call(mprotect(globals, limits.globals_size, PROT_READ | PROT_WRITE));
    check_call(mprotect(signal_stack, limits.signal_stack_size, PROT_READ | PROT_WRITE));
    *memory = 1; /* what an instance page says */
    write_pages(memory + PAGE, cycle);
    check_call(madvise(memory, (size_t)(end - memory), MADV_DONTNEED));
    check_call(mprotect(memory, (size_t)(end - memory), PROT_NONE));
}

static void keep_shortest(double *best, double took)
{
    if (!*best || took < *best)
        *best = took;
}

int main(void)
{
    struct region *region;
    double ours = 0, ours_run = 0, peer = 0;
    check(region_create(16, &limits, NULL, &region));
    char *memory = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check_call(memory == MAP_FAILED ? -1 : 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int has_run = 0; has_run < 2; has_run++) {
            double start = now_ns();
            for (int i = 0; i < CYCLES; i++)
                cycle_ours(region, has_run, i);
            keep_shortest(has_run ? &ours_run : &ours, now_ns() - start);
            check_clean(region);
        }
        double start = now_ns();
        for (int i = 0; i < CYCLES; i++)
            cycle_peer(memory, i);
        keep_shortest(&peer, now_ns() - start);
    }
    printf("%.1f %.1f %.1f\n", ours / CYCLES, peer / CYCLES, ours_run / CYCLES);
    region_destroy(region);
    return 0;
}

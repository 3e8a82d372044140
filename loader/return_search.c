#define _GNU_SOURCE
#include "loader/return_search.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "crateld/format.h"
#include "loader/context.h"
#include "loader/maps.h"
#include "loader/park.h"

enum {
    NICENESS = 10,
    PAGES = 512, /* that are looked up at once */
};

/* An entry of /proc/self/pagemap: Documentation/admin-guide/mm/pagemap.rst. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define PAGEMAP_SHARED  (UINT64_C(1) << 61) /* of a file, or of shared memory */

struct return_search *return_search_create(void)
{
    void *memory = mmap(NULL, sizeof(struct return_search), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void return_search_destroy(struct return_search *search)
{
    if (search)
        munmap(search, sizeof *search);
}

/* The child. It has one thread, while others may have held any lock: it calls nothing that takes one. */

/* Ends the child, which has not found out. */
static _Noreturn void fail(struct return_search *search, const char *what)
{
    snprintf(search->failure, sizeof search->failure, "%s", what);
    search->is_done = true;
    _exit(1);
}

/* The target whose image the address is in; NULL: none. */
static struct return_target *find_image(struct return_search *search, uint64_t address)
{
    uint32_t low = 0, high = search->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address < search->targets[middle].start)
            high = middle;
        else
            low = middle + 1;
    }
    return low && address < search->targets[low - 1].end ? &search->targets[low - 1] : NULL;
}

static void describe(const struct return_search *search, struct return_target *target, uint64_t place,
                     const struct mapping *mapping)
{
    const struct parked_thread *thread = mapping ? park_find(mapping->start, mapping->end) : NULL;
    const struct return_target *other = find_image((struct return_search *)search, place);
    if (other)
        snprintf(target->where, sizeof target->where, "%s", other->crate->name);
    else if (thread)
        snprintf(target->where, sizeof target->where, "the stack of thread %d", (int)thread->id);
    else
        snprintf(target->where, sizeof target->where, "%.24s, at 0x%llx",
                 mapping && mapping->name ? mapping->name : "memory", (unsigned long long)place);
}

/* The word at `place` of the process's memory leads to `address`. */
static void look(struct return_search *search, uint64_t address, uint64_t place, const struct mapping *mapping)
{
    struct return_target *target = find_image(search, address);
    /* Behind the last instruction is where a call that does not return would return to. */
    if (!target || target->is_found || address < target->text || address > target->text_end)
        return;
    target->is_found = true;
    describe(search, target, place, mapping);
}

/* Looks at the words at `words`, which are those at `place` of the process's memory, whatever that is used for. */
__attribute__((no_sanitize_address)) static void look_at_all(struct return_search *search, const uint64_t *words,
                                                             size_t count, uint64_t place,
                                                             const struct mapping *mapping)
{
    uint64_t low = search->targets[0].start, size = search->targets[search->count - 1].end - low;
    for (size_t i = 0; i < count; i++) {
        uint64_t plain = words[i], unmangled = context_unmangle(plain);
        if (plain - low < size)
            look(search, plain, place + i * sizeof *words, mapping);
        if (unmangled - low < size)
            look(search, unmangled, place + i * sizeof *words, mapping);
    }
}

/* Whether the page counts: not those of the images that are searched for, nor what the search itself has. */
static bool counts(struct return_search *search, uint64_t page)
{
    return !find_image(search, page) && !(page >= search->stack && page < search->stack_end) &&
           page - (uint64_t)(uintptr_t)search >= sizeof *search;
}

/* Of private memory only what was written to is there; the rest is as its file has it, or zero. */
static void search_private(struct return_search *search, int pagemap, const struct mapping *mapping)
{
    static uint64_t entries[PAGES];
    for (uint64_t at = mapping->start; at < mapping->end; at += PAGES * CRATE_PAGE_SIZE) {
        uint64_t left = (mapping->end - at) / CRATE_PAGE_SIZE, count = left < PAGES ? left : PAGES;
        off_t off = (off_t)(at / CRATE_PAGE_SIZE * sizeof *entries);
        if (pread(pagemap, entries, count * sizeof *entries, off) != (ssize_t)(count * sizeof *entries))
            fail(search, "/proc/self/pagemap can not be read");
        for (uint64_t i = 0; i < count; i++) {
            uint64_t page = at + i * CRATE_PAGE_SIZE;
            if (entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED) && !(entries[i] & PAGEMAP_SHARED) &&
                counts(search, page))
                look_at_all(search, (const uint64_t *)(uintptr_t)page, CRATE_PAGE_SIZE / 8, page, mapping);
        }
    }
}

/* Whether memory that is shared may be looked at: reading from devices is not without effect. */
static bool is_memory(const struct mapping *mapping)
{
    const char *name = mapping->name;
    return !name || strncmp(name, "/dev/", 5) != 0 || !strncmp(name, "/dev/shm/", 9) || !strncmp(name, "/dev/zero", 9);
}

/* Of shared memory only what is there, lest pages are made of its holes; all of it if some may be swapped out. */
static void search_shared(struct return_search *search, bool has_swapped, const struct mapping *mapping)
{
    static unsigned char residence[PAGES];
    static uint64_t words[CRATE_PAGE_SIZE / 8];
    for (uint64_t at = mapping->start; at < mapping->end; at += PAGES * CRATE_PAGE_SIZE) {
        uint64_t left = (mapping->end - at) / CRATE_PAGE_SIZE, count = left < PAGES ? left : PAGES;
        if (mincore((void *)(uintptr_t)at, count * CRATE_PAGE_SIZE, residence) != 0)
            fail(search, "shared memory can not be looked at");
        for (uint64_t i = 0; i < count; i++) {
            uint64_t page = at + i * CRATE_PAGE_SIZE;
            struct iovec here = {words, sizeof words}, there = {(void *)(uintptr_t)page, sizeof words};
            /* What is behind the end of its file can not be read. */
            if ((residence[i] & 1 || has_swapped) && counts(search, page) &&
                process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof words)
                look_at_all(search, words, sizeof words / 8, page, mapping);
        }
    }
}

static int open_own(struct return_search *search, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail(search, "/proc can not be read");
    return fd;
}

/* Memory that a child does not get (MADV_DONTFORK) was not looked at. */
static void check_copied(struct return_search *search)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/smaps", (int)getppid());
    int fd = open_own(search, path);
    maps_begin(fd);
    for (const char *line; (line = maps_next_line());)
        if (!strncmp(line, "VmFlags:", 8) && strstr(line, " wr ") && strstr(line, " dc "))
            fail(search, "some memory is not copied to children");
    close(fd);
}

/* What the child's own threads-to-be hold is in memory: registers are in the frames of the signal that held them. */
static void search_memory(struct return_search *search)
{
    struct mapping mapping;
    struct sysinfo info = {0};
    int pagemap = open_own(search, "/proc/self/pagemap"), fd = open_own(search, "/proc/self/maps");
    bool has_swapped = sysinfo(&info) != 0 || info.totalswap != info.freeswap;
    maps_begin(fd);
    while (maps_next(&mapping)) {
        if (mapping.is_private)
            search_private(search, pagemap, &mapping);
        else if (mapping.is_writable && is_memory(&mapping))
            search_shared(search, has_swapped, &mapping);
    }
    close(fd);
    close(pagemap);
}

/* Who can come back to a patch goes on to what that calls: its slots are in its data. */
static void search_found(struct return_search *search)
{
    static bool is_searched[RETURN_SEARCH_MAX];
    for (bool is_new = true; is_new;) {
        is_new = false;
        for (uint32_t i = 0; i < search->count; i++) {
            const struct return_target *target = &search->targets[i];
            const struct crate_segment *data = &target->crate->view.header.segments[CRATE_SEGMENT_DATA];
            if (!target->is_found || is_searched[i])
                continue;
            is_searched[i] = is_new = true;
            uint64_t place = loaded_address(target->crate, (uint32_t)data->rva);
            look_at_all(search, (const uint64_t *)(uintptr_t)place, (size_t)data->mem_size / 8, place, NULL);
        }
    }
}

static _Noreturn void run_child(struct return_search *search)
{
    /* Others wait for the ends of what is open here, and nobody is to wait for this process. */
    if (close_range(0, UINT32_MAX, 0) != 0)
        fail(search, "files can not be closed (before Linux 5.9)");
    struct rlimit nothing = {0};
    (void)setrlimit(RLIMIT_CORE, &nothing);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setpriority(PRIO_PROCESS, 0, NICENESS);
    search_memory(search);
    search_found(search);
    check_copied(search);
    search->is_done = true;
    _exit(0);
}

/* The process. */

struct crateld_error *return_search_start(struct return_search *search, pid_t *ret, uint64_t *ret_ns)
{
    uint64_t start = clock_nanoseconds();
    TRY(park_threads());
    /* No handlers of pthread_atfork(), and no signal when it ends: the program knows nothing of it. */
    long child = syscall(SYS_clone, 0, NULL, NULL, NULL, 0);
    if (!child)
        run_child(search);
    int number = errno;
    *ret_ns = clock_nanoseconds() - start; /* once they are let go they may take the processor from this thread */
    park_release();
    *ret = (pid_t)child;
    return child < 0 ? error_errno(number, "cannot make a process") : NULL;
}

#define _GNU_SOURCE
#include "loader/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "crateld/format.h"

enum {
    PAGE_MASK = CRATE_PAGE_SIZE - 1,
    ROOM = 4, /* pages: a function's entry, and a few that call it */
};

/* For the copies of the next change; used up from its start. */
static struct {
    uint8_t *start; /* owned mapping */
    size_t count;   /* pages */
} room;

struct crateld_error *pages_add(struct pages *pages, uint8_t *address, size_t size, int protection)
{
    uint8_t *first = address - ((uintptr_t)address & PAGE_MASK), *end = address + size;
    for (uint8_t *page = first; page < end; page += CRATE_PAGE_SIZE) {
        if (pages->list.count && pages->list.at[pages->list.count - 1].address == page)
            continue; /* places mostly come in their order */
        if (!VEC_PUSH(&pages->list, (struct page_copy){page, protection}))
            return error_memory();
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const struct page_copy *x = a, *y = b;
    return (x->address > y->address) - (x->address < y->address);
}

static struct crateld_error *failed(const char *what)
{
    return error_errno(errno, "cannot %s copies of pages that are to be changed", what);
}

static uint8_t *map_pages(size_t count)
{
    return mmap(NULL, count * CRATE_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
                0);
}

void pages_make_room(void)
{
    if (room.count == ROOM)
        return;
    uint8_t *start = map_pages(ROOM);
    if (start == MAP_FAILED)
        return;
    if (room.count)
        munmap(room.start, room.count * CRATE_PAGE_SIZE);
    room.start = start;
    room.count = ROOM;
}

/* Memory for that many pages; NULL: there is none. */
static uint8_t *take_room(size_t count)
{
    uint8_t *start = room.start;
    if (count > room.count) {
        start = map_pages(count);
        return start == MAP_FAILED ? NULL : start;
    }
    room.start += count * CRATE_PAGE_SIZE;
    room.count -= count;
    return start;
}

struct crateld_error *pages_copy(struct pages *pages)
{
    size_t count = 0;
    if (!pages->list.count)
        return NULL;
    qsort(pages->list.at, pages->list.count, sizeof *pages->list.at, compare);
    for (size_t i = 0; i < pages->list.count; i++)
        if (!count || pages->list.at[i].address != pages->list.at[count - 1].address)
            pages->list.at[count++] = pages->list.at[i];
    pages->list.count = count;
    pages->copies = take_room(count);
    if (!pages->copies)
        return failed("map");
    for (size_t i = 0; i < count; i++)
        memcpy(pages->copies + i * CRATE_PAGE_SIZE, pages->list.at[i].address, CRATE_PAGE_SIZE);
    return NULL;
}

void pages_write(struct pages *pages, const uint8_t *address, const void *bytes, size_t size)
{
    size_t low = 0, high = pages->list.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (address < pages->list.at[middle].address)
            high = middle;
        else
            low = middle + 1;
    }
    /* The second page of a place that crosses its page's end is the next of the list. */
    uint8_t *copy = pages->copies + (low - 1) * CRATE_PAGE_SIZE;
    memcpy(copy + (address - pages->list.at[low - 1].address), bytes, size);
}

/* Pages from `first` on that are neighbours and alike. */
static size_t run_of(const struct pages *pages, size_t first)
{
    size_t i = first + 1;
    while (i < pages->list.count && pages->list.at[i].address == pages->list.at[i - 1].address + CRATE_PAGE_SIZE &&
           pages->list.at[i].protection == pages->list.at[first].protection)
        i++;
    return i - first;
}

/* Pages from `first` on that get the same protection. */
static size_t alike_of(const struct pages *pages, size_t first)
{
    size_t i = first + 1;
    while (i < pages->list.count && pages->list.at[i].protection == pages->list.at[first].protection)
        i++;
    return i - first;
}

struct crateld_error *pages_seal(struct pages *pages)
{
    for (size_t i = 0, count; i < pages->list.count; i += count) {
        count = alike_of(pages, i);
        if (mprotect(pages->copies + i * CRATE_PAGE_SIZE, count * CRATE_PAGE_SIZE, pages->list.at[i].protection) != 0)
            return failed("protect");
    }
    return NULL;
}

struct crateld_error *pages_replace(struct pages *pages)
{
    while (pages->next < pages->list.count) {
        size_t size = run_of(pages, pages->next) * CRATE_PAGE_SIZE;
        uint64_t start = clock_nanoseconds();
        if (mremap(pages->copies + pages->next * CRATE_PAGE_SIZE, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
                   pages->list.at[pages->next].address) == MAP_FAILED)
            return failed("place");
        uint64_t took = clock_nanoseconds() - start;
        if (took > pages->longest_ns)
            pages->longest_ns = took;
        pages->next += size / CRATE_PAGE_SIZE;
    }
    return NULL;
}

void pages_deinit(struct pages *pages)
{
    if (pages->copies && pages->next < pages->list.count)
        munmap(pages->copies + pages->next * CRATE_PAGE_SIZE, (pages->list.count - pages->next) * CRATE_PAGE_SIZE);
    free(pages->list.at);
    *pages = (struct pages){0};
}

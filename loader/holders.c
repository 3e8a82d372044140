#define _GNU_SOURCE
#include "loader/holders.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crateld/format.h"
#include "loader/address_index.h"
#include "loader/context.h"
#include "loader/maps.h"
#include "loader/park.h"

enum { RECORD_MAX = 2 * CRATE_PAGE_SIZE }; /* bytes that libc's record of a thread takes, behind the thread's pointer */

/* The stretch into which the word points; the count if none. */
static size_t find_stretch(const struct holders_query *query, uint64_t word)
{
    size_t i = 0;
    while (i < query->count &&
           word - (uint64_t)(uintptr_t)query->stretches[i].base - query->stretches[i].rva >= query->stretches[i].size)
        i++;
    return i;
}

static bool is_known(const struct holders_query *query, uint64_t address)
{
    size_t low = 0, high = query->known_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (query->known[middle] < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < query->known_count && query->known[low] == address;
}

/* The first word in [start, end) that counts; NULL if there is none. */
static const uint64_t *search(const struct holders_query *query, uint64_t start, uint64_t end, size_t *stretch)
{
    for (uint64_t at = (start + 7) & ~UINT64_C(7); at + 8 <= end; at += 8) {
        const uint64_t *word = (const uint64_t *)(uintptr_t)at;
        *stretch = find_stretch(query, *word);
        if (*stretch < query->count && !is_known(query, at))
            return word;
    }
    return NULL;
}

static bool found(struct holder *ret, size_t stretch, bool is_fleeting)
{
    ret->stretch = stretch;
    ret->is_fleeting = is_fleeting;
    return true;
}

static bool search_registers(const struct holders_query *query, struct holder *ret)
{
    size_t count;
    const struct parked_thread *threads = park_list(&count);
    for (size_t i = 0; i < count; i++) {
        uint32_t registers = 0;
        const uint64_t *words = threads[i].context ? context_registers(threads[i].context, &registers) : NULL;
        for (uint32_t k = 0; k < registers; k++) {
            size_t stretch = find_stretch(query, words[k]);
            if (stretch == query->count)
                continue;
            snprintf(ret->text, sizeof ret->text, "a register of thread %d", (int)threads[i].id);
            return found(ret, stretch, true);
        }
    }
    return false;
}

static void describe(struct holder *ret, const struct mapping *mapping, const uint64_t *word)
{
    const struct loaded_crate *crate = address_index_find((uint64_t)(uintptr_t)word);
    if (crate)
        snprintf(ret->text, sizeof ret->text, "the data of %s, at 0x%" PRIx64, crate->path,
                 (uint64_t)((const uint8_t *)word - crate->base));
    else
        snprintf(ret->text, sizeof ret->text, "%s, at %p", mapping->name ? mapping->name : "memory",
                 (const void *)word);
}

/* Whether the mapping is the thread's stack and nothing else: as the kernel makes it for the first thread, and as libc
 * does for others, with a guard below and its record of the thread at the top. A stack that lies in a heap is none. */
static bool is_stack_of(const struct parked_thread *thread, const struct mapping *mapping, uint64_t guard_end)
{
    size_t count;
    const struct parked_thread *threads = park_list(&count);
    for (size_t i = 0; i < count; i++)
        if (&threads[i] != thread && threads[i].context && context_sp(threads[i].context) >= mapping->start &&
            context_sp(threads[i].context) < mapping->end)
            return false;
    if (thread->id == getpid() && mapping->name && !strcmp(mapping->name, "[stack]"))
        return true;
    return guard_end == mapping->start && thread->pointer < mapping->end &&
           mapping->end - thread->pointer <= RECORD_MAX && thread->pointer > context_sp(thread->context);
}

/* Of stacks only what is in use is looked at; of this thread's nothing, which may lie in one mapping with others'.
 * `guard_end`: where the inaccessible mapping below it ends; 0: there is none. */
static bool search_mapping(const struct holders_query *query, const struct mapping *mapping, uint64_t guard_end,
                           struct holder *ret)
{
    uint64_t start = mapping->start, end = mapping->end;
    if (!mapping->is_private)
        return false;
    const struct parked_thread *thread = park_find(start, end);
    bool is_stack = thread && is_stack_of(thread, mapping, guard_end);
    if (is_stack && context_sp(thread->context) - CONTEXT_RED_ZONE > start)
        start = context_sp(thread->context) - CONTEXT_RED_ZONE;
    bool has_own = query->own_stack < end && query->own_stack_end > start;
    uint64_t before = has_own && query->own_stack > start ? query->own_stack : has_own ? start : end;
    size_t stretch;
    const uint64_t *word = search(query, start, before, &stretch);
    if (!word && has_own && query->own_stack_end < end)
        word = search(query, query->own_stack_end, end, &stretch);
    if (!word)
        return false;
    if (is_stack)
        snprintf(ret->text, sizeof ret->text, "the stack of thread %d", (int)thread->id);
    else
        describe(ret, mapping, word);
    return found(ret, stretch, thread != NULL);
}

bool holders_find(const struct holders_query *query, struct holder *ret)
{
    struct mapping mapping;
    if (search_registers(query, ret))
        return true;
    int fd AUTO_CLOSE = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(ret->text, sizeof ret->text, "memory that can not be looked at (/proc/self/maps)");
        return found(ret, 0, false);
    }
    maps_begin(fd);
    for (uint64_t guard_end = 0; maps_next(&mapping); guard_end = mapping.is_guard ? mapping.end : 0)
        if (search_mapping(query, &mapping, guard_end, ret))
            return true;
    return false;
}

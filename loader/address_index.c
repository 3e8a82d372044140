#include "loader/address_index.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_CAPACITY = 16,
    TAIL_MAX = 32, /* entries that a reader looks at one by one */
};

struct entry {
    uint64_t start, end;
    struct loaded_crate *crate;
};

/* Entries [0, sorted) are in order of their addresses; those behind them, in the order of their entry. Entries are
 * only appended, or emptied: their end is 0 then, until another crate begins at the same address. Sorting them makes a
 * new index, without those that are empty. */
struct address_index {
    uint32_t sorted;
    uint32_t capacity;
    _Atomic uint32_t count;
    struct entry at[];
};

/* The crates in the order of their entry, likewise; NULL where one was removed. */
struct crate_list {
    uint32_t capacity;
    struct loaded_crate *at[];
};

/* The first ones, so that a program of a few crates allocates nothing. */
static struct {
    struct address_index index;
    struct entry at[FIRST_CAPACITY];
} first = {.index = {.capacity = FIRST_CAPACITY}};
static struct {
    struct crate_list list;
    struct loaded_crate *at[FIRST_CAPACITY];
} first_list = {.list = {.capacity = FIRST_CAPACITY}};

static struct address_index *_Atomic current = &first.index;
static struct crate_list *_Atomic current_list = &first_list.list;
static _Atomic uint32_t added_count, removed_count;

/* What was replaced last, to be filled anew for the next time: a program that is reloaded all day is to take no more
 * memory for that. Who still reads in it finds that `generation` has changed, and looks again. None is ever freed:
 * smaller ones are left, of which all together are smaller than the one that is in use. */
static struct address_index *spare;
static struct crate_list *spare_list;
static _Atomic uint32_t generation; /* goes up after something was replaced, and before that is filled anew */

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static struct address_index *index_for(uint32_t capacity)
{
    struct address_index *index = spare;
    if (!index || index->capacity < capacity) {
        index = calloc(1, sizeof *index + capacity * sizeof *index->at);
        if (index)
            index->capacity = capacity;
    }
    return index;
}

static struct crate_list *list_for(uint32_t capacity)
{
    struct crate_list *list = spare_list;
    if (!list || list->capacity < capacity) {
        list = calloc(1, sizeof *list + capacity * sizeof *list->at);
        if (list)
            list->capacity = capacity;
    }
    return list;
}

static void replace_index(struct address_index *index)
{
    spare = atomic_exchange(&current, index);
    atomic_fetch_add(&generation, 1);
}

static void replace_list(struct crate_list *list)
{
    spare_list = atomic_exchange(&current_list, list);
    atomic_fetch_add(&generation, 1);
}

/* Replaces the list by one without gaps, of the same capacity at least. */
static struct crateld_error *renew_list(uint32_t count)
{
    const struct crate_list *old = atomic_load_explicit(&current_list, memory_order_relaxed);
    struct crate_list *list = list_for(old->capacity);
    if (!list)
        return error_memory();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (old->at[i])
            list->at[kept++] = old->at[i];
    memset(list->at + kept, 0, (list->capacity - kept) * sizeof(struct loaded_crate *));
    replace_list(list);
    return NULL;
}

/* Replaces the index, which is full or has a long tail, by a sorted one with room for more. The list is replaced only
 * if there are gaps. */
static struct crateld_error *renew(const struct address_index *old, uint32_t count, struct address_index **ret)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        kept += old->at[i].end != 0;
    struct address_index *index = index_for(kept == old->capacity ? old->capacity * 2 : old->capacity);
    if (!index)
        return error_memory();
    struct crateld_error *error = kept < count ? renew_list(count) : NULL;
    if (error) {
        if (index != spare)
            free(index);
        return error;
    }
    for (uint32_t i = 0, k = 0; i < count; i++)
        if (old->at[i].end)
            index->at[k++] = old->at[i];
    qsort(index->at, kept, sizeof *index->at, compare_entries);
    index->sorted = kept;
    atomic_store_explicit(&index->count, kept, memory_order_relaxed);
    replace_index(index);
    *ret = index;
    return NULL;
}

static struct crateld_error *add_to_list(struct loaded_crate *crate, uint32_t count)
{
    struct crate_list *list = atomic_load_explicit(&current_list, memory_order_relaxed);
    if (count == list->capacity) {
        struct crate_list *grown = list_for(2 * count);
        if (!grown)
            return error_memory();
        memcpy(grown->at, list->at, count * sizeof *grown->at);
        memset(grown->at + count, 0, (grown->capacity - count) * sizeof(struct loaded_crate *));
        replace_list(grown);
        list = grown;
    }
    list->at[count] = crate;
    return NULL;
}

/* Enters the crate where one was removed that began at the same address; false: there is no such place. */
static bool revive(struct address_index *index, uint32_t count, struct loaded_crate *crate)
{
    struct crate_list *list = atomic_load_explicit(&current_list, memory_order_relaxed);
    uint64_t start = (uint64_t)(uintptr_t)crate->base;
    uint32_t i = 0, gap = 0;
    while (i < count && (index->at[i].start != start || index->at[i].end))
        i++;
    while (gap < count && list->at[gap])
        gap++;
    if (i == count || gap == count)
        return false;
    __atomic_store_n(&list->at[gap], crate, __ATOMIC_RELEASE);
    index->at[i].crate = crate;
    __atomic_store_n(&index->at[i].end, start + crate->view.header.image_size, __ATOMIC_RELEASE);
    atomic_fetch_add(&added_count, 1);
    return true;
}

struct crateld_error *address_index_add(struct loaded_crate *crate)
{
    struct address_index *index = atomic_load_explicit(&current, memory_order_relaxed);
    uint32_t count = atomic_load_explicit(&index->count, memory_order_relaxed);
    if (atomic_load(&removed_count) && revive(index, count, crate))
        return NULL;
    if (count == index->capacity || count - index->sorted == TAIL_MAX)
        TRY(renew(index, count, &index));
    count = atomic_load_explicit(&index->count, memory_order_relaxed);
    TRY(add_to_list(crate, count));
    uint64_t start = (uint64_t)(uintptr_t)crate->base;
    index->at[count] = (struct entry){start, start + crate->view.header.image_size, crate};
    atomic_store_explicit(&index->count, count + 1, memory_order_release);
    atomic_fetch_add(&added_count, 1);
    return NULL;
}

void address_index_remove(const struct loaded_crate *crate)
{
    struct address_index *index = atomic_load_explicit(&current, memory_order_relaxed);
    struct crate_list *list = atomic_load_explicit(&current_list, memory_order_relaxed);
    uint32_t count = atomic_load_explicit(&index->count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        if (list->at[i] == crate)
            __atomic_store_n(&list->at[i], NULL, __ATOMIC_RELEASE);
        if (index->at[i].crate != crate || !index->at[i].end)
            continue;
        __atomic_store_n(&index->at[i].end, 0, __ATOMIC_RELEASE);
        atomic_fetch_add(&removed_count, 1);
    }
}

static bool holds(const struct entry *entry, uint64_t address)
{
    return address >= entry->start && address < __atomic_load_n(&entry->end, __ATOMIC_ACQUIRE);
}

static struct loaded_crate *look_up(uint64_t address)
{
    const struct address_index *index = atomic_load_explicit(&current, memory_order_acquire);
    uint32_t count = atomic_load_explicit(&((struct address_index *)index)->count, memory_order_acquire);
    uint32_t low = 0, high = index->sorted;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (address < index->at[middle].start)
            high = middle;
        else
            low = middle + 1;
    }
    if (low && holds(&index->at[low - 1], address))
        return index->at[low - 1].crate;
    for (uint32_t i = index->sorted; i < count; i++) {
        if (holds(&index->at[i], address))
            return index->at[i].crate;
    }
    return NULL;
}

/* Whether what was read since `before` was found has been replaced meanwhile. */
static bool is_outdated(uint32_t before)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&generation, memory_order_relaxed) != before;
}

struct loaded_crate *address_index_find(uint64_t address)
{
    uint32_t before;
    struct loaded_crate *crate;
    do {
        before = atomic_load(&generation);
        crate = look_up(address);
    } while (is_outdated(before));
    return crate;
}

static struct loaded_crate *next_of(uint32_t *cursor)
{
    const struct address_index *index = atomic_load_explicit(&current, memory_order_acquire);
    uint32_t count = atomic_load_explicit(&((struct address_index *)index)->count, memory_order_acquire);
    /* A list has room for as many as the index that was replaced before it. */
    struct crate_list *list = atomic_load_explicit(&current_list, memory_order_acquire);
    struct loaded_crate *crate = NULL;
    while (!crate && *cursor < count && *cursor < list->capacity)
        crate = __atomic_load_n(&list->at[(*cursor)++], __ATOMIC_ACQUIRE);
    return crate;
}

struct loaded_crate *address_index_next(uint32_t *cursor)
{
    uint32_t before, from = *cursor;
    struct loaded_crate *crate;
    do {
        before = atomic_load(&generation);
        *cursor = from;
        crate = next_of(cursor);
    } while (is_outdated(before));
    return crate;
}

void address_index_counts(uint32_t *ret_added, uint32_t *ret_removed)
{
    *ret_added = atomic_load(&added_count);
    *ret_removed = atomic_load(&removed_count);
}

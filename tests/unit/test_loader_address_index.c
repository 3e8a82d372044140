#include <criterion/criterion.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "loader/address_index.h"

/* The index is the OS process's, is never emptied and keeps outgrown arrays: leaks are not looked for. */
TestSuite(loader_address_index);

enum { CRATES = 700, IMAGE = 0x3000 };

static struct loaded_crate crates[CRATES];

/* Addresses in no order, not next to each other. */
static uint64_t base_of(uint32_t i)
{
    return 0x10000000 + (uint64_t)(i * 7919u % 1009u) * 0x10000;
}

static void add(uint32_t i)
{
    crates[i].base = (uint8_t *)(uintptr_t)base_of(i);
    crates[i].view.header.image_size = IMAGE;
    cr_assert_null(address_index_add(&crates[i]));
}

Test(loader_address_index, every_address_of_an_image_and_no_other_is_found)
{
    for (uint32_t n = 0; n < CRATES; n++) {
        add(n);
        for (uint32_t i = 0; i <= n; i += 1 + n / 16) {
            cr_assert_eq(address_index_find(base_of(i)), &crates[i]);
            cr_assert_eq(address_index_find(base_of(i) + IMAGE - 1), &crates[i]);
            cr_assert_null(address_index_find(base_of(i) + IMAGE));
            cr_assert_null(address_index_find(base_of(i) - 1));
        }
    }
    uint32_t cursor = 0;
    for (uint32_t i = 0; i < CRATES; i++)
        cr_assert_eq(address_index_next(&cursor), &crates[i]);
    cr_assert_null(address_index_next(&cursor));
    cr_assert_null(address_index_find(0));
    cr_assert_null(address_index_find(UINT64_MAX));
}

static atomic_uint added, misses;

static void *read_all(void *unused)
{
    (void)unused;
    uint32_t count;
    while ((count = atomic_load(&added)) < CRATES) {
        for (uint32_t i = 0; i < count; i++)
            if (address_index_find(base_of(i) + 5) != &crates[i])
                atomic_fetch_add(&misses, 1);
    }
    return NULL;
}

Test(loader_address_index, readers_find_what_was_added_while_others_add)
{
    pthread_t threads[2];
    for (int t = 0; t < 2; t++)
        cr_assert_eq(pthread_create(&threads[t], NULL, read_all, NULL), 0);
    for (uint32_t i = 0; i < CRATES; i++) {
        add(i);
        atomic_store(&added, i + 1);
    }
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    cr_assert_eq(atomic_load(&misses), 0);
}

static void *read_first(void *unused)
{
    (void)unused;
    while (atomic_load(&added) < CRATES) {
        if (address_index_find(base_of(0) + 5) != &crates[0] || address_index_find(base_of(1) + 5) != &crates[1])
            atomic_fetch_add(&misses, 1);
        uint32_t cursor = 0;
        if (address_index_next(&cursor) != &crates[0])
            atomic_fetch_add(&misses, 1);
    }
    return NULL;
}

/* One crate after the other comes and goes, each elsewhere. */
static void come_and_go(uint32_t rounds)
{
    for (uint32_t n = 0; n < rounds; n++)
        for (uint32_t i = 2; i < CRATES; i++) {
            add(i);
            address_index_remove(&crates[i]);
        }
}

Test(loader_address_index, crates_that_come_and_go_take_no_more_memory_and_readers_find_the_others)
{
    enum { ROUNDS = 50 };
    pthread_t threads[2];
    add(0);
    add(1);
    for (int t = 0; t < 2; t++)
        cr_assert_eq(pthread_create(&threads[t], NULL, read_first, NULL), 0);
    come_and_go(1);
    size_t before = mallinfo2().uordblks;
    come_and_go(ROUNDS);
    size_t after = mallinfo2().uordblks;
    atomic_store(&added, CRATES);
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    cr_assert_eq(atomic_load(&misses), 0);
    cr_assert_leq(after, before, "%zu bytes more", after - before);
}

/* What is left, however many came and went. */
static void require_only(uint32_t first)
{
    uint32_t cursor = 0;
    for (uint32_t i = 0; i < CRATES; i++) {
        cr_assert_eq(address_index_find(base_of(i)), i < first ? NULL : &crates[i]);
        if (i >= first)
            cr_assert_eq(address_index_next(&cursor), &crates[i]);
    }
    cr_assert_null(address_index_next(&cursor));
}

Test(loader_address_index, what_was_removed_is_not_found_and_its_place_is_used_again)
{
    uint32_t added_before, removed_before, is_added, is_removed;
    for (uint32_t i = 0; i < CRATES; i++)
        add(i);
    address_index_counts(&added_before, &removed_before);
    cr_assert_eq(added_before, CRATES);
    for (uint32_t i = 0; i < CRATES / 2; i++)
        address_index_remove(&crates[i]);
    address_index_remove(&crates[0]);
    require_only(CRATES / 2);
    address_index_counts(&is_added, &is_removed);
    cr_assert(is_added == CRATES && is_removed == removed_before + CRATES / 2);
    /* Another crate at the same place, and a larger one over several. */
    static struct loaded_crate others[5000];
    for (uint32_t i = 0; i < 5000; i++) {
        others[i].base = (uint8_t *)(uintptr_t)base_of(3);
        others[i].view.header.image_size = IMAGE + i;
        cr_assert_null(address_index_add(&others[i]));
        cr_assert_eq(address_index_find(base_of(3) + IMAGE + i - 1), &others[i]);
        cr_assert_null(address_index_find(base_of(3) + IMAGE + i));
        address_index_remove(&others[i]);
        cr_assert_null(address_index_find(base_of(3)));
    }
    require_only(CRATES / 2);
}

static atomic_bool is_done;

static void *read_the_rest(void *unused)
{
    (void)unused;
    while (!atomic_load(&is_done))
        for (uint32_t i = CRATES / 2; i < CRATES; i += 7)
            if (address_index_find(base_of(i) + 5) != &crates[i])
                atomic_fetch_add(&misses, 1);
    return NULL;
}

Test(loader_address_index, readers_find_what_stays_while_others_come_and_go)
{
    pthread_t thread;
    for (uint32_t i = CRATES / 2; i < CRATES; i++)
        add(i);
    cr_assert_eq(pthread_create(&thread, NULL, read_the_rest, NULL), 0);
    for (uint32_t n = 0; n < 20000; n++) {
        add(n % (CRATES / 2));
        address_index_remove(&crates[n % (CRATES / 2)]);
    }
    atomic_store(&is_done, true);
    pthread_join(thread, NULL);
    cr_assert_eq(atomic_load(&misses), 0);
}

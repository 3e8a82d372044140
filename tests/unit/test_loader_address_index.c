#include <criterion/criterion.h>
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
    for (uint32_t i = 0; i < CRATES; i++)
        cr_assert_eq(address_index_at(i), &crates[i]);
    cr_assert_null(address_index_at(CRATES));
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

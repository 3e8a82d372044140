#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "loader/tls.h"

/* Criterion forks its workers from a process with threads; a worker has one, and so had the programs we stand for. */
static void be_single_threaded(void)
{
    __libc_single_threaded = 1;
}

/* Blocks of thread-locals live as long as the OS process: leaks are not looked for. */
TestSuite(loader_tls, .init = be_single_threaded);

/* A crate whose block starts with the bytes of `text`. */
static struct loaded_crate make(const char *text, uint64_t size, uint32_t align, uint32_t flags)
{
    struct loaded_crate crate = {.path = "test.crate", .base = (uint8_t *)text};
    crate.view.header = (struct crate_header){
        .flags = flags, .tls_file_size = (uint32_t)strlen(text), .tls_mem_size = size, .tls_align = align};
    return crate;
}

static void place(struct loaded_crate *crate)
{
    cr_assert_null(tls_reserve(crate));
    cr_assert_null(tls_publish(crate));
}

static char *variable(const struct loaded_crate *crate, uint64_t offset)
{
    struct tls_index index = tls_index_of(crate, offset);
    return tls_get_address(&index);
}

static void *check_in_thread(void *argument)
{
    const struct loaded_crate *crates = argument;
    for (int i = 0; i < 2; i++) {
        if (strcmp(variable(&crates[i], 0), i ? "dynamic" : "static") != 0)
            return (void *)"wrong initial value";
        variable(&crates[i], 0)[0] = 'X';
        for (int k = 8; k < 64; k++)
            if (variable(&crates[i], (uint64_t)k)[0])
                return (void *)"the rest is not zero";
    }
    return NULL;
}

Test(loader_tls, threads_start_with_the_image_and_have_their_own)
{
    struct loaded_crate crates[2] = {make("static", 64, 16, CRATE_FLAG_STATIC_TLS), make("dynamic", 20000, 4096, 0)};
    place(&crates[0]);
    place(&crates[1]);
    cr_assert(tls_is_static(&crates[0]));
    cr_assert_not(tls_is_static(&crates[1]));
    for (int round = 0; round < 3; round++) {
        pthread_t thread;
        void *fault = NULL;
        cr_assert_eq(pthread_create(&thread, NULL, check_in_thread, crates), 0);
        cr_assert_eq(pthread_join(thread, &fault), 0);
        cr_assert_null(fault, "%s", (const char *)fault);
    }
    cr_assert_str_eq(variable(&crates[0], 0), "static");
    cr_assert_str_eq(variable(&crates[1], 0), "dynamic");
    cr_assert_eq((uintptr_t)variable(&crates[0], 0) % 16, 0);
    cr_assert_eq((uintptr_t)variable(&crates[1], 0) % 4096, 0);
}

Test(loader_tls, static_blocks_lie_at_one_distance_from_the_thread_pointer)
{
    struct loaded_crate a = make("a", 40, 8, CRATE_FLAG_STATIC_TLS), b = make("b", 8, 64, CRATE_FLAG_STATIC_TLS);
    place(&a);
    place(&b);
    char *tp = __builtin_thread_pointer();
    cr_assert_eq(variable(&a, 3), tp + a.tls.tp_offset + 3);
    cr_assert_eq(variable(&b, 0), tp + b.tls.tp_offset);
    cr_assert(b.tls.tp_offset >= a.tls.tp_offset + 40 || b.tls.tp_offset + 8 <= a.tls.tp_offset);
    cr_assert_eq((uintptr_t)variable(&b, 0) % 64, 0);
}

Test(loader_tls, a_block_that_does_not_fit_the_pool_is_an_error_only_if_it_must)
{
    struct loaded_crate big = make("", TLS_POOL_SIZE + 1, 8, CRATE_FLAG_STATIC_TLS);
    struct crateld_error *error = tls_reserve(&big);
    cr_assert_not_null(error);
    cr_assert_eq(crateld_error_code(error), CRATELD_ERROR_RANGE);
    cr_assert_not_null(strstr(crateld_error_message(error), "16385 bytes"), "%s", crateld_error_message(error));
    crateld_error_destroy(error);
    big.view.header.flags = 0;
    place(&big);
    cr_assert_not(tls_is_static(&big));
    memset(variable(&big, 0), 1, TLS_POOL_SIZE + 1);
}

Test(loader_tls, many_dynamic_blocks_are_told_apart)
{
    enum { COUNT = 100 };
    static struct loaded_crate crates[COUNT];
    for (int i = 0; i < COUNT; i++) {
        crates[i] = make("", 20000, 8, 0);
        place(&crates[i]);
    }
    for (int i = 0; i < COUNT; i++)
        memset(variable(&crates[i], 0), i, 20000);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(*variable(&crates[i], 19999), (char)i);
}

static void *idle(void *unused)
{
    return unused;
}

Test(loader_tls, initial_values_can_not_reach_threads_that_run)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, idle, NULL), 0);
    __libc_single_threaded = 0; /* glibc has done so once before the fork, and does it once only */
    struct loaded_crate zero = make("", 8, 8, CRATE_FLAG_STATIC_TLS), one = make("x", 8, 8, CRATE_FLAG_STATIC_TLS);
    place(&zero);
    struct crateld_error *error = tls_reserve(&one);
    cr_assert_not_null(error);
    cr_assert_not_null(strstr(crateld_error_message(error), "threads run already"));
    crateld_error_destroy(error);
    one.view.header.flags = 0;
    place(&one);
    cr_assert_not(tls_is_static(&one));
    cr_assert_eq(*variable(&one, 0), 'x');
    pthread_join(thread, NULL);
}

/* A destructor of the program's own key that uses a dynamic block, whatever the order of keys. */
static struct loaded_crate late;
static char seen;

static void use_late(void *unused)
{
    (void)unused;
    seen = *variable(&late, 1);
}

static void *set_both(void *argument)
{
    pthread_key_t *key = argument;
    pthread_setspecific(*key, &late);
    variable(&late, 0)[1] = 'Y';
    return NULL;
}

Test(loader_tls, destructors_of_a_thread_still_see_its_blocks)
{
    pthread_key_t key;
    pthread_t thread;
    late = make("L", 20000, 8, 0);
    place(&late);
    *variable(&late, 0) = 'M'; /* our key comes first */
    cr_assert_eq(pthread_key_create(&key, use_late), 0);
    cr_assert_eq(pthread_create(&thread, NULL, set_both, &key), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(seen, 'Y');
}

Test(loader_tls, access_keeps_errno)
{
    struct loaded_crate crate = make("", 20000, 8, 0);
    place(&crate);
    errno = 77;
    variable(&crate, 0);
    cr_assert_eq(errno, 77);
}

#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader/export_object.h"
#include "tests/unit/leaks.h"

TestSuite(loader_export_object, .fini = require_no_leaks);

static void *open_object(const struct export_symbol *symbols, size_t count)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    char path[64];
    cr_assert_null(export_object_build("test-exports", symbols, count, &bytes, &size));
    int fd = memfd_create("object", MFD_CLOEXEC);
    cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
    free(bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    void *handle = dlopen(path, RTLD_NOW);
    cr_assert_not_null(handle, "%s", dlerror());
    close(fd);
    return handle;
}

static int answer(void)
{
    return 42;
}

Test(loader_export_object, ld_so_finds_absolute_symbols_of_both_kinds)
{
    static int variable = 5;
    struct export_symbol symbols[] = {
        {"answer", (uint64_t)(uintptr_t)answer, 10, true},
        {"variable", (uint64_t)(uintptr_t)&variable, sizeof variable, false},
    };
    void *handle = open_object(symbols, 2);
    int (*function)(void) = (int (*)(void))dlsym(handle, "answer");
    cr_assert_not_null(function);
    cr_assert_eq(function(), 42);
    cr_assert_eq(dlsym(handle, "variable"), &variable);
    cr_assert_null(dlsym(handle, "answers"));
    dlclose(handle);
}

Test(loader_export_object, the_first_of_two_symbols_of_one_name_counts)
{
    struct export_symbol symbols[] = {{"x", 0x1000, 0, false}, {"y", 1, 0, false}, {"x", 0x2000, 0, false}};
    void *handle = open_object(symbols, 3);
    cr_assert_eq((uintptr_t)dlsym(handle, "x"), 0x1000);
    dlclose(handle);
}

Test(loader_export_object, thousands_of_symbols_are_found)
{
    enum { COUNT = 3000 };
    static char names[COUNT][16];
    static struct export_symbol symbols[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "symbol%llu", (unsigned long long)i);
        symbols[i] = (struct export_symbol){names[i], 0x100000 + i, 0, i % 2};
    }
    void *handle = open_object(symbols, COUNT);
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert_eq((uintptr_t)dlsym(handle, names[i]), 0x100000 + i);
    dlclose(handle);
}

Test(loader_export_object, an_object_without_symbols_opens)
{
    void *handle = open_object(NULL, 0);
    cr_assert_null(dlsym(handle, "x"));
    dlclose(handle);
}

#define _GNU_SOURCE
#include "loader/backtrace.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Prints one address as glibc does, into `size` bytes; returns the whole length. */
static int print_address(char *at, size_t size, const void *address)
{
    Dl_info info = {0};
    if (!dladdr(address, &info) || !info.dli_fname || !*info.dli_fname)
        return snprintf(at, size, "[%p]", address);
    /* Without a symbol the distance counts from the file's base. */
    const void *start = info.dli_sname ? info.dli_saddr : info.dli_fbase;
    bool is_below = (uintptr_t)address < (uintptr_t)start;
    uintptr_t distance = is_below ? (uintptr_t)start - (uintptr_t)address : (uintptr_t)address - (uintptr_t)start;
    return snprintf(at, size, "%s(%s%c0x%" PRIxPTR ") [%p]", info.dli_fname, info.dli_sname ? info.dli_sname : "",
                    is_below ? '-' : '+', distance, address);
}

char **backtrace_names(void *const *addresses, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += (size_t)print_address(NULL, 0, addresses[i]) + 1;
    char **names = malloc((size_t)count * sizeof *names + size + 1);
    if (!names)
        return NULL;
    char *at = (char *)(names + count);
    for (int i = 0; i < count; i++) {
        names[i] = at;
        size_t length = (size_t)print_address(at, size, addresses[i]) + 1;
        at += length;
        size -= length;
    }
    return names;
}

void backtrace_print(void *const *addresses, int count, int fd)
{
    for (int i = 0; i < count; i++) {
        char line[512];
        int length = print_address(line, sizeof line - 1, addresses[i]);
        size_t size = (size_t)length < sizeof line - 1 ? (size_t)length : sizeof line - 2;
        line[size++] = '\n';
        (void)!write(fd, line, size);
    }
}

/* Preloaded into a program under test: lets allocations and disk space run out, and cuts a file short while it is in
 * use. What it does is told by the environment:
 *
 *   FAULT_MEMORY_AT=N   the Nth allocation fails, counted from 0 (FAULT_MEMORY_ALL=1: and all that follow)
 *   FAULT_DISK_AT=N     the Nth file that is to grow finds the disk full
 *   FAULT_TRUNCATE=FILE when a file is to grow, FILE is emptied first
 *   FAULT_MARK=FILE     FILE is made when a fault happened
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* glibc's own names for what is replaced here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);
void *__libc_memalign(size_t align, size_t size);

/* Counters of one kind of fault. */
struct fault {
    const char *variable;
    bool is_known; /* the environment has been asked */
    bool is_on;
    bool is_lasting;
    unsigned long at;
    unsigned long turn;
};

static struct fault memory = {.variable = "FAULT_MEMORY_AT"}, disk = {.variable = "FAULT_DISK_AT"};

static void mark(void)
{
    const char *path = getenv("FAULT_MARK");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd >= 0)
        close(fd);
}

static bool strikes(struct fault *fault)
{
    if (!fault->is_known) {
        const char *at = getenv(fault->variable);
        fault->is_known = true;
        fault->is_on = at != NULL;
        fault->at = at ? strtoul(at, NULL, 10) : 0;
        fault->is_lasting = getenv("FAULT_MEMORY_ALL") != NULL;
    }
    if (!fault->is_on)
        return false;
    unsigned long turn = fault->turn++;
    if (turn != fault->at && !(fault->is_lasting && turn > fault->at))
        return false;
    mark();
    return true;
}

static void *fail(void)
{
    errno = ENOMEM;
    return NULL;
}

#pragma GCC visibility push(default) /* these take the place of libc's */

void *malloc(size_t size)
{
    return strikes(&memory) ? fail() : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return strikes(&memory) ? fail() : __libc_calloc(count, size);
}

void *realloc(void *pointer, size_t size)
{
    return strikes(&memory) ? fail() : __libc_realloc(pointer, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return strikes(&memory) ? fail() : __libc_memalign(align, size);
}

int posix_fallocate(int fd, off_t off, off_t size)
{
    const char *victim = getenv("FAULT_TRUNCATE");
    if (victim && truncate(victim, 0) == 0)
        mark();
    if (strikes(&disk))
        return ENOSPC;
    return fallocate(fd, 0, off, size) ? errno : 0;
}

#pragma GCC visibility pop

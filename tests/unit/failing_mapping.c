#include "tests/unit/failing_mapping.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

/* The linker's --wrap: calls of f go to __wrap_f, and __real_f is the true one. */
void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t off);
int __real_mprotect(void *address, size_t size, int protection);
int __real_madvise(void *address, size_t size, int advice);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t off);
int __wrap_mprotect(void *address, size_t size, int protection);
int __wrap_madvise(void *address, size_t size, int advice);

static size_t left = SIZE_MAX; /* calls until the one that fails; SIZE_MAX: none does */
static bool fails_on, did_fail;

void failing_mapping_set(size_t n, bool is_lasting)
{
    left = n;
    fails_on = is_lasting;
    did_fail = false;
}

bool failing_mapping_end(void)
{
    left = SIZE_MAX;
    return did_fail;
}

static bool fails(void)
{
    if (left == SIZE_MAX)
        return false;
    if (left) {
        left--;
        return false;
    }
    if (!fails_on)
        left = SIZE_MAX;
    errno = ENOMEM;
    return did_fail = true;
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t off)
{
    return fails() ? MAP_FAILED : __real_mmap(address, size, protection, flags, fd, off);
}

int __wrap_mprotect(void *address, size_t size, int protection)
{
    return fails() ? -1 : __real_mprotect(address, size, protection);
}

int __wrap_madvise(void *address, size_t size, int advice)
{
    return fails() ? -1 : __real_madvise(address, size, advice);
}

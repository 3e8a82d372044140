#!/bin/bash
# Libraries that are preloaded come before all others, as in any program: an allocator above all, for libraries allocate
# what crates free.
. "$(dirname "$0")/lib.sh"
need_libc_first
source_file allocator.c <<'C'
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* What it allocates has a mark before it. Memory is never used again. */
static _Alignas(16) char pool[16 << 20];
static size_t used;
static const char mark[16] = "this allocator's";
void *malloc(size_t size)
{
    size_t at = __atomic_fetch_add(&used, (size + 47) / 16 * 16, __ATOMIC_RELAXED);
    if (at + size + 48 > sizeof pool)
        abort();
    memcpy(pool + at, mark, 16);
    memcpy(pool + at + 16, &size, sizeof size);
    return pool + at + 32;
}
void free(void *at)
{
    static const char foreign[] = "freed what another allocator allocated\n";
    if (at && memcmp((char *)at - 32, mark, 16) != 0) {
        (void)!write(2, foreign, sizeof foreign - 1);
        _exit(99);
    }
}
void *calloc(size_t count, size_t size) { return memset(malloc(count * size), 0, count * size); }
void *realloc(void *at, size_t size)
{
    void *moved = malloc(size);
    size_t old = 0;
    if (at)
        memcpy(&old, (char *)at - 16, sizeof old);
    if (old)
        memcpy(moved, at, old < size ? old : size);
    free(at);
    return moved;
}
void *aligned_alloc(size_t align, size_t size) { (void)align; return malloc(size); }
void *memalign(size_t align, size_t size) { (void)align; return malloc(size); }
int who(void) { return 1; }
C
source_file m.c <<'C'
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
int who(void), lib(void);
int main(void)
{
    char *line = NULL, *text = NULL;
    size_t size = 0;
    if (getline(&line, &size, stdin) < 0 || asprintf(&text, "%s%d%d", line, who(), lib()) < 0)
        return 1;
    char *copy = strdup(text), *mine = malloc(10);
    mine = realloc(mine, 100);
    struct timespec time;
    if (clock_gettime(12345, &time) != -1)
        return 2;
    puts(copy);
    free(line);
    free(text);
    free(copy);
    free(mine);
    return 0;
}
C
echo 'int who(void) { return 2; } int lib(void) { return who() + 4; }' >lib.c
$CC -O2 -fno-builtin -fPIC -shared allocator.c -o allocator.so
$CC -O2 -fPIC -shared lib.c -o libwho.so
$CC -O2 -c m.c
$CC m.o -o native -L. -lwho -Wl,-rpath,.
crateld link -o m.crate m.o -L. -lwho
for preload in "" "$PWD/allocator.so"; do
    echo line | LD_PRELOAD=$preload ./native >want
    LD_LIBRARY_PATH=. LD_PRELOAD=$preload status 0 timeout 60 crateld run m.crate < <(echo line)
    cmp out want || fail "with LD_PRELOAD=$preload the output differs"
done
has out 15 # the preloaded who() and lib() with it

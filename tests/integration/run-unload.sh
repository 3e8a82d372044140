#!/bin/bash
# Crates that were opened at run time are unloaded when they are closed, unless something keeps them; their data are no
# roots any more.
. "$(dirname "$0")/lib.sh"
need_libc_first
root=$(cd "$(dirname "$0")/../.." && pwd)
library=$(dirname "$GC_LIBRARY")
source_file plug.c <<'C'
#include <stdio.h>
#include <stdlib.h>
int helper(void);
static void handler(void) { puts("plug's handler"); }
int plug(void) { return helper() + 1; }
__attribute__((constructor)) static void c(void) { puts("plug starts"); atexit(handler); }
__attribute__((destructor)) static void d(void) { printf("plug ends with %d\n", helper()); }
C
source_file helper.c <<'C'
#include <stdio.h>
int helper(void) { return 41; }
__attribute__((constructor)) static void c(void) { puts("helper starts"); }
__attribute__((destructor)) static void d(void) { puts("helper ends"); }
C
# Opens and closes another, the latter when it ends.
source_file opener.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
static void *other;
__attribute__((constructor)) static void c(void) { other = dlopen("helper.crate", RTLD_NOW); }
__attribute__((destructor)) static void d(void) { printf("opener ends, %d\n", ((int (*)(void))dlsym(other, "helper"))()); dlclose(other); }
C
echo '__thread int variable = 3; int *address(void) { return &variable; }' >tls.c
source_file m.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int is_there(const char *name)
{
    char line[500];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        count += strstr(line, name) != NULL;
    fclose(maps);
    return count != 0;
}
static int add_counts(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    ((unsigned long long *)data)[0] = info->dlpi_adds;
    ((unsigned long long *)data)[1] = info->dlpi_subs;
    return 1;
}
static void *open_crate(const char *name, int mode)
{
    void *crate = dlopen(name, mode);
    if (!crate)
        puts(dlerror());
    return crate;
}
int main(void)
{
    int result;
    Dl_info info;
    unsigned long long before[2], after[2];
    dl_iterate_phdr(add_counts, before);
    void *plug = open_crate("plug.crate", RTLD_LAZY), *again = open_crate("./plug.crate", RTLD_NOW | RTLD_NOLOAD);
    void *function = dlsym(plug, "plug");
    printf("%d %d %d\n", ((int (*)(void))function)(), plug == again, dladdr(function, &info));
    result = dlclose(plug);
    printf("close %d %d\n", result, is_there("plug.crate"));
    result = dlclose(plug);
    printf("close %d %d %d\n", result, is_there("plug.crate"), is_there("helper.crate"));
    printf("gone %d %d\n", dladdr(function, &info), dlopen("plug.crate", RTLD_NOW | RTLD_NOLOAD) == NULL);
    dl_iterate_phdr(add_counts, after);
    printf("counts %d %d\n", (int)(after[0] - before[0]), (int)(after[1] - before[1]));
    /* What another needs stays; it starts anew when it is opened again. */
    void *helper = open_crate("helper.crate", RTLD_NOW);
    plug = open_crate("plug.crate", RTLD_NOW);
    result = dlclose(helper);
    printf("close helper %d %d\n", result, is_there("helper.crate"));
    printf("%d\n", ((int (*)(void))dlsym(plug, "plug"))());
    result = dlclose(plug);
    printf("close plug %d %d\n", result, is_there("helper.crate"));
    /* What a finaliser lets go of is there until it has run. */
    void *opener = open_crate("opener.crate", RTLD_NOW);
    result = dlclose(opener);
    printf("close opener %d %d %d\n", result, is_there("opener.crate"), is_there("helper.crate"));
    /* What stays: thread-locals, and what is asked to. */
    void *tls = open_crate("tls.crate", RTLD_NOW);
    int *variable = ((int *(*)(void))dlsym(tls, "address"))();
    result = dlclose(tls);
    printf("tls %d %d %d\n", result, is_there("tls.crate"), *variable);
    helper = open_crate("helper.crate", RTLD_NOW | RTLD_NODELETE);
    result = dlclose(helper);
    printf("nodelete %d %d\n", result, is_there("helper.crate"));
    /* A crate that can not be started leaves nothing. */
    printf("bad %d %d\n", dlopen("bad.crate", RTLD_NOW) == NULL, is_there("bad.crate"));
    return 0;
}
C
echo 'int nothing(void); int bad(void) { return nothing(); }' >bad.c
$CC -O1 -fPIC -c m.c plug.c helper.c opener.c tls.c bad.c
crateld link -o helper.crate helper.o
crateld link -o plug.crate plug.o helper.crate
crateld link -o opener.crate opener.o
crateld link -o tls.crate tls.o
echo 'int nothing(void) { return 0; }' >gone.c
$CC -O1 -fPIC -c gone.c
crateld link -o gone.crate gone.o
crateld link -o bad.crate bad.o gone.crate
rm gone.crate
crateld link -o m.crate m.o
cat >want <<'T'
helper starts
plug starts
42 1 1
close 0 1
plug's handler
plug ends with 41
helper ends
close 0 0 0
gone 0 1
counts 2 2
helper starts
plug starts
close helper 0 1
42
plug's handler
plug ends with 41
helper ends
close plug 0 0
helper starts
opener ends, 41
helper ends
close opener 0 0 0
tls 0 1 3
helper starts
nodelete 0 1
bad 1 0
helper ends
T
for mode in '' --aslr; do
    status 0 crateld run $mode m.crate
    diff out want || fail "output differs $mode"
done
CRATELD_DEBUG=load status 0 crateld run m.crate
has err 'tls.crate: stays: threads may have its thread-locals'
has err 'plug.crate: stays: it is still open'
has err 'helper.crate: stays: a crate that stays needs it'

# Many times, with objects that the crates' data keep, and collections at every few allocations.
source_file keeper.c <<'C'
#include <crateld/gc_crate.h>
struct node { struct node *next; uint64_t number; };
CRATELD_GC_CRATE_TYPE(node_type, struct node, 0);
struct node *list;
int more(void);
int fill(int count)
{
    for (int i = 0; i < count; i++) {
        struct node *node = crateld_gc_new(&node_type, sizeof *node);
        if (!node)
            return -1;
        node->next = list;
        node->number = (uint64_t)i;
        list = node;
    }
    return more();
}
int check(int count)
{
    for (struct node *node = list; node; node = node->next)
        if (node->number != (uint64_t)--count)
            return -1;
    return count;
}
C
source_file more.c <<'C'
#include <crateld/gc_crate.h>
struct pair { struct pair *left, *right; };
CRATELD_GC_CRATE_TYPE(pair_type, struct pair, 0, 8);
struct pair *kept[3];
int more(void)
{
    for (int i = 0; i < 3; i++) {
        struct pair *left = crateld_gc_new(&pair_type, sizeof *left);
        kept[i] = crateld_gc_new(&pair_type, sizeof *left);
        kept[i]->left = left;
    }
    return 7;
}
C
source_file many.c <<'C'
#include <crateld/gc.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static size_t resident(void)
{
    size_t total = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (fscanf(file, "%zu %zu", &total, &pages) != 2)
        abort();
    fclose(file);
    return pages * 4096;
}
static uint64_t live(struct crateld_gc_heap *heap)
{
    struct crateld_gc_stats stats;
    volatile char overwritten[4096];
    memset((void *)overwritten, 0, sizeof overwritten);
    crateld_gc_collect(heap);
    crateld_gc_stats(heap, &stats);
    return stats.live_count;
}
int main(int argc, char **argv)
{
    struct crateld_gc_heap *heap;
    int cycles = atoi(argv[argc - 1]);
    size_t after_some = 0;
    uint64_t most = 0;
    if (crateld_gc_shared_heap(&heap))
        return 2;
    for (int i = 0; i < cycles; i++) {
        void *crate = dlopen("./keeper.crate", RTLD_NOW);
        if (!crate)
            return puts(dlerror()), 3;
        if (((int (*)(int))dlsym(crate, "fill"))(50) != 7 || ((int (*)(int))dlsym(crate, "check"))(50))
            return puts("an object was lost"), 4;
        if (i % 50 == 0 && live(heap) < 56)
            return puts("objects are not counted"), 5;
        dlclose(crate);
        if (i % 50 == 0) {
            uint64_t left = live(heap);
            most = left > most ? left : most;
        }
        if (i == cycles / 2)
            after_some = resident();
    }
    size_t grown = resident() - after_some;
    /* A few may be kept by what is left on the stack; a list with all behind it. */
    printf("%d cycles: at most %d objects left, half of them grew by %zu KiB\n", cycles, (int)most, grown >> 10);
    return most <= 60 && (grown >> 10) < 400 ? 0 : 6;
}
C
$CC -O2 -fPIC -I"$root/include" -c keeper.c more.c many.c
crateld link -o more.crate more.o -L"$library" -lcrateld-gc
crateld link -o keeper.crate keeper.o more.crate -L"$library" -lcrateld-gc
crateld link -o many.crate many.o -L"$library" -lcrateld-gc
CRATELD_GC=immix,heap=8M,stress=5,sanity,poison status 0 crateld run many.crate 1000
cat out
CRATELD_GC=immix,heap=8M status 0 crateld run --aslr many.crate 1000
cat out

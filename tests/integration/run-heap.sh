#!/bin/bash
# Crates allocate from the shared heap: their types, their data as roots, the fields of their TOCs.
. "$(dirname "$0")/lib.sh"
need_libc_first
root=$(cd "$(dirname "$0")/../.." && pwd)
library=$(dirname "$GC_LIBRARY")
source_file m.c <<'C'
#include <crateld/gc_crate.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct node {
    struct node *left, *right;
    uint64_t number;
};
struct wide {
    uint64_t filler[100];
    struct node *node;
};
CRATELD_GC_CRATE_TYPE(node_type, struct node, offsetof(struct node, left), offsetof(struct node, right));
CRATELD_GC_CRATE_TYPE(wide_type, struct wide, offsetof(struct wide, node));
static const struct crateld_gc_type leaf_description = {"leaf", CRATELD_GC_LEAF, 0, NULL, 0};
CRATELD_GC_CRATE_TYPE_OF(leaf_type, leaf_description);

struct node *kept_by_data = (struct node *)8, *kept_by_bss;
static __thread struct node *kept_by_thread_local;
void keep_in_library(void *object), *kept_in_library(void);

static struct node *tree(int depth)
{
    struct node *left = depth ? tree(depth - 1) : NULL, *right = depth ? tree(depth - 1) : NULL;
    struct node *node = crateld_gc_new(&node_type, sizeof *node);
    if (!node)
        return puts(crateld_gc_why(crateld_gc_own_heap())), NULL;
    node->left = left;
    node->right = right;
    node->number = (uint64_t)depth;
    return node;
}

static int count(const struct node *node, int depth)
{
    if (!node)
        return 0;
    return node->number == (uint64_t)depth ? 1 + count(node->left, depth - 1) + count(node->right, depth - 1) : -1000000;
}

static void *elsewhere(void *unused)
{
    (void)unused;
    return crateld_gc_new(&node_type, sizeof(struct node)) ? NULL : (void *)crateld_gc_why(crateld_gc_own_heap());
}

static __attribute__((noinline)) void fill(void)
{
    struct wide *wide = crateld_gc_new(&wide_type, sizeof *wide);
    keep_in_library(wide);
    wide->node = tree(3);
    kept_by_data = tree(4);
    kept_by_bss = tree(5);
    kept_by_thread_local = tree(6);
    for (int i = 0; i < 200; i++) {
        tree(7);
        memset(crateld_gc_new(&leaf_type, (size_t)i * 60), 0xff, (size_t)i * 60);
    }
}

static uint64_t live(void)
{
    struct crateld_gc_stats stats;
    crateld_gc_collect(crateld_gc_own_heap());
    crateld_gc_stats(crateld_gc_own_heap(), &stats);
    return stats.live_count;
}

int main(void)
{
    uintptr_t base, bound;
    volatile char overwritten[4096];
    pthread_t thread;
    void *result = &thread;
    fill();
    memset((void *)overwritten, 0, sizeof overwritten);
    uint64_t most = live();
    printf("%d %d %d %d\n", count(((struct wide *)kept_in_library())->node, 3), count(kept_by_data, 4), count(kept_by_bss, 5),
           count(kept_by_thread_local, 6));
    printf("types %d %d\n", crateld_gc_type_of(kept_by_data) == crateld_gc_own_type(&node_type),
           crateld_gc_type_of(kept_in_library()) == crateld_gc_own_type(&wide_type));
    crateld_gc_range(crateld_gc_own_heap(), &base, &bound);
    printf("toc %d %d %d\n", base == _TOC_.gc_heap_base, bound == _TOC_.gc_heap_bound,
           (uintptr_t)kept_by_bss - base < bound - base);
    kept_by_data = kept_by_bss = kept_by_thread_local = NULL;
    keep_in_library(NULL);
    memset((void *)overwritten, 0, sizeof overwritten);
    uint64_t least = live();
    /* 237 objects were kept; a few more may be, by what is left on the stack. */
    printf("dropped %d\n", most >= 237 && least <= 130);
    pthread_create(&thread, NULL, elsewhere, NULL);
    pthread_join(thread, &result);
    printf("thread %s\n", (const char *)result);
    return 0;
}
C
source_file keep.c <<'C'
static void *kept;
void keep_in_library(void *object) { kept = object; }
void *kept_in_library(void) { return kept; }
C
cat >want <<'T'
15 31 63 127
types 1 1
toc 1 1 1
dropped 1
thread gc: allocation in another thread than the heap's
T
for compiler in "$CC -O2 -fPIC" "$CC -O0" "$CC -O2 -fno-pie" "crateld cc -O2"; do
    $compiler -I"$root/include" -c m.c keep.c
    crateld link -o keep.crate keep.o
    crateld link -o m.crate m.o keep.crate -L"$library" -lcrateld-gc
    for options in immix,heap=512M immix,heap=8M immix,heap=8M,stress=1,poison immix,heap=16M,stress=7,sanity,poison \
        multiplier=2 ''; do
        CRATELD_GC=$options status 0 crateld run m.crate
        diff out want || fail "$compiler: CRATELD_GC=$options"
    done
    for mode in --bind-now --aslr; do
        CRATELD_GC=immix,heap=8M,stress=7,sanity,poison status 0 crateld run $mode m.crate
        diff out want || fail "$compiler: $mode"
    done
done

# Without collections all stays; nothing else differs.
CRATELD_GC=nogc status 0 crateld run m.crate
sed 's/dropped 1/dropped 0/' want | diff out - || fail "nogc"
crateld inspect m.crate >inspected
grep -q 'collected types *3' inspected || fail "inspect does not tell the types"

# What can not be is refused before anything runs.
CRATELD_GC=semispace status 1 crateld run m.crate
has err 'but plan semispace moves objects'
has err 'crateld: libcrateld-gc.so.0: gc: '
CRATELD_GC=imix status 1 crateld run m.crate
has err "CRATELD_GC=imix: gc options: 'imix' is not understood"
CRATELD_GC=heap=1K status 1 crateld run m.crate
has err 'gc: a heap of 1024 bytes is wanted'
(
    ulimit -v 2000000
    CRATELD_GC=heap=4G status 1 crateld run m.crate
    has err 'gc: cannot reserve'
)

# Little address space: it works, or it is said what lacks.
works=0 refused=0
for megabytes in 64 96 128 192 256 512 1024 2048; do
    for options in heap=16M heap=256M; do
        result=0
        (ulimit -v $((megabytes * 1024)) && CRATELD_GC=$options exec crateld run m.crate) >out 2>err || result=$?
        if [ $result = 0 ]; then
            diff out want || fail "$options in $megabytes MiB"
            works=1
        else
            [ $result = 1 ] || fail "$options in $megabytes MiB: exit status $result"
            grep -Eq 'cannot|memory' err || fail "$options in $megabytes MiB: $(cat err)"
            refused=1
        fi
    done
done
[ $works$refused = 11 ] || fail "works $works, refused $refused"

# A heap that is full: an error that the program handles.
source_file full.c <<'C'
#include <crateld/gc_crate.h>
#include <stdio.h>
struct node { struct node *next; uint64_t number; };
CRATELD_GC_CRATE_TYPE(node_type, struct node, 0);
static struct node *list;
int main(void)
{
    uint64_t count = 0;
    for (int round = 0; round < 5; round++) {
        struct node *node;
        list = NULL;
        for (count = 0; (node = crateld_gc_new(&node_type, sizeof *node)); count++) {
            node->next = list;
            node->number = count;
            list = node;
        }
        for (node = list; node; node = node->next)
            if (node->number != --count)
                return 1;
        if (count)
            return 2;
    }
    return puts(crateld_gc_why(crateld_gc_own_heap())) < 0;
}
C
$CC -O2 -I"$root/include" -c full.c
crateld link -o full.crate full.o -L"$library" -lcrateld-gc
CRATELD_GC=heap=2M status 0 crateld run full.crate
has out 'gc: no memory for 32 bytes'

# Types without the library, and a program that has neither.
source_file none.c <<'C'
#include <stdio.h>
int main(void)
{
    char line[500];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        fputs(line, stdout);
    return 0;
}
C
source_file types.c <<'C'
#include <crateld/gc_crate.h>
struct node { struct node *next; };
CRATELD_GC_CRATE_TYPE(node_type, struct node, 0);
int main(void) { return (int)crateld_gc_own_type(&node_type); }
C
$CC -O2 -I"$root/include" -c none.c types.c
crateld link -o none.crate none.o
status 0 crateld run none.crate
lacks out crateld-gc
crateld link -o types.crate types.o
status 1 crateld run types.crate
has err 'types.crate: has 1 types of collected objects, but does not need libcrateld-gc.so.0'

# The examples as crates, with heaps of their own, on every plan.
examples=$root/examples
$CC -O2 -I"$root/include" -c "$examples/gc/lisp.c" "$examples/gc/trees.c"
crateld link -o lisp.crate lisp.o -L"$library" -lcrateld-gc
crateld link -o trees.crate trees.o -L"$library" -lcrateld-gc
for plan in nogc semispace immix immix,stress=3,sanity,poison semispace,stress=3,sanity,poison; do
    CRATELD_GC=$plan,heap=8M status 0 crateld run lisp.crate "$examples/gc/test.lisp"
    diff out "$examples/gc/test.out" || fail "lisp.crate: $plan"
done
$CC -O2 -I"$root/include" "$examples/gc/trees.c" -L"$library" -lcrateld-gc -o trees
LD_LIBRARY_PATH=$library ./trees "$examples/dozen/text.txt" >want
[ -s want ] || fail "the program that is linked natively says nothing"
for plan in nogc immix immix,stress=3,sanity,poison; do
    CRATELD_GC=$plan,heap=8M status 0 crateld run trees.crate "$examples/dozen/text.txt"
    diff out want || fail "trees.crate: $plan"
done

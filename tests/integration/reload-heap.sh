#!/bin/bash
# A module that allocates collected objects is replaced: its types keep their numbers, what it made stays, and types can not
# be others. Sets of the linker, in which types are, are those of the crate.
. "$(dirname "$0")/lib.sh"
need_libc_first
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
root=$(cd "$(dirname "$0")/../.." && pwd)
library=$(dirname "$GC_LIBRARY")
source_file m.c <<'C'
#include <crateld/gc_crate.h>
#include <stdio.h>
struct other { uint64_t number[6]; };
CRATELD_GC_CRATE_TYPE_OF(other_type, ((const struct crateld_gc_type){"other", CRATELD_GC_LEAF, 48, NULL, 0}));
const char *step(void);
int (*first)(void) __attribute__((section("my_set"), used)) = getchar;
int main(void)
{
    for (; getchar() != EOF; fflush(stdout)) {
        for (int i = 0; i < 100; i++)
            if (!crateld_gc_new(&other_type, 48))
                return 1;
        puts(step());
    }
    return 0;
}
C
# rules VERSION FIELDS OFFSETS...
rules() {
    local version=$1 fields=$2
    shift 2
    cat >rules.c <<C
#include <crateld/gc_crate.h>
#include <stdio.h>
struct node { $fields };
CRATELD_GC_CRATE_TYPE(node_type, struct node, $@);
static struct node *top;
static uint64_t total;
int (*second)(void) __attribute__((section("my_set"), used)) = getchar;
extern int (*__start_my_set[])(void), (*__stop_my_set[])(void);
const char *step(void)
{
    static char text[100];
    int count = 0;
    for (int i = 0; i < 100; i++) {
        struct node *node = crateld_gc_new(&node_type, sizeof *node);
        if (!node || crateld_gc_type_of(node) != crateld_gc_own_type(&node_type) || crateld_gc_size(node) < sizeof *node)
            return "no node";
        node->number = total++;
        node->next = top;
        top = node;
    }
    for (struct node *node = top; node; node = node->next, count++)
        if (crateld_gc_type_of(node) != crateld_gc_own_type(&node_type) || node->number != total - 1 - (uint64_t)count)
            return "a node was lost";
    snprintf(text, sizeof text, "version $version: %d nodes, type %d, a set of %d", count, (int)crateld_gc_own_type(&node_type),
             (int)(__stop_my_set - __start_my_set));
    return text;
}
C
    # shellcheck disable=SC2086
    $CC $flags -I"$root/include" -c rules.c
}
# expect TEXT: what the next step says.
expect() {
    echo >&9
    for _ in $(seq 600); do
        [ "$(wc -l <output)" -le "$lines" ] || break
        kill -0 $pid 2>/dev/null || fail "$flags: the program died: $(tail -3 log)"
        sleep 0.01
    done
    lines=$(wc -l <output)
    [ "$(tail -1 output)" = "$1" ] || fail "$flags: '$(tail -1 output)', wanted '$1'; $(cat log)"
}
first='struct node *next; uint64_t number;'
mkfifo input
for position in -fPIC -fno-pie toc; do
    flags="-O2 $position -ffunction-sections -fdata-sections"
    [ $position != toc ] || CC='crateld cc' flags='-O2 -ffunction-sections -fdata-sections'
    # shellcheck disable=SC2086
    $CC $flags -I"$root/include" -c m.c
    rules 1 "$first" 0
    crateld link -o m.crate m.o rules.o -L"$library" -lcrateld-gc
    : >output
    lines=0
    CRATELD_GC=heap=8M,stress=7,sanity,poison crateld run m.crate <input >output 2>log &
    pid=$!
    exec 9>input
    expect 'version 1: 100 nodes, type 1, a set of 2'
    rules 2 "$first" 0
    status 0 crateld reload $pid rules.o
    expect 'version 2: 200 nodes, type 1, a set of 2'
    # Other fields; other references in as many bytes; and one more type.
    rules 3 "$first struct node *more;" 0, 16
    status 1 crateld reload $pid rules.o
    has err "'node_type' says what collected objects look like, and is another"
    rules 3 'uint64_t number; struct node *next;' 8
    status 1 crateld reload $pid rules.o
    has err "'node_type' says what collected objects look like, and is another"
    expect 'version 2: 300 nodes, type 1, a set of 2'
    rules 4 "$first" 0
    status 0 crateld reload $pid rules.o
    expect 'version 4: 400 nodes, type 1, a set of 2'
    status 0 crateld rollback $pid
    expect 'version 2: 500 nodes, type 1, a set of 2'
    exec 9>&-
    wait $pid || fail "$flags: the program fails: $(cat log)"
    pid=
done

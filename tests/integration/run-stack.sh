#!/bin/bash
# Stacks are executable for who asks for it, as gcc's nested functions do, in all threads, as in an ELF program; and for nobody
# else, whatever libraries are opened.
. "$(dirname "$0")/lib.sh"
need gcc
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
folder=$(crateld ld --print-folder)

# stack_of FILE: the flags of PT_GNU_STACK.
stack_of() {
    readelf -lW "$1" 2>/dev/null | awk '$1 == "GNU_STACK" { print $7 ($8 == "0x10" ? "" : $8) }'
}

source_file stacks.h <<'END_H'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
/* How many of the process's mappings can be executed and written. */
static inline int executable_stacks(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        count += strstr(line, " rwxp ") != 0;
    fclose(maps);
    return count;
}
END_H

# Nobody asks: libraries that are opened, that import from the program, whose thread-locals it has, change nothing.
source_file plain.c <<'END_C'
#include "stacks.h"
int host_value(void) { return 21; }
extern __thread int local __attribute__((tls_model("initial-exec")));
static void *run(void *plugin) { return (void *)(long)(((int (*)(void))dlsym(plugin, "plugin_value"))() + local++); }
int main(void)
{
    void *plugin = dlopen("./plugin.so", RTLD_NOW), *value = 0;
    pthread_t thread;
    if (!plugin) { puts(dlerror()); return 1; }
    pthread_create(&thread, 0, run, plugin);
    pthread_join(thread, &value);
    printf("%ld %d\n", (long)value, executable_stacks());
    return 0;
}
END_C
echo 'int host_value(void); int plugin_value(void) { return 2 * host_value(); }' >plugin.c
echo '__thread int local = 100;' >local.c
gcc -shared -fPIC -o plugin.so plugin.c
gcc -shared -fPIC -o liblocal.so local.c
gcc -O1 -c plain.c
crateld link -o plain.crate plain.o ./liblocal.so 2>err || fail "no link"
[ ! -s err ] || fail "a warning"
status 0 crateld run plain.crate
[ "$(cat out)" = "142 0" ] || fail "stacks became executable"

# Nested functions: in the main thread, in one that was there before, and in later ones.
source_file nested.c <<'END_C'
#include "stacks.h"
static int call(int (*function)(int), int n) { return function(n); }
int nested(int n)
{
    int more = n * 10;
    int add(int k) { return k + more; }
    int (*volatile pointer)(int) = add;
    return call(pointer, n);
}
END_C
source_file main.c <<'END_C'
#include "stacks.h"
int nested(int);
static void *run(void *n) { return (void *)(long)nested((int)(long)n); }
int main(void)
{
    void *value = 0;
    pthread_t thread;
    pthread_create(&thread, 0, run, (void *)2);
    pthread_join(thread, &value);
    printf("%d %ld %d\n", nested(1), (long)value, executable_stacks() > 0);
    return 0;
}
END_C
gcc -z execstack -o oracle main.c nested.c
[ "$(./oracle)" = "11 22 1" ] || fail "the oracle: $(./oracle)"
for cc in "gcc -B$folder" "crateld cc -fuse-ld=crateld"; do
    for level in -O0 -O2; do
        $cc $level -o program main.c nested.c 2>err || fail "$cc $level: no link"
        has err "asks for an executable stack"
        [ "$(stack_of program)" = RWE ] || fail "$cc $level: PT_GNU_STACK"
        status 0 ./program
        [ "$(cat out)" = "11 22 1" ] || fail "$cc $level"
    done
done
gcc -c main.c
gcc -c nested.c
crateld link -z noexecstack -o plain.crate main.o nested.o 2>err || fail "no link"
[ ! -s err ] || fail "-z noexecstack: a warning"
[ "$(stack_of plain.crate)" = RW ] || fail "-z noexecstack"
crateld link -z execstack -o program plain.o ./liblocal.so 2>err || fail "no link"
[ ! -s err ] || fail "-z execstack: a warning"
[ "$(stack_of program)" = RWE ] || fail "-z execstack"

# A library that asks for it, opened by a program that did not, whose threads run.
crateld link -o nested.crate nested.o 2>err || fail "no link"
source_file opener.c <<'END_C'
#include "stacks.h"
static sem_t is_open;
static int (*nested)(int);
static void *run(void *n)
{
    sem_wait(&is_open);
    return (void *)(long)nested((int)(long)n);
}
int main(void)
{
    void *value = 0;
    pthread_t thread;
    sem_init(&is_open, 0, 0);
    pthread_create(&thread, 0, run, (void *)2);
    int before = executable_stacks();
    void *library = dlopen("./nested.crate", RTLD_NOW);
    if (!library) { puts(dlerror()); return 1; }
    nested = (int (*)(int))dlsym(library, "nested");
    sem_post(&is_open);
    pthread_join(thread, &value);
    printf("%d %d %ld\n", before, nested(1), (long)value);
    return 0;
}
END_C
gcc -c opener.c
crateld link -o opener.crate opener.o
status 0 crateld run opener.crate
[ "$(cat out)" = "0 11 22" ] || fail "a library that needs executable stacks"

# In a bundle.
crateld link -o user.crate main.o nested.crate
crateld bundle -o one.crate user.crate nested.crate
[ "$(stack_of one.crate)" = RWE ] || fail "a bundle"
status 0 crateld run one.crate
[ "$(cat out)" = "11 22 1" ] || fail "a bundle"

# An edit that brings a nested function.
source_file later.c <<'END_C'
int nested(int n) { return n; }
END_C
source_file loop.c <<'END_C'
#include "stacks.h"
int nested(int);
int main(void)
{
    while (nested(1) == 1)
        usleep(1000);
    printf("%d\n", nested(2));
    return 0;
}
END_C
gcc -O1 -fPIC -ffunction-sections -fdata-sections -c loop.c later.c
crateld link -o loop.crate loop.o later.o
cp nested.c later.c
gcc -O1 -fPIC -ffunction-sections -fdata-sections -c later.c
crateld diff -o later.patch loop.crate later.o 2>err || fail "no patch"
status 0 crateld run --patch later.patch loop.crate
[ "$(cat out)" = 22 ] || fail "a patch with a nested function"
! has_sanitizer || exit 0 # its pthread_create() lets libc take our signal
crateld run loop.crate >out 2>err &
pid=$!
for _ in $(seq 100); do crateld reload $pid later.o >log 2>&1 && break; sleep 0.05; done
wait $pid || fail "the program died: $(cat log)"
pid=
[ "$(cat out)" = 22 ] || fail "a reload with a nested function: $(cat log)"

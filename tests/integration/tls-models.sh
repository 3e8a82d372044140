#!/bin/bash
# Thread-locals have their own values in every thread, in one crate and across two, in all models that compilers know.
. "$(dirname "$0")/oracle.sh"
source_file a.c <<'C'
__thread int shared = 5;
__thread long zeroed;
static __thread char own[16] = "own";
static __thread int others[3] = {1, 2, 3}; /* a second one, for local-dynamic code */
__thread int aligned __attribute__((aligned(64))) = 9;
int bump(void)
{
    own[3]++;
    others[own[3] % 3] += own[3];
    zeroed += 2;
    return shared++ + own[3] + others[1] + (int)zeroed + ((unsigned long)&aligned % 64 ? 1000 : 0);
}
int *where(void) { return &shared; }
C
source_file m.c <<'C'
#include <pthread.h>
#include <stdio.h>
extern __thread int shared;
extern __thread long zeroed;
static __thread int mine = 77;
int bump(void), *where(void);
static void *run(void *n)
{
    long k = (long)n;
    shared += (int)k;
    mine += k;
    zeroed += k;
    for (int i = 0; i < 3; i++)
        mine += bump();
    printf("%d %d %ld %d\n", shared, mine, zeroed, where() == &shared);
    return NULL;
}
int main(void)
{
    for (long i = 0; i < 4; i++) {
        pthread_t t;
        pthread_create(&t, NULL, run, (void *)i);
        pthread_join(t, NULL);
    }
    run((void *)9);
    run((void *)1);
    return 0;
}
C
tried() {
    wanted=$1 linker=$2
    shift 2
    # shellcheck disable=SC2086
    $linker a.o m.o -o native
    recorded native ./native
    linked one.crate a.o m.o
    recorded crate crateld run one.crate
    same crate native "$wanted, one crate"
    linked a.crate a.o
    linked m.crate m.o a.crate
    recorded crate crateld run m.crate
    same crate native "$wanted, two crates"
    recorded crate crateld run --aslr --bind-now m.crate
    same crate native "$wanted, two crates, --aslr --bind-now"
}
while read -r way; do
    for level in -O0 -O2; do
        $way $level -c a.c m.c
        linker=gcc
        case $way in
        crateld*) linker=$way ;;
        *-fno-pie*) linker="gcc -no-pie" ;;
        esac
        tried "$way $level" "$linker"
    done
done <<'T'
gcc
gcc -fPIC
gcc -fno-pie
gcc -fPIC -fno-plt
gcc -fPIC -mtls-dialect=gnu2
gcc -fPIC -ftls-model=initial-exec
gcc -ftls-model=initial-exec
gcc -fPIC -mcmodel=medium
gcc -fPIC -mcmodel=large
gcc -fno-pie -mcmodel=medium
gcc -fno-pie -mcmodel=large
clang
clang -fPIC
clang -fno-pie
clang -fPIC -fno-plt
crateld cc
crateld cc -fno-plt
T
gcc -O2 -fPIC -c a.c
gcc -O2 -c m.c
tried "library -fPIC, program PIE" gcc
gcc -O2 -c a.c
gcc -O2 -fPIC -mtls-dialect=gnu2 -c m.c
tried "library PIE, program by descriptors" gcc

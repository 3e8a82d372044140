#!/bin/bash
# Thread-locals in every model, within and across crates, and of ELF libraries.
. "$(dirname "$0")/lib.sh"
source_file lib.c <<'C'
__thread int exported = 7;
__thread int exported_zero;
static __thread int hidden = 9;
static __thread char big[64] __attribute__((aligned(64)));
int *lib_exported(void) { return &exported; }
int *lib_hidden(void) { return &hidden; }
char *lib_big(void) { return big; }
C
source_file elf.c <<'C'
__thread int elf_tls = 21;
int *elf_address(void) { return &elf_tls; }
C
source_file m.c <<'C'
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
extern __thread int exported, exported_zero, elf_tls;
static __thread int mine = 1;
__thread char text[16] = "text";
__thread int *pointer = 0;
static int target;
__thread int *pointed = &target;
int *lib_exported(void), *lib_hidden(void), *elf_address(void);
char *lib_big(void);
static int check(int add)
{
    int good = mine == 1 && exported == 7 && exported_zero == 0 && *lib_hidden() == 9 && !strcmp(text, "text") && !pointer &&
               pointed == &target && &exported == lib_exported() && elf_tls == 21 && &elf_tls == elf_address() &&
               (uintptr_t)lib_big() % 64 == 0 && !lib_big()[63];
    mine += add; exported += add; exported_zero += add; *lib_hidden() += add; text[0] = 'X'; pointer = &mine; elf_tls += add;
    lib_big()[63] = 1;
    pointed = 0;
    errno = add;
    return good;
}
static void *run(void *p) { return check(5) ? p : 0; }
int main(void)
{
    int good = 1;
    for (int i = 0; i < 3; i++) {
        pthread_t threads[4];
        for (int t = 0; t < 4; t++) pthread_create(&threads[t], 0, run, &target);
        for (int t = 0; t < 4; t++) { void *r; pthread_join(threads[t], &r); good &= r == &target; }
    }
    printf("threads %d\n", good);
    printf("main %d\n", check(1));
    printf("after %d %d %d %d\n", mine, exported, *lib_hidden(), elf_tls);
    return 0;
}
C
printf 'threads 1\nmain 1\nafter 2 8 10 22\n' >want
$CC -shared -fPIC -o libelf_tls.so elf.c
export LD_LIBRARY_PATH=.
for m in "-fPIC" "-fPIC -mtls-dialect=gnu2" "-fPIE" "-fno-pie"; do
    for l in "-fPIC" "-fPIC -mtls-dialect=gnu2" "-fPIE"; do
        $CC -O2 $m -c m.c
        $CC -O2 $l -c lib.c
        crateld link -o lib.crate lib.o
        crateld link -o m.crate m.o lib.crate -L. -lelf_tls
        for mode in "" --aslr; do
            status 0 crateld run $mode m.crate
            cmp out want || fail "m.c $m, lib.c $l, $mode"
        done
        crateld link -o m.crate m.o lib.o -L. -lelf_tls
        status 0 crateld run m.crate
        cmp out want || fail "m.c $m, lib.c $l, one crate"
    done
done

# Blocks that are too big for the static pool are dynamic; code that can not do with that is refused.
echo 'static __thread char x[20000] = "big"; char *get(void) { return x; }' >lib.c
source_file m.c <<'C'
#include <pthread.h>
#include <stdio.h>
char *get(void);
static void *run(void *p) { (void)p; get()[0] = 'd'; return get(); }
int main(void) { pthread_t t; void *r; pthread_create(&t, 0, run, 0); pthread_join(t, &r); printf("%s %d\n", get(), r != get()); return 0; }
C
$CC -O2 -fPIC -c m.c lib.c
crateld link -o lib.crate lib.o
crateld link -o m.crate m.o lib.crate
status 0 crateld run m.crate
has out "big 1"
$CC -O2 -fPIE -c lib.c
crateld link -o lib.crate lib.o
status 1 crateld run m.crate
has err "do not fit"
has err "-fPIC"

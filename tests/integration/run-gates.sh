#!/bin/bash
# Pointers to functions of crates that are not active yet: those become active when one is called, from anywhere, and the
# address is the same for all.
. "$(dirname "$0")/lib.sh"
need python3
N=1500
python3 - $N <<'P'
import sys
n = int(sys.argv[1])
with open("many.c", "w") as f:
    for i in range(n):
        f.write(f"double many{i}(int a, double b, long c, long d, long e, long f, long g, float h) "
                f"{{ return a + b + c + d + e + f + g + h + {i}; }}\n")
with open("table.c", "w") as f:
    f.write("typedef double function(int, double, long, long, long, long, long, float);\n")
    f.write("".join(f"extern function many{i};\n" for i in range(n)))
    f.write(f"function *table[] = {{{', '.join(f'many{i}' for i in range(n))}}};\n")
P
source_file other.c <<'C'
extern double many3(int, double, long, long, long, long, long, float);
void *address_elsewhere(void) { return (void *)many3; }
C
source_file m.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
typedef double function(int, double, long, long, long, long, long, float);
extern function *table[];
void *address_elsewhere(void);
static pthread_barrier_t barrier;
static volatile double from_handler;
static double call(int i) { return table[i](1, 0.5, 2, 3, 4, 5, 6, 0.25f) - i; }
static void *run(void *which)
{
    pthread_barrier_wait(&barrier);
    return (void *)(long)(call((int)(long)which) * 4);
}
static void handle(int signal) { from_handler = call(signal); }
static int compare(const void *a, const void *b)
{
    double x = call(*(const int *)a) + *(const int *)a, y = call(*(const int *)b) + *(const int *)b;
    return (x > y) - (x < y);
}
int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "none";
    int n = argc > 2 ? atoi(argv[2]) : 0;
    printf("started\n");
    fflush(stdout);
    if (!strcmp(how, "wait") && getchar() == EOF)
        return 1;
    if (!strcmp(how, "all") || !strcmp(how, "wait"))
        for (int i = n - 1; i >= 0; i--)
            if (call(i) != 21.75)
                return 2;
    if (!strcmp(how, "threads")) {
        pthread_t threads[8];
        pthread_barrier_init(&barrier, NULL, 8);
        for (long i = 0; i < 8; i++)
            pthread_create(&threads[i], NULL, run, (void *)(i * 170));
        for (int i = 0; i < 8; i++) {
            void *result;
            pthread_join(threads[i], &result);
            if ((long)result != 87)
                return 3;
        }
    }
    if (!strcmp(how, "handler")) {
        signal(SIGUSR1, handle);
        raise(SIGUSR1);
        if (from_handler != 21.75)
            return 4;
    }
    if (!strcmp(how, "fork")) {
        int status;
        pid_t child = fork();
        if (!child)
            _exit(call(7) == 21.75 ? 0 : 1);
        if (waitpid(child, &status, 0) < 0 || status || call(7) != 21.75)
            return 5;
    }
    if (!strcmp(how, "library")) {
        int numbers[] = {5, 3, 1400, 9};
        qsort(numbers, 4, sizeof *numbers, compare);
        if (numbers[0] != 3 || numbers[3] != 1400)
            return 6;
    }
    if (!strcmp(how, "same")) {
        Dl_info before, after;
        void *address = (void *)table[3];
        if (address_elsewhere() != address || dladdr(address, &before) == 0 || call(3) != 21.75 ||
            dladdr(address, &after) == 0 || address_elsewhere() != address || (void *)table[3] != address)
            return 7;
        printf("%s %s %d\n", before.dli_fname, before.dli_sname, before.dli_saddr == after.dli_saddr);
    }
    return 0;
}
C
for compiler in "$CC -O1 -fPIC" "crateld cc -O1"; do
    $compiler -c many.c table.c other.c m.c
    for kind in whole stripped --no-relink; do
        option=
        [ "$kind" != --no-relink ] || option=--no-relink
        crateld link $option -o many.crate many.o
        [ "$kind" != stripped ] || crateld strip many.crate >/dev/null
        crateld link -o table.crate table.o many.crate
        crateld link -o other.crate other.o many.crate
        crateld link -o m.crate m.o table.crate other.crate
        CRATELD_DEBUG=load status 0 crateld run m.crate
        has err 'table.crate: active'
        # Without entry stubs the functions are all over the text, which is too much for gates.
        [ "$kind" = --no-relink ] || lacks err 'many.crate: active'
        for mode in '' --aslr --bind-now; do
            for how in all threads handler fork library same; do
                CRATELD_DEBUG=load status 0 crateld run $mode m.crate $how $N
                has err 'many.crate: active'
                [ $how != same ] || has out 'many.crate many3 1'
            done
        done
    done
done
for ((i = 0; i < 10; i++)); do
    status 0 crateld run m.crate threads
done

# The file is replaced after the addresses were given away.
mkfifo go
crateld run m.crate wait $N <go >out &
pid=$!
exec 9>go
while ! grep -q started out; do sleep 0.05; done
sed 's/return a/return 1 + a/' many.c >new.c
$CC -fPIC -c new.c
crateld link --name many -o many.crate new.o
echo >&9
wait $pid || fail "the replaced crate's process: $?"
exec 9>&-
status 2 crateld run m.crate all $N

# What has initialisers is started before main, whoever has its addresses; a damaged crate is told of before it is entered.
source_file eager.c <<'C'
#include <stdio.h>
__attribute__((constructor)) static void begin(void) { puts("constructor"); fflush(stdout); }
int eager(void) { return 7; }
C
source_file m2.c <<'C'
#include <stdio.h>
extern int eager(void);
int (*pointer)(void) = eager;
int main(void) { puts("main"); return pointer() - 7; }
C
$CC -fPIC -c eager.c m2.c
crateld link -o eager.crate eager.o
crateld link -o m2.crate m2.o eager.crate
status 0 crateld run m2.crate
[ "$(cat out)" = "$(printf 'constructor\nmain')" ] || fail "order: $(cat out)"
crateld link --no-relink -o many.crate many.o
python3 -c "
data = bytearray(open('many.crate', 'rb').read())
data[3000] ^= 1
open('many.crate', 'wb').write(data)"
status 1 crateld run m.crate all $N
has err 'many.crate: damaged'

# Unloading: the gates go with the crate, whether or not they were entered, and come again with it; of two crates that
# hold addresses of a third, which is not active, one may go.
! has_sanitizer || exit 0 # it stands before libc's dlopen()
echo 'int far(int x) { return x + 1; }' >far.c
echo 'extern int far(int); int (*pointer)(int) = far; int use(int x) { return x ? pointer(x) : 0; }' >user.c
source_file m3.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
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
int main(void)
{
    for (int i = 0; i < 50; i++) {
        void *one = dlopen("one.crate", RTLD_LAZY), *two = dlopen("two.crate", RTLD_LAZY);
        if (!one || !two)
            return puts(dlerror()), 1;
        int (*use_one)(int) = (int (*)(int))dlsym(one, "use"), (*use_two)(int) = (int (*)(int))dlsym(two, "use");
        if (use_one(0) || use_two(0) || (i % 3 == 1 && use_one(5) != 6))
            return 2;
        if (dlclose(i % 2 ? one : two) || !is_there("far.crate") || is_there(i % 2 ? "one.crate" : "two.crate"))
            return 3;
        if (i % 3 && (i % 2 ? use_two : use_one)(7) != 8)
            return 4;
        if (dlclose(i % 2 ? two : one) || is_there("far.crate") || is_there("one.crate") || is_there("two.crate"))
            return 5;
    }
    return 0;
}
C
$CC -O1 -fPIC -c far.c user.c m3.c
crateld link -o far.crate far.o
crateld link -o one.crate user.o far.crate
crateld link -o two.crate user.o far.crate
crateld link -o m3.crate m3.o
for mode in '' --aslr --bind-now; do
    CRATELD_DEBUG=load status 0 crateld run $mode m3.crate
    [ "$(grep -c 'far.crate: unloaded' err)" = 50 ] || fail "far.crate was unloaded $(grep -c 'far.crate: unloaded' err) times"
    [ -n "$mode" ] || [ "$(grep -c 'far.crate: active' err)" = 33 ] || fail "far.crate became active $(grep -c 'far.crate: active' err) times"
done

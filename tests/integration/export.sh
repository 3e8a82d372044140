#!/bin/bash
# crateld export: programs that know nothing of crates link or dlopen libraries made of crates: functions, variables,
# callbacks, exceptions, several libraries, from several threads.
. "$(dirname "$0")/lib.sh"
need gcc g++
need_libc_first
root=$(cd "$(dirname "$0")/../.." && pwd)

source_file lib.cc <<'END'
#include <cstdarg>
#include <stdexcept>
#include <string>
extern "C" {
double mixed(int a, double b, float c, long d, int e, int f, int g, int h, double i)
{ return a + b + c + static_cast<double>(d) + e + f + g + h + i; }
int sum(int n, ...) { va_list v; va_start(v, n); int s = 0; while (n--) s += va_arg(v, int); va_end(v); return s; }
struct big { double at[6]; };
big make_big(double x) { return {{x, x + 1, x + 2, x + 3, x + 4, x + 5}}; }
int cleanups_seen;
static std::string greeting = "made at start";
struct counted { ~counted() { cleanups_seen++; } };
int cleanups(void) { return cleanups_seen; }
void throw_it(int n) { counted c; throw std::out_of_range(greeting + std::to_string(n)); }
void call_back(void (*f)(int), int n) { counted c; f(n); }
int catch_it(void (*f)(int), int n) { try { f(n); } catch (const std::exception &) { return n; } return -1; }
int main(void) { return 0; }
}
END
source_file use.cc <<'END'
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>
extern "C" {
double mixed(int, double, float, long, int, int, int, int, double);
int sum(int, ...), cleanups(void), catch_it(void (*)(int), int);
struct big { double at[6]; };
big make_big(double);
void throw_it(int), call_back(void (*)(int), int);
}
static void thrower(int n) { throw std::runtime_error(std::to_string(n)); }
int main()
{
    std::vector<std::thread> threads;
    double results[16];
    for (int i = 0; i < 16; i++) /* the first calls come all at once */
        threads.emplace_back([&results, i] { results[i] = mixed(i, 0.5, 0.25f, 1L << 40, 1, 2, 3, 4, 100.); });
    for (auto &thread : threads)
        thread.join();
    for (int i = 0; i < 16; i++)
        if (results[i] != i + 0.75 + static_cast<double>(1L << 40) + 110)
            return 1;
    if (sum(9, 1, 2, 3, 4, 5, 6, 7, 8, 9) != 45 || make_big(3).at[5] != 8 || catch_it(thrower, 5) != 5)
        return 2;
    try { throw_it(3); return 3; } catch (const std::out_of_range &e) { if (std::strcmp(e.what(), "made at start3")) return 4; }
    try { call_back(thrower, 4); return 5; } catch (const std::runtime_error &e) { if (std::strcmp(e.what(), "4")) return 6; }
    try { call_back(throw_it, 4); return 7; } catch (const std::out_of_range &) {}
    std::printf("%d cleanups\n", cleanups());
    return 0;
}
END
for compiler in 'g++ -O2 -fPIC' 'crateld c++ -O2'; do
    $compiler -c lib.cc
    crateld link -o lib.crate lib.o -lstdc++ --export 'm[ai][xk]*' --export sum --export cleanups --export throw_it --export call_back --export catch_it
    crateld export -o libexported.so lib.crate
    ! nm -D libexported.so | grep -q ' main$' || fail "main is exported"
    for flags in '' -fPIC '-fno-pie -no-pie' -fno-plt -Wl,-z,now; do
        # shellcheck disable=SC2086
        g++ -O1 $flags -o use use.cc -L. -lexported -Wl,-rpath,. -pthread
        status 0 ./use
        has out "4 cleanups"
    done
done

# The runtime starts at the first call, not before; then the crate must be there.
echo 'int sum(int, ...); int main(int argc, char **argv) { (void)argv; return argc > 1 ? sum(2, 20, 22) : 0; }' >lazy.c
gcc -o lazy lazy.c -L. -lexported -Wl,-rpath,'$ORIGIN'
mkdir elsewhere
cp lazy libexported.so elsewhere/
status 42 elsewhere/lazy call
cp lib.crate elsewhere/
mv lib.crate away.crate
status 42 elsewhere/lazy call
status 0 ./lazy
status 127 ./lazy call
has err "lib.crate: no such file"
mv away.crate lib.crate

# Variables: the program's and the crate's are one; copies are refused when the program is linked.
source_file data.c <<'END'
int counter = 3;
const char *const names[] = {"zero", "one"};
int zeroed[5000];
int *counter_place(void) { return &counter; }
int count(void) { return ++counter + zeroed[4999]; }
END
source_file reader.c <<'END'
#include <stdio.h>
extern int counter, zeroed[5000], *counter_place(void), count(void);
extern const char *const names[];
int main(void)
{
    zeroed[4999] = 100;
    counter += 10;
    int before = counter, counted = count();
    printf("%d %d %s %d\n", counter_place() == &counter, before, names[1], counted);
    return 0;
}
END
for compiler in 'gcc -O2 -fPIC' 'crateld cc -O2'; do
    $compiler -c data.c
    crateld link -o data.crate data.o
    crateld export -o libdata.so data.crate
    gcc -O2 -fPIC -o reader reader.c -L. -ldata -Wl,-rpath,.
    status 0 ./reader
    has out "1 13 one 114"
done
status 1 gcc -O2 -o copying reader.c -L. -ldata
grep -q "copy relocation against non-copyable protected symbol" err || fail "a copy of a variable"
sed 's/zero"/null"/' data.c >other.c
gcc -fPIC -O2 -c other.c
crateld link -o data.crate other.o
status 127 ./reader
has err "another build than the library was made of"
gcc -fPIC -O2 -c data.c
crateld link -o data.crate data.o
crateld export -o libdata.so data.crate

# Several libraries in one program, opened at run time, with crates that need each other; and a crate as the program.
echo 'int count(void); int outer(int n) { return n * count(); }' >outer.c
gcc -fPIC -O2 -c outer.c
crateld link -o outer.crate outer.o data.crate
crateld export -o libouter.so outer.crate
source_file opener.c <<'END'
#include <dlfcn.h>
#include <stdio.h>
int main(void)
{
    void *data = dlopen("./libdata.so", RTLD_NOW), *outer = dlopen("./libouter.so", RTLD_LAZY | RTLD_LOCAL), *third = dlopen("./libexported.so", RTLD_NOW);
    if (!data || !outer || !third)
        return puts(dlerror()), 1;
    int *counter = dlsym(data, "counter"), (*f)(int) = (int (*)(int))dlsym(outer, "outer"), (*sum)(int, ...) = (int (*)(int, ...))dlsym(third, "sum");
    *counter = 20;
    int result = f(2);
    printf("%d %d %d\n", result, *counter, sum(2, 3, 4));
    return 0;
}
END
gcc -o opener opener.c
status 0 ./opener
has out "42 21 7"

# Thread-locals are the library's own, for programs of any kind, in threads that were there before the library, and for dlsym.
source_file threads.c <<'END'
#include <stddef.h>
__thread int per_thread = 3;
__thread char name[24] __attribute__((aligned(64))) = "abc";
__thread long zero;
static __thread int hidden = 40;
int shared = 5;
int get(void) { return per_thread + hidden; }
void set(int x) { per_thread = x; zero += x; hidden++; name[0] = 'z'; shared++; }
void *where(int which) { return which ? (void *)&zero : name; }
END
source_file uses_threads.c <<'END'
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
extern __thread int per_thread;
extern __thread char name[24];
extern __thread long zero;
extern int get(void);
extern void set(int), *where(int);
static void *other(void *from)
{
    per_thread += 100;
    set(per_thread + 1);
    printf("%d %d %ld %s %d %d\n", per_thread, get(), zero, name, where(1) == &zero, from == name);
    return NULL;
}
int main(void)
{
    pthread_t thread;
    per_thread = 7;
    printf("%d\n", get());
    set(9);
    printf("%d %ld %s %d %d\n", per_thread, zero, name, where(1) == &zero, where(0) == name);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread, NULL, other, name) || pthread_join(thread, NULL))
            return 1;
    printf("%d %d %d\n", per_thread, get(), dlsym(RTLD_DEFAULT, "per_thread") == &per_thread);
    return 0;
}
END
source_file opens_threads.c <<'END'
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
static pthread_barrier_t barrier;
static void *library;
static void *other(void *unused)
{
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); /* the library is there */
    int *place = dlsym(library, "per_thread");
    int (*get)(void) = (int (*)(void))dlsym(library, "get");
    printf("%d %d %s\n", *place, get(), (char *)dlsym(library, "name"));
    *place = 50;
    printf("%d\n", get());
    return unused;
}
int main(int argc, char **argv)
{
    pthread_t thread;
    (void)argc;
    pthread_barrier_init(&barrier, NULL, 2);
    if (pthread_create(&thread, NULL, other, NULL))
        return 1;
    pthread_barrier_wait(&barrier);
    library = dlopen(argv[1], RTLD_NOW);
    if (!library)
        return puts(dlerror()), 1;
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    printf("%d\n", *(int *)dlsym(library, "per_thread"));
    return 0;
}
END
gcc -shared -fPIC -O2 -o libnative.so threads.c
gcc -O2 -o opens_threads opens_threads.c -pthread
gcc -O2 -fPIC -o native uses_threads.c -L. -lnative -Wl,-rpath,. -pthread
./native >wanted
./opens_threads ./libnative.so >wanted_opened
for compiler in 'gcc -O2 -fPIC' 'crateld cc -O2' 'gcc -O0 -fPIC -mtls-dialect=gnu2'; do
    $compiler -c threads.c
    crateld link -o threads.crate threads.o
    crateld export -o libthreads.so threads.crate 2>err
    [ ! -s err ] || fail "a warning: $(cat err)"
    for flags in -fPIC -O2 '-O2 -fno-pie -no-pie'; do
        gcc $flags -o uses uses_threads.c -L. -lthreads -Wl,-rpath,. -pthread
        status 0 ./uses
        cmp -s out wanted || fail "$compiler, $flags: $(cat out), natively $(cat wanted)"
    done
    status 0 ./opens_threads ./libthreads.so
    cmp -s out wanted_opened || fail "$compiler, opened: $(cat out), natively $(cat wanted_opened)"
done
echo 'int get(void); int through(void) { return get(); }' >through.c
gcc -fPIC -O2 -c through.c
crateld link -o through.crate through.o threads.crate
crateld export -o libthrough.so through.crate
source_file late.c <<'END'
#include <stdio.h>
int get(void), through(void);
extern __thread int per_thread;
int main(int argc, char **argv)
{
    (void)argv;
    per_thread = 1;
    int first = argc > 1 ? through() : get();
    return printf("%d %d\n", first, argc > 1 ? get() : through()) < 0;
}
END
echo '__thread int per_thread = 3; int get(void) { return per_thread; }' >threads.c # no variables: it is opened by the first call
gcc -fPIC -O2 -c threads.c
crateld link -o threads.crate threads.o
status 127 ./uses
has err "another build than the library was made of"
crateld export -o libthreads.so threads.crate
gcc -O2 -o late late.c -L. -lthreads -lthrough -Wl,-rpath,.
status 0 ./late
has out "1 1"
status 127 ./late through
has err "threads.crate: is open already, so its thread-locals are not those of the library"

# Real libraries, as crates of their archives: results are the native ones.
source_file zlib.c <<'END'
#include <stdio.h>
#include <string.h>
#include <zlib.h>
int main(void)
{
    unsigned char in[5000], out[6000], back[5000];
    uLongf size = sizeof out, back_size = sizeof back;
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * i % 251);
    printf("%d %d", compress2(out, &size, in, sizeof in, 9), uncompress(back, &back_size, out, size));
    printf(" %lu %08lx %d %s\n", size, crc32(0, in, sizeof in), memcmp(in, back, sizeof in), zlibVersion());
    return 0;
}
END
crateld link -o z.crate --whole-archive "$(gcc -print-file-name=libz.a)" --no-whole-archive
crateld export -o libzcrate.so z.crate
gcc -O2 -fPIC -o native zlib.c -lz
gcc -O2 -fPIC -o exported zlib.c -L. -lzcrate -Wl,-rpath,.
./native >wanted
status 0 ./exported
cmp -s out wanted || fail "libz: $(cat out), natively $(cat wanted)"
if [ -e "$(gcc -print-file-name=libsqlite3.a)" ]; then
    source_file sql.c <<'END'
#include <sqlite3.h>
#include <stdio.h>
static int row(void *sum, int n, char **values, char **names)
{
    (void)names;
    return sscanf(values[n - 1], "%d", (int *)sum) != 1;
}
int main(void)
{
    sqlite3 *db;
    int sum = 0;
    if (sqlite3_open(":memory:", &db) || sqlite3_exec(db, "create table t(a); insert into t values (20), (22);", NULL, NULL, NULL) ||
        sqlite3_exec(db, "select sum(a) from t", row, &sum, NULL))
        return 1;
    printf("%d %s %d\n", sum, sqlite3_libversion(), sqlite3_close(db));
    return 0;
}
END
    crateld link -o sql.crate --whole-archive "$(gcc -print-file-name=libsqlite3.a)" --no-whole-archive -lm
    crateld export -o libsqlcrate.so sql.crate
    gcc -O2 -fPIC -o native sql.c -lsqlite3
    gcc -O2 -fPIC -o exported sql.c -L. -lsqlcrate -Wl,-rpath,.
    ./native >wanted
    status 0 ./exported
    cmp -s out wanted || fail "libsqlite3: $(cat out), natively $(cat wanted)"
fi

# What is refused.
status 2 crateld export lib.crate
status 1 crateld export -o x.so lib.o
has err "lib.o: not a crate"
echo 'static int nothing; int *place(void) { return &nothing; }' >none.c
gcc -fPIC -c -fvisibility=hidden none.c
crateld link -o none.crate none.o
status 1 crateld export -o x.so none.crate
has err "none.crate: exports nothing that a library can"
left_out() { # left_out <source> <options> <reason>
    echo "$1" >tls.c
    gcc -O2 $2 -c tls.c
    crateld link -o tls.crate tls.o $4
    status 0 crateld export -o libleft.so tls.crate
    has err "'per_thread' is left out: $3"
    ! nm -D libleft.so | grep -q per_thread || fail "it is not left out"
}
left_out 'int x; __thread int *per_thread = &x; int *get(void) { return per_thread; }' "-fPIC" "a thread-local of a crate in which the initial value of one is an address" ""
left_out '#include <crateld/gc_crate.h>
struct node { struct node *next; };
CRATELD_GC_CRATE_TYPE(node_type, struct node, offsetof(struct node, next));
__thread struct node *per_thread; void *make(void) { return per_thread = crateld_gc_new(&node_type, sizeof *per_thread); }' "-fPIC -I$root/include" \
    "a thread-local of a crate with collected objects: export a function that returns its address" "-L$(dirname "$GC_LIBRARY") -lcrateld-gc"
CRATELD_CC=false status 1 crateld export -o x.so lib.crate
has err "false could not make the library"
[ ! -e x.so ] || fail "made a file"
! ls x.so* 2>/dev/null || fail "left a file"

#!/bin/sh
# crateld stub: crates that stand for ELF libraries: their functions, ifuncs, data, thread-locals and versions; programs
# linked against them do what they do natively. A crate that is made of the sources may take the stub's place.
. "$(dirname "$0")/lib.sh"
need gcc g++

source_file lib.c <<'END'
#include <string.h>
int counter = 5;
const char *const names[] = {"one", "two"};
__thread int per_thread = 7;
int increment(void) { return ++counter + per_thread; }
static int fast(void) { return 64; }
static int (*choose(void))(void) { return fast; }
int chosen(void) __attribute__((ifunc("choose")));
int *place(void) { return &counter; }
int old_versioned(void) { return 1; }
int new_versioned(void) { return 2; }
__asm__(".symver old_versioned, versioned@V1");
__asm__(".symver new_versioned, versioned@@V2");
int call_back(int (*f)(int), int n) { return f(n) + 1; }
END
echo 'V1 { global: *; }; V2 { } V1;' >lib.map
gcc -shared -fPIC -O1 -Wl,-soname,libthing.so.1 -Wl,--version-script=lib.map -o libthing.so.1 lib.c
source_file user.c <<'END'
#include <pthread.h>
#include <stdio.h>
extern int counter;
extern const char *const names[];
extern __thread int per_thread;
int increment(void), chosen(void), versioned(void), *place(void), call_back(int (*)(int), int);
#ifdef OLD
__asm__(".symver versioned, versioned@V1");
#endif
static int twice(int n) { return 2 * n; }
static int (*pointer)(void) = chosen;
static void *thread(void *unused)
{
    (void)unused;
    per_thread += 100;
    return (void *)(long)increment();
}
int main(void)
{
    void *result;
    pthread_t other;
    counter = 10;
    per_thread = 20;
    pthread_create(&other, NULL, thread, NULL);
    pthread_join(other, &result);
    printf("%d %ld %d %s %d %d %d %d %d\n", increment(), (long)result, counter, names[1], chosen(), pointer(), versioned(),
           place() == &counter, call_back(twice, 20));
    return 0;
}
END
crateld stub libthing.so.1 -o thing.crate
crateld inspect --exports thing.crate >out
for name in increment counter per_thread chosen versioned; do
    has out $name
done
lacks out V1
for flags in '-fPIC -O2' '-fPIE -O0' '-fPIC -O2 -DOLD' '-fPIC -ftls-model=initial-exec'; do
    # shellcheck disable=SC2086
    gcc $flags -c user.c
    gcc -o native user.o ./libthing.so.1
    LD_LIBRARY_PATH=. ./native >wanted
    rm -f user.crate
    crateld link -o user.crate user.o thing.crate
    crateld inspect --needed user.crate >out
    lacks out libthing
    for way in '' --bind-now --aslr; do
        # shellcheck disable=SC2086
        LD_LIBRARY_PATH=. status 0 crateld run $way user.crate
        cmp -s out wanted || fail "$flags $way: $(cat out), natively $(cat wanted)"
    done
done
crateld cc -O2 -c user.c
crateld link -o user.crate user.o thing.crate
gcc -O2 -o native user.c ./libthing.so.1
LD_LIBRARY_PATH=. ./native >wanted
LD_LIBRARY_PATH=. CRATELD_DEBUG=bind status 0 crateld run user.crate
cmp -s out wanted || fail "TOC code: $(cat out)"
has err "'increment' is at"

# Without its library, or with one that lacks what is used.
mv libthing.so.1 away.so
status 127 crateld run user.crate
has err libthing.so.1
grep -v increment lib.c >less.c
gcc -shared -fPIC -Wl,-soname,libthing.so.1 -Wl,--version-script=lib.map -o libthing.so.1 less.c
LD_LIBRARY_PATH=. status 127 crateld run user.crate
has err increment

# A crate of the same name takes the stub's place.
mv thing.crate stub.crate
grep -v symver lib.c | sed 's/new_versioned/versioned/' >real.c
crateld cc -O2 -c real.c
crateld link -o thing.crate real.o
status 0 crateld run user.crate
cmp -s out wanted || fail "with a real crate: $(cat out), wanted $(cat wanted)"

# Real libraries, each by a stub: the results are the native ones.
for library in m z sqlite3 stdc++; do
    crateld stub -l$library -o $library.crate || fail "stub -l$library"
done
source_file real.c <<'END'
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>
static int row(void *sum, int n, char **values, char **names)
{
    (void)names;
    *(int *)sum += (int)strtol(values[n - 1], NULL, 10);
    return 0;
}
int main(void)
{
    unsigned char in[5000], out[6000], back[5000];
    uLongf size = sizeof out, back_size = sizeof back;
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * i % 251);
    int first = compress2(out, &size, in, sizeof in, 9), second = uncompress(back, &back_size, out, size);
    printf("%d %d %lu %08lx %d\n", first, second, size, crc32(0, in, sizeof in), memcmp(in, back, sizeof in));
    for (double x = 0.1; x < 40; x *= 3)
        printf("%.17g %.17g %.17g %.17g\n", sin(x), pow(x, 1.3), lgamma(-x), fma(x, x, 0.1));
    printf("%d\n", signgam);
    sqlite3 *db;
    int sum = 0;
    if (sqlite3_open(":memory:", &db) ||
        sqlite3_exec(db, "create table t(a, b); insert into t values (1, 2), (3, 40); insert into t select a, b + 1 from t;",
                     NULL, NULL, NULL) ||
        sqlite3_exec(db, "select a, b from t order by b", row, &sum, NULL))
        return 1;
    printf("%s %d %d\n", sqlite3_version, sum, sqlite3_close(db));
    return 0;
}
END
source_file real.cc <<'END'
#include <iomanip>
#include <iostream>
#include <locale>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <typeinfo>
struct base { virtual ~base() {} };
struct derived : base {};
struct sink : std::stringbuf { int sync() override { std::cout << "sync " << str(); str(""); return 0; } };
int main()
{
    std::map<std::string, std::shared_ptr<base>> all{{"a", std::make_shared<derived>()}, {"b", nullptr}};
    for (auto &[name, value] : all)
        std::cout << name << ' ' << (dynamic_cast<derived *>(value.get()) != nullptr) << std::hex << std::setw(5) << 255 << '\n';
    sink own;
    std::ostream(&own) << 1.5 << std::endl;
    try { std::stoi("x"); } catch (const std::invalid_argument &e) { std::cout << e.what() << ' ' << typeid(e).name() << '\n'; }
    try { std::string("abc").at(7); } catch (const std::exception &e) { std::cout << e.what() << '\n'; }
    std::exception_ptr caught;
    std::thread([&] { try { throw derived(); } catch (const base &) { caught = std::current_exception(); } }).join();
    try { std::rethrow_exception(caught); } catch (const derived &) { std::cout << "derived\n"; }
    return std::use_facet<std::ctype<char>>(std::locale()).is(std::ctype_base::digit, '7') ? 0 : 1;
}
END
gcc -O2 -fno-builtin -o native real.c -lm -lz -lsqlite3
./native >wanted
g++ -std=c++17 -O2 -o native-cxx real.cc
./native-cxx >wanted-cxx
for compiler in 'gcc -O2' 'gcc -O2 -fPIC' 'crateld cc -O2'; do
    $compiler -fno-builtin -c real.c
    crateld link -o real.crate real.o m.crate z.crate sqlite3.crate
    status 0 crateld run real.crate
    cmp -s out wanted || fail "$compiler: $(diff out wanted)"
done
for compiler in 'g++ -O2' 'g++ -O2 -fPIC' 'crateld c++ -O2'; do
    $compiler -std=c++17 -c -o cxx.o real.cc
    crateld link -o cxx.crate cxx.o stdc++.crate
    status 0 crateld run cxx.crate
    cmp -s out wanted-cxx || fail "$compiler: $(diff out wanted-cxx)"
done

# What is no library.
status 2 crateld stub user.o -o x.crate
has err "user.o: wanted an ELF shared library to make a stub of"
status 1 crateld stub no-such.so -o x.crate
has err "no-such.so: cannot open"
status 2 crateld stub libthing.so.1
status 2 crateld stub -o x.crate
[ ! -e x.crate ] || fail "made a file"

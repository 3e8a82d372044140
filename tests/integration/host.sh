#!/bin/bash
# include/crateld/host.h: a C and a C++ program open crates, with the shared library and with the archive.
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/lib.sh"
need gcc g++
need_libc_first
build=$(cd "$(dirname "$(command -v crateld)")/../loader" && pwd)
# shellcheck disable=SC2034 # named by `declare -n`
shared=("-I$root/include" "-L$build" -lcrateld "-Wl,-rpath,$build")
# shellcheck disable=SC2034
archive=("-I$root/include" "$build/libcrateld.a")

# The example.
gcc -fPIC -c "$root/examples/host/greeting.c"
crateld link -z undefs -o greeting.crate greeting.o
for way in shared archive; do
    declare -n flags=$way
    gcc -std=c11 -Wall -Wextra -Werror -o example "$root/examples/host/host.c" "${flags[@]}"
    status 0 ./example greeting.crate
    has out "a crate says: hello, world"
    has out "greet() returns 12"
    has out "greeting is greeting.crate, with 1 reference(s)"
    status 1 ./example no-such.crate
    has err "no-such.crate: no such file"
done

source_file inner.cc <<'END'
#include <stdexcept>
#include <string>
extern "C" int inner_count;
int inner_count = 7;
extern "C" void inner_throw(int n) { throw std::out_of_range("inner " + std::to_string(n)); }
END
source_file outer.cc <<'END'
#include <stdexcept>
#include <string>
extern "C" void inner_throw(int);
extern "C" int inner_count;
extern "C" int program_function(int);
thread_local int per_thread = 5;
static std::string made("made at start");
struct counted {
    int &n;
    explicit counted(int &n) : n(n) {}
    ~counted() { n++; }
};
extern "C" int cleanups;
int cleanups = 0;
extern "C" int use(int n) { return program_function(n) + inner_count + ++per_thread + static_cast<int>(made.size()); }
extern "C" void pass_on(int n) { counted c(cleanups); inner_throw(n); }
extern "C" void call_back(void (*f)(int), int n) { counted c(cleanups); f(n); }
extern "C" int catch_it(void (*f)(int), int n)
{
    try { counted c(cleanups); f(n); } catch (const std::exception &e) { return static_cast<int>(std::string(e.what()).size()); }
    return -1;
}
END
source_file program.cc <<'END'
#include <crateld/host.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>
static void check(crateld_error *error)
{
    if (!error)
        return;
    std::printf("%s\n", crateld_error_message(error));
    std::exit(2);
}
static void must_fail(crateld_error *error, enum crateld_error_code code, const char *text)
{
    if (!error || crateld_error_code(error) != code || !std::strstr(crateld_error_message(error), text)) {
        std::printf("wanted '%s', found %s\n", text, error ? crateld_error_message(error) : "success");
        std::exit(3);
    }
    crateld_error_destroy(error);
}
template <typename T> static T *symbol(crateld_crate *crate, const char *name)
{
    void *address = nullptr;
    check(crateld_crate_symbol(crate, name, &address));
    return reinterpret_cast<T *>(address);
}
static int program_function(int n) { return n + 1000; }
static void throw_it(int n) { throw std::runtime_error("program " + std::to_string(n)); }
static int count(crateld_crate *, void *context) { ++*static_cast<int *>(context); return 0; }
static int first(crateld_crate *crate, void *context) { *static_cast<crateld_crate **>(context) = crate; return 9; }
int main()
{
    crateld_host *host, *again;
    crateld_crate *outer, *inner, *same, *found = nullptr;
    const char *paths[] = {"folder"};
    crateld_host_opts opts = {};
    opts.paths = paths;
    opts.path_count = 1;
    check(crateld_host_get(&opts, &host));
    check(crateld_host_get(nullptr, &again));
    if (host != again)
        return 4;
    must_fail(crateld_crate_open(host, "no.crate", &outer), CRATELD_ERROR_NOT_FOUND, "no.crate: no such file");
    must_fail(crateld_crate_open(host, "program.cc", &outer), CRATELD_ERROR_FORMAT, "program.cc: not a crate");
    check(crateld_host_define(host, "program_function", reinterpret_cast<void *>(program_function)));
    check(crateld_host_define(host, "program_function", reinterpret_cast<void *>(program_function)));
    must_fail(crateld_host_define(host, "program_function", host), CRATELD_ERROR_DUPLICATE, "'program_function' is defined");
    check(crateld_crate_open(host, "outer.crate", &outer));
    check(crateld_crate_open(host, "./outer.crate", &same));
    check(crateld_crate_open(host, "folder/inner.crate", &inner));
    if (outer != same || crateld_crate_references(outer) != 2 || std::strcmp(crateld_crate_name(inner), "inner"))
        return 5;
    auto use = symbol<int(int)>(outer, "use");
    int sums[8];
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&, i] { sums[i] = use(i); });
    for (auto &thread : threads)
        thread.join();
    for (int i = 0; i < 8; i++)
        if (sums[i] != 1000 + i + 7 + 6 + 13)
            return 6;
    for (int i = 0; i < 3; i++) {
        try { symbol<void(int)>(outer, "pass_on")(i); return 7; }
        catch (const std::out_of_range &e) { if (std::strncmp(e.what(), "inner ", 6)) return 8; }
        try { symbol<void(void (*)(int), int)>(outer, "call_back")(throw_it, i); return 9; }
        catch (const std::runtime_error &) {}
        if (symbol<int(void (*)(int), int)>(outer, "catch_it")(throw_it, i) != 9)
            return 10;
    }
    if (*symbol<int>(outer, "cleanups") != 9)
        return 11;
    must_fail(crateld_crate_symbol(outer, "nothing", reinterpret_cast<void **>(&found)), CRATELD_ERROR_UNDEFINED, "outer.crate: does not export 'nothing'");
    int crates = 0, users = 0;
    crateld_host_each(host, count, &crates);
    crateld_crate_each_user(inner, count, &users);
    if (crates != 2 || users != 1 || crateld_crate_each_user(inner, first, &found) != 9 || found != outer)
        return 12;
    if (crateld_host_find(host, reinterpret_cast<void *>(use)) != outer || crateld_host_find(host, host))
        return 13;
    must_fail(crateld_crate_close(inner), CRATELD_ERROR_MISMATCH, "outer.crate");
    check(crateld_crate_close(outer));
    check(crateld_crate_close(outer));
    must_fail(crateld_crate_close(outer), CRATELD_ERROR_USAGE, "outer.crate: is not open");
    std::puts("good");
    return 0;
}
END
mkdir folder
for compiler in 'g++ -O2 -fPIC' 'crateld c++ -O2'; do
    $compiler -c inner.cc outer.cc
    crateld link -o folder/inner.crate inner.o -lstdc++
    crateld link -z undefs -o outer.crate outer.o folder/inner.crate -lstdc++
    for way in shared archive; do
        declare -n flags=$way
        g++ -std=c++17 -O1 -o program program.cc "${flags[@]}" -pthread
        status 0 ./program
        has out good
    done
done

# A crate of which another only has addresses is activated when one is called.
echo 'int far(int x) { return x + 1; }' >far.c
echo 'extern int far(int); int (*pointer)(int) = far; int use(int x) { return pointer(x); }' >user.c
source_file gates.c <<'END'
#include <crateld/host.h>
#include <stdio.h>
int main(void)
{
    struct crateld_host *host;
    struct crateld_crate *user, *far;
    void *use, *pointer;
    if (crateld_host_get(NULL, &host) || crateld_crate_open(host, "user.crate", &user) ||
        crateld_crate_symbol(user, "use", &use) || crateld_crate_symbol(user, "pointer", &pointer))
        return 2;
    if (!(far = crateld_host_find(host, *(void **)pointer)))
        return 3;
    fprintf(stderr, "opened\n");
    printf("%s %d\n", crateld_crate_name(far), ((int (*)(int))use)(4));
    return 0;
}
END
gcc -O1 -fPIC -c far.c user.c
crateld link -o far.crate far.o
crateld link -o user.crate user.o far.crate
for way in shared archive; do
    declare -n flags=$way
    gcc -o gates gates.c "${flags[@]}"
    CRATELD_DEBUG=load status 0 ./gates
    has out 'far 5'
    sed -n '/^opened$/,$p' err | grep -q 'far.crate: active' || fail "far.crate was activated too early, or never"
done

# Opened at run time, the library serves as well.
source_file late.c <<'END'
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    int (*get)(void *, void **) = library ? (int (*)(void *, void **))dlsym(library, "crateld_host_get") : 0;
    void *host = 0;
    return argc != 2 || !get || get(0, &host) || !host;
}
END
gcc -o late late.c
status 0 ./late "$build/libcrateld.so.0"

# Nothing but the functions of the headers can be seen, with a version.
nm -D --defined-only "$build/libcrateld.so" | awk '{ print $3 }' >names
! grep -v '^crateld_.*@@CRATELD_1$\|^CRATELD_1$' names || fail "libcrateld.so has other symbols"
nm --defined-only --extern-only "$build/libcrateld.a" | awk 'NF == 3 { print $3 }' >names
! grep -v '^crateld_' names || fail "libcrateld.a has other symbols"

#!/bin/bash
# C++ across crates and through ELF libraries: exceptions, RTTI, one copy of inline variables, order of construction and
# destruction, thread_local destructors, call_once.
. "$(dirname "$0")/lib.sh"
source_file s.h <<'C'
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <string>
#include <typeinfo>
inline int shared_counter = 10;
template <class T> struct Box { static int count; T value; Box(T v) : value(v) { count++; } };
template <class T> int Box<T>::count = 0;
inline int &counter() { static int c = 100; return c; }
inline thread_local int per_thread = 50;
struct Loud { const char *name; Loud(const char *n) : name(n) { std::printf("+%s\n", n); } ~Loud() { std::printf("-%s\n", name); } };
struct Base { virtual ~Base() {} virtual int id() const { return 1; } };
struct Left : virtual Base {}; struct Right : virtual Base {};
struct Diamond : Left, Right { int id() const override { return 4; } };
struct Error : std::runtime_error { int code; Error(int c) : std::runtime_error("error"), code(c) {} };
Base *make(int); void thrower(int); int through(int (*)(int), int); int a_counter(); int *a_shared(); int a_box(); int *a_thread(); void once();
int *a_static();
C
source_file a.cc <<'C'
#include "s.h"
static Loud loud("lib");
Base *make(int n) { shared_counter++; Box<int> b(1); per_thread++; return n ? (Base *)new Diamond : new Base; }
void thrower(int n) { Loud l("unwound"); if (n == 1) throw Error(7); if (n == 2) throw 5; if (n == 3) throw std::string("text"); }
int through(int (*f)(int), int x) { try { return f(x); } catch (int i) { return i + 1000; } }
int a_counter() { return ++counter(); }
int *a_shared() { return &shared_counter; }
int a_box() { return Box<int>::count; }
int *a_thread() { return &per_thread; }
static std::once_flag flag;
void once() { std::call_once(flag, [] { std::puts("once"); }); }
struct Local { ~Local() { std::puts("thread local ends"); } int x = 1; };
int *a_static() { static thread_local Local l; return &l.x; }
__attribute__((destructor)) static void d() { std::puts("lib destructor"); }
C
source_file m.cc <<'C'
#include "s.h"
#include <algorithm>
#include <functional>
#include <iostream>
#include <sstream>
#include <thread>
#include <vector>
static Loud loud("main");
static int nested(int x) { if (x == 3) thrower(1); if (x == 4) throw 9; return x; }
int main()
{
    std::ios_base::sync_with_stdio(false);
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    Loud local("local");
    for (int n = 0; n < 4; n++) {
        try { thrower(n); std::printf("no throw\n"); }
        catch (const Error &e) { std::printf("Error %d %s\n", e.code, e.what()); }
        catch (int i) { std::printf("int %d\n", i); }
        catch (const std::string &s) { std::printf("string %s\n", s.c_str()); }
    }
    try { through(nested, 3); } catch (std::exception &e) { std::printf("through %s %d\n", e.what(), dynamic_cast<Error &>(e).code); }
    std::printf("through %d %d\n", through(nested, 4), through(nested, 5));
    try { std::vector<int>().at(3); } catch (const std::out_of_range &) { std::puts("from libstdc++"); }
    try { std::vector<int> v{3, 2, 1}; std::for_each(v.begin(), v.end(), [](int x) { if (x == 1) thrower(2); }); } catch (int i) { std::printf("through algorithm %d\n", i); }
    Base *d = make(1), *b = make(0);
    std::printf("rtti %d %d %d %s\n", dynamic_cast<Right *>(d) != nullptr, dynamic_cast<Right *>(b) == nullptr, typeid(*d) == typeid(Diamond), typeid(*d).name());
    delete d; delete b;
    std::printf("one copy %d %d %d %d\n", a_shared() == &shared_counter, shared_counter, a_box() == Box<int>::count, Box<int>::count);
    std::printf("one static %d %d\n", a_counter(), ++counter());
    std::printf("one thread_local %d %d\n", a_thread() == &per_thread, per_thread);
    std::thread([] { std::printf("thread %d %d %d\n", a_thread() == &per_thread, per_thread, *a_static()); try { thrower(1); } catch (Error &) { std::puts("caught in thread"); } }).join();
    once(); once();
    std::ostringstream o; o << 1.5 << ' ' << std::hex << 255; std::cout << o.str() << std::endl;
    std::function<int(int)> f = nested; std::printf("function %d\n", f(2));
    try { try { thrower(1); } catch (...) { throw; } } catch (Error &e) { std::printf("rethrown %d\n", e.code); }
    auto p = [] { try { thrower(3); } catch (...) { return std::current_exception(); } return std::exception_ptr(); }();
    try { std::rethrow_exception(p); } catch (std::string &s) { std::printf("exception_ptr %s\n", s.c_str()); }
    return 3;
}
__attribute__((destructor)) static void d() { std::puts("main destructor"); }
C
for flags in "-O2 -fPIC" "-O0 -fPIC" "-O2 -fPIE" "-O2"; do
    $CXX $flags -c a.cc m.cc -pthread || fail "compile $flags"
    $CXX a.o m.o -o one -pthread 2>/dev/null || skip "no C++ linking"
    set +e; ./one >want_one; set -e
    $CXX -O2 -fPIC -shared a.cc -o liba.so -pthread && $CXX $flags m.cc -o two -L. -la -Wl,-rpath,. -pthread
    set +e; ./two >want_two; set -e
    crateld link -o m.crate a.o m.o -lstdc++
    status 3 crateld run m.crate
    diff out want_one >&2 || fail "one crate, $flags"
    $CXX -O2 -fPIC -c a.cc -pthread # what addresses inline variables directly must be the entry crate
    crateld link -o a.crate a.o -lstdc++
    crateld link -o m.crate m.o a.crate -lstdc++
    for mode in "" --aslr --bind-now; do
        status 3 crateld run $mode m.crate
        diff out want_two >&2 || fail "two crates, $flags $mode"
    done
done

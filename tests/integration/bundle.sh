#!/bin/bash
# A bundle is what its crates are: the same program, run from files and from the bundle, says the same.
. "$(dirname "$0")/lib.sh"
need_libc_first
need "$CXX"

# Three libraries that need each other, a program, and one that is only opened: data with addresses in both directions,
# thread-locals, names that several crates have, variables of which there is one in a process, sets of a section,
# initialisers and finalisers of all kinds, exceptions across crates, interposition by RTLD_NEXT.
source_file shared.h <<'C'
#include <stdio.h>
#include <string>
#include <vector>
struct problem {
    int code;
    explicit problem(int c) : code(c) {}
    virtual ~problem() {}
};
struct entry {
    const char *name;
};
#define ENTRY(n) static const entry entry_##n __attribute__((section("entries"), used)) = {#n}
extern const entry begin[] __asm__("__start_entries") __attribute__((visibility("hidden")));
extern const entry end[] __asm__("__stop_entries") __attribute__((visibility("hidden")));
inline int once = (puts("once"), 7);
template <class T> struct counted {
    static int count;
};
template <class T> int counted<T>::count = 40;
inline int next_number()
{
    static int number = 100;
    return ++number;
}
C
source_file low.cc <<'C'
#include "shared.h"
static int state = 3;
static int helper(int x) { return x + state; }
int low_value = 11;
int *low_pointer = &low_value;
thread_local int low_tls = 5;
static thread_local std::string low_text = "low";
ENTRY(low);
extern int (*mid_function)(int);
extern "C" int low_call(int x) { return helper(x) + low_tls++; }
extern "C" const char *whoami() { return "low"; }
const char *low_name() { return low_text.c_str(); }
void low_throw(int c) { throw problem(c); }
int low_entries() { return (int)(end - begin); }
int low_through(int x) { return mid_function(x); }
struct low_life {
    low_life() { puts("low starts"); }
    ~low_life() { puts("low ends"); }
} low_life;
__attribute__((destructor)) static void done() { puts("low is done"); }
C
source_file mid.cc <<'C'
#include "shared.h"
#include <dlfcn.h>
extern "C" int low_call(int);
extern int low_value, *low_pointer;
extern thread_local int low_tls;
void low_throw(int);
static int helper(int x) { return x * 1000; }
static int add(int x) { return helper(x) + 1; }
int (*mid_function)(int) = add;
int (*mid_table[])(int) = {low_call, add};
int *mid_pointer = &low_value;
ENTRY(mid);
ENTRY(mid2);
extern "C" const char *whoami()
{
    static std::string text;
    const char *(*next)() = (const char *(*)())dlsym(RTLD_NEXT, "whoami");
    text = std::string("mid, then ") + (next ? next() : "nobody");
    return text.c_str();
}
int mid_entries() { return (int)(end - begin); }
int mid_work(int x)
{
    low_tls += 10;
    counted<int>::count++;
    try {
        low_throw(x);
    } catch (const problem &p) {
        return p.code + mid_table[0](x) + mid_table[1](x) + *mid_pointer + *low_pointer + next_number();
    }
    return -1;
}
__attribute__((constructor(101))) static void early() { puts("mid starts early"); }
__attribute__((constructor)) static void late() { puts("mid starts"); }
C
source_file plug.cc <<'C'
#include "shared.h"
extern "C" int low_call(int);
extern int low_value;
extern "C" const char *whoami() { return "plug"; }
ENTRY(plug);
extern "C" int plug(int x) { return low_call(x) + ++low_value + counted<int>::count + next_number(); }
extern "C" int plug_entries() { return (int)(end - begin); }
__attribute__((constructor)) static void start() { puts("plug starts"); }
__attribute__((destructor)) static void stop() { puts("plug ends"); }
C
source_file main.cc <<'C'
#include "shared.h"
#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <thread>
extern "C" const char *whoami();
const char *low_name();
void low_throw(int);
int mid_work(int), mid_entries(), low_entries(), low_through(int);
extern int low_value, (*mid_function)(int), (*mid_table[])(int);
extern thread_local int low_tls;
extern "C" int low_call(int);
static int helper(int x) { return x - 1; }
ENTRY(main);
static int visit(dl_phdr_info *info, size_t, void *found)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, at = (uintptr_t)&low_value;
        *(int *)found += info->dlpi_phdr[i].p_type == PT_LOAD && at - start < info->dlpi_phdr[i].p_memsz;
    }
    return 0;
}
int main(int argc, char **argv)
{
    printf("main %d %s %s\n", helper(argc), whoami(), low_name());
    printf("work %d %d %d\n", mid_work(7), mid_entries(), low_entries());
    printf("own %d, once %d, count %d, number %d\n", (int)(end - begin), once, counted<int>::count, next_number());
    printf("same %d %d\n", (void *)mid_table[0] == (void *)low_call, mid_function == mid_table[1]);
    printf("through %d\n", low_through(4));
    std::thread([] { printf("thread %d\n", ++low_tls); }).join();
    printf("tls %d\n", low_tls);
    try {
        low_throw(9);
    } catch (problem &p) {
        printf("caught %d\n", p.code);
    }
    int found = 0;
    dl_iterate_phdr(visit, &found);
    printf("found %d\n", found);
    printf("default %d\n", dlsym(RTLD_DEFAULT, "low_call") == (void *)low_call);
    printf("hidden %d\n", dlsym(RTLD_DEFAULT, "plug") != NULL);
    if (argc == 1)
        return 0;
    void *plug = dlopen(argv[1], RTLD_NOW);
    if (!plug)
        return puts(dlerror()), 1;
    printf("plug %d %d\n", ((int (*)(int))dlsym(plug, "plug"))(1), ((int (*)())dlsym(plug, "plug_entries"))());
    printf("its %s\n", ((const char *(*)())dlsym(plug, "whoami"))());
    printf("lent %d\n", dlsym(plug, "low_call") == (void *)low_call);
    printf("again %d\n", dlopen(argv[1], RTLD_NOW) == plug);
    printf("value %d\n", low_value);
    Dl_info info;
    for (const void *at : {(const void *)low_call, (const void *)whoami, (const void *)&low_value})
        puts(dladdr(at, &info) && info.dli_sname ? info.dli_sname : "nameless");
    return 0;
}
C

# build FOLDER FLAGS...: the crates, each in FOLDER.
build() {
    folder=$1
    shift
    mkdir -p "$folder"
    for name in low mid plug main; do
        "$@" -std=c++17 -c $name.cc -o "$folder/$name.o" || fail "$*: $name.cc"
    done
    (
        cd "$folder"
        crateld link -o low.crate low.o --declare mid.crate:mid_function -lstdc++ -lm || exit 1
        crateld link -o mid.crate mid.o low.crate -lstdc++ -lm || exit 1
        crateld link -o plug.crate plug.o low.crate -lstdc++ -lm || exit 1
        crateld link -o main.crate main.o mid.crate low.crate -lstdc++ -lm
    ) 2>err || fail "link of $folder"
    rm -rf "$folder.one"
    mkdir "$folder.one"
    crateld bundle -o "$folder.one/app.crate" "$folder/main.crate" "$folder"/*.crate 2>err || fail "bundle of $folder"
    [ ! -s err ] || fail "bundle of $folder warns"
}

# same FOLDER OPTION...: both run alike.
same() {
    folder=$1
    shift
    status 0 crateld run "$@" "$folder/main.crate" "$PWD/$folder/plug.crate"
    mv out wanted
    status 0 crateld run "$@" "$folder.one/app.crate" plug.crate
    diff wanted out >&2 || fail "$folder, crateld run $*: the bundle says something else (>) than its crates (<)"
}

for flags in '-O0 -fPIC' '-O2 -fPIC' '-O2 -fPIE' '-O2 -fPIC -ffunction-sections -fdata-sections'; do
    # shellcheck disable=SC2086 # words
    build plain $CXX $flags
    same plain
    has out 'plug starts'
done
same plain --bind-now
same plain --aslr

# TOC code, and both kinds in one bundle.
build toc crateld c++ -O2
same toc
same toc --aslr

# Debuggers see functions of all members by name, and who called them.
if command -v gdb >/dev/null; then
    gdb -batch -ex 'set breakpoint pending on' -ex 'break low_throw' -ex run -ex bt \
        --args "$(command -v crateld)" run plain.one/app.crate >out 2>&1 </dev/null || :
    has out 'low_throw'
    has out 'in mid_work'
    has out 'in main'
fi

# Executed as a file, stripped, and without what is opened.
status 0 plain.one/app.crate
has out 'low ends'
lacks out 'plug'
crateld strip plain.one/app.crate >/dev/null
same plain
status 1 crateld bundle -o again.crate plain.one/app.crate
has err 'is a bundle'

# What lies beside the bundle is found there; what needs a member finds it in the bundle.
crateld bundle -o beside/app.crate plain/main.crate plain/mid.crate 2>err && fail "a folder that does not exist"
mkdir beside
crateld bundle -o beside/app.crate plain/main.crate plain/low.crate
cp plain/mid.crate plain/plug.crate beside
status 0 crateld run plain/main.crate "$PWD/plain/plug.crate"
sed 's/mid, then low/mid, then nobody/' out >wanted # what is in a bundle comes before what is beside it
status 0 crateld run beside/app.crate plug.crate
diff wanted out >&2 || fail "with crates beside the bundle"
rm beside/mid.crate
status 127 crateld run beside/app.crate
has err "needs crate 'mid'"

# Members are told, and what they export.
status 0 crateld inspect plain.one/app.crate
has out 'Members'
has out 'plug.crate'

# Bad input.
status 2 crateld bundle -o x.crate
status 2 crateld bundle plain/main.crate
status 1 crateld bundle -o x.crate plain/main.o
has err 'main.o: not a crate'
cp plain/low.crate bare.crate
crateld strip bare.crate >/dev/null
status 1 crateld bundle -o x.crate plain/main.crate bare.crate
has err 'bare.crate: has no relink section'
crateld link -o other.crate --name low plain/plug.o plain/low.crate -lstdc++ 2>/dev/null || :
crateld link -o other.crate --name low toc/low.o --declare mid.crate:mid_function -lstdc++
status 1 crateld bundle -o x.crate plain/main.crate plain/low.crate other.crate
has err "another crate called 'low' is in the bundle"
[ ! -e x.crate ] || fail "half a bundle was written"

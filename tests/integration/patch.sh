#!/bin/bash
# Patches: a recompiled module comes into a crate by `crateld diff` and `crateld run --patch`; the program does what it does when
# it is linked anew. What would change the layout of state, or can not be told, is refused by name.
. "$(dirname "$0")/lib.sh"

# edited FILE SED: its next version, as new.c.
edited() {
    sed -E "$2" "$1" >new.c
    ! cmp -s "$1" new.c || fail "$2 edits nothing in $1"
}

# The oracle: for each way to compile, base and new version as crates, and the patch between them.
# same NAME FLAGS: with new.c in place of NAME.c.
same() {
    # shellcheck disable=SC2086
    $COMPILER $2 -c "$1" -o new.o
    rm -rf anew && mkdir anew
    crateld link --name app -o anew/app.crate new.o main.o "${LIBRARIES[@]}"
    set +e
    crateld run anew/app.crate >want
    wanted_status=$?
    set -e
    status 0 crateld diff -o fix.patch app.crate module.o=new.o
    for mode in "" --aslr --bind-now; do
        # shellcheck disable=SC2086
        status $wanted_status crateld run $mode --patch fix.patch app.crate
        cmp out want || fail "$1 with $2 $mode: the patched crate does something else"
    done
    status 0 crateld inspect --check fix.patch
    crateld inspect --json fix.patch | python3 -m json.tool >/dev/null
}

source_file module.c <<'C'
#include <stdio.h>
#include <stdlib.h>
int counter = 3, table[4] = {1, 2, 3, 4};
static int hidden = 5;
static const char *const names[] = {"one", "two", "three"};
static const int weights[] = {3, 5, 7};
__thread int local = 9;
static __thread int own = 2;
int *pointer = &table[1];
int lib(int);
static int calls(void) { static int count; return ++count; }
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static __attribute__((noinline)) int helper(int x) { return x * 2 + hidden + weights[x % 3]; }
int same(int x) { return x + 1; }
int step(int x)
{
    counter++;
    local += own++;
    qsort(table, 4, sizeof *table, compare);
    printf("step %d %s %d %d %d\n", counter, names[x % 3], calls(), local, *pointer);
    switch (x) {
    case 0: return 10;
    case 1: return helper(1);
    case 2: return helper(2) + lib(x);
    case 3: return same(3);
    case 4: return table[0];
    }
    return lib(x);
}
int (*handler)(int) = step;
int (*which(void))(int) { return step; }
C
source_file main.c <<'C'
#include <stdio.h>
int step(int), same(int), (*which(void))(int), extra(void) __attribute__((weak));
extern int counter, (*handler)(int);
extern __thread int local;
int lib(int x) { return x + 1000; }
int main(void)
{
    int sum = 0;
    for (int i = 0; i < 7; i++)
        sum += step(i) + handler(i);
    printf("%d %d %d %d %d\n", sum, counter, local, same(1), handler == step && which() == step && which() == handler);
    return sum & 63;
}
C
LIBRARIES=()
for flags in "-O2 -fPIC -ffunction-sections -fdata-sections" -O0 "-O2 -g" "-O3 -fno-pie" "-Os -fPIC -ffunction-sections -mtls-dialect=gnu2"; do
    for COMPILER in "$CC" clang "crateld cc"; do
        command -v "${COMPILER%% *}" >/dev/null || continue
        case $COMPILER,$flags in clang*gnu2* | crateld*-fno-pie* | crateld*-Os* | crateld*,-O0) continue ;; esac
        # shellcheck disable=SC2086
        $COMPILER $flags -c module.c main.c
        crateld link -o app.crate module.o main.o
        for edit in 's/x \* 2/x * 3/' 's/step %d/STEP %d/' 's/"two"/"zwei"/' 's/\{3, 5, 7\}/{4, 6, 8}/' 's/hidden = 5/hidden = 7/' \
            's/case 3: return same\(3\)/case 3: return same(30) + getenv("PATH")[0]/' 's/b - \*|- \*\(const int \*\)b/+ 2 - *(const int *)b/' \
            's/counter = 3, table\[4\] = \{1, 2/counter = 30, table[4] = {9, 8/' 's/return x \+ 1;/return x + 2;/' \
            's/^int same/static __attribute__((noinline)) int fresh(int x) { return x ^ 9; }\nint same/; s/return lib/return fresh(1) + lib/' \
            's/&table\[1\]/\&table[2]/'; do
            edited module.c "$edit"
            same new.c "$flags"
        done
        case $flags in *-fdata-sections*)
            edited module.c 's/table\[4\] = \{1, 2, 3, 4\}/table[64] = {5, 6, 7, 8, 9}/; s/case 4: return table\[0\]/case 4: return table[5] + table[63]/; s/&table\[1\]/\&table[61]/'
            same new.c "$flags"
            ;;
        esac
    done
done

# A plain module beside TOC code, which it calls and is called by.
COMPILER=$CC
$CC -O2 -c module.c
crateld cc -O2 -c main.c
crateld link -o app.crate module.o main.o
for edit in 's/step %d/STEP %d/' 's/x \* 2/x * 3/'; do
    edited module.c "$edit"
    same new.c -O2
done

# The same bytes for the same inputs; nothing changed, nothing moves.
COMPILER=$CC
$CC -O2 -fPIC -ffunction-sections -fdata-sections -c module.c main.c
crateld link -o app.crate module.o main.o
edited module.c 's/x \* 2/x * 3/'
$CC -O2 -fPIC -ffunction-sections -fdata-sections -c new.c
crateld diff -o fix.patch app.crate module.o=new.o
crateld inspect --patch fix.patch >list
has list helper
lacks list compare
mkdir elsewhere && cp new.o elsewhere/module.o
status 0 crateld diff -o elsewhere/fix.patch app.crate elsewhere/module.o # known by its file's name
crateld inspect --patch elsewhere/fix.patch | tail -n +3 | cmp - <(tail -n +3 list) || fail "a module known by its file's name makes another patch"
cp fix.patch first.patch
crateld diff -o fix.patch app.crate module.o=new.o
cmp fix.patch first.patch || fail "the same inputs make another patch"
crateld diff -o none.patch app.crate module.o
[ -z "$(crateld inspect --json --patch none.patch | python3 -c 'import json, sys; print(*json.load(sys.stdin)["crates"][0]["moves"])')" ] ||
    fail "functions moved, though nothing changed"
status 0 crateld inspect none.patch

# Several crates; C++ with vtables, exceptions, inline functions and variables.
source_file module.cc <<'C'
#include <map>
#include <stdexcept>
#include <string>
struct Shape { virtual ~Shape() {} virtual int area() const = 0; int id = 1; };
template <class T> T twice(T x) { return x + x; }
inline int shared_count = 0;
struct Square : Shape { int s; Square(int x) : s(x) { shared_count++; } int area() const override { return s * s; } };
struct Odd : Shape { int area() const override { throw std::runtime_error("odd"); } };
Shape *make(const std::string &kind, int x) { if (kind == "odd") return new Odd; return new Square(twice(x)); }
int total(const Shape &shape) { static std::map<std::string, int> seen; try { return shape.area() + (int)seen.size() + ++seen["n"]; } catch (const std::exception &e) { return -(int)std::string(e.what()).size(); } }
int counted() { return shared_count; }
C
source_file main.cc <<'C'
#include <cstdio>
#include <string>
struct Shape { virtual ~Shape() {} virtual int area() const = 0; int id = 1; };
inline int shared_count = 0;
Shape *make(const std::string &, int); int total(const Shape &); int counted();
struct Mine : Shape { int area() const override { if (id > 5) throw std::string("mine"); return 7; } };
int main()
{
    Shape *a = make("square", 3), *b = make("odd", 0); Mine mine;
    std::printf("%d %d %d %d %d\n", total(*a), total(*b), total(mine), counted(), shared_count);
    mine.id = 6;
    try { std::printf("%d\n", total(mine)); } catch (const std::string &s) { std::printf("caught %s\n", s.c_str()); }
    return 0;
}
C
LIBRARIES=(-lstdc++)
for flags in "-O2 -fPIC" -O0 "-O2 -ffunction-sections -fdata-sections"; do
    for COMPILER in "$CXX -std=c++17" "clang++ -std=c++17"; do
        command -v "${COMPILER%% *}" >/dev/null || continue
        # shellcheck disable=SC2086
        $COMPILER $flags -c module.cc main.cc
        crateld link -o app.crate module.o main.o -lstdc++
        for edit in 's/return s \* s/return s * s + 1/' 's/runtime_error\("odd"\)/logic_error("very odd")/' 's/return x \+ x/return x + x + x/' \
            's/seen\["n"\]/seen["n"] + ++seen["m"]/' 's/new Square\(twice\(x\)\)/new Square(twice(x) - 1)/' \
            's/struct Odd/struct Even : Square { using Square::Square; int area() const override { return 2 * s; } };\nstruct Odd/; s/new Square\(/new Even(/'; do
            edited module.cc "$edit"
            cp new.c new.cc
            same new.cc "$flags"
        done
    done
done
LIBRARIES=()
COMPILER=$CC

# An object that would have to be constructed is not left without.
echo '#include <string>
static std::string first("one"); const char *text() { return first.c_str(); }' >objects.cc
echo '#include <cstdio>
const char *text(); int main() { puts(text()); return 0; }' >prints.cc
mkdir more && sed 's/^static/static std::string second("two");\nstatic/; s/return first.c_str/first += second; return first.c_str/' objects.cc >more/objects.cc
for COMPILER in "$CXX -std=c++17" "clang++ -std=c++17"; do
    command -v "${COMPILER%% *}" >/dev/null || continue
    $COMPILER -O2 -ffunction-sections -fdata-sections -c objects.cc prints.cc
    $COMPILER -O2 -ffunction-sections -fdata-sections -c more/objects.cc -o more/objects.o
    crateld link -o app.crate objects.o prints.o -lstdc++
    status 1 crateld diff -o bad.patch app.crate more/objects.o
    has err "constructors have run already"
done
COMPILER=$CC

# What the base did not need is found: compilers' own libraries, and more of those that it names.
echo 'extern "C" int printf(const char *, ...); int g(int); int main() { return printf("%d\n", g(3)) < 0; }' >plain.cc
echo 'int g(int x) { return x + 1; }' >throws.cc
$CXX -O2 -ffunction-sections -fdata-sections -c plain.cc throws.cc
crateld link -o app.crate plain.o throws.o -lstdc++
cat >new.cc <<'C'
#include <stdexcept>
#include <string.h>
static __attribute__((noinline)) int h(int x) { if (x > 2) throw std::runtime_error("big"); return x; }
static __attribute__((noinline)) __int128 divided(__int128 a, __int128 b) { return a / b; }
int g(int x) { try { return h(x); } catch (std::exception &e) { return (int)strlen(e.what()) + (int)divided(100, x); } }
C
$CXX -O2 -ffunction-sections -fdata-sections -c new.cc
status 0 crateld diff -o fix.patch app.crate throws.o=new.o
status 0 crateld run --patch fix.patch app.crate
has out 36

# The base's users find the new version: a function that another crate calls, and one whose address it took.
echo 'int api(int x) { return x + 1; } int (*get(void))(int) { return api; }' >lib.c
echo '#include <stdio.h>
int api(int), (*get(void))(int); int main(void) { printf("%d %d %d\n", api(1), get()(2), get() == api); return 0; }' >user.c
$CC -O2 -fPIC -c lib.c user.c
crateld link -o lib.crate lib.o
crateld link -o user.crate user.o lib.crate
sed 's/x + 1/x + 10/' lib.c >lib2.c
$CC -O2 -fPIC -c lib2.c
status 0 crateld diff -o lib.patch lib.crate lib.o=lib2.o
status 0 crateld run --patch lib.patch user.crate
has out "11 12 1"

# A member of an archive.
ar rcs libmodule.a lib.o
crateld link -o archive.crate user.o libmodule.a
status 0 crateld diff -o archive.patch archive.crate lib.o=lib2.o
status 0 crateld diff -o archive.patch archive.crate 'libmodule.a(lib.o)=lib2.o'
status 0 crateld run --patch archive.patch archive.crate
has out "11 12 1"

# Refusals.
flags="-O2 -fPIC -ffunction-sections -fdata-sections"
# shellcheck disable=SC2086
$CC $flags -c module.c main.c
crateld link -o app.crate module.o main.o
refused() { # SED TEXT [FLAGS]
    edited module.c "$1"
    # shellcheck disable=SC2086
    $CC ${3-$flags} -c new.c
    rm -f bad.patch
    status 1 crateld diff -o bad.patch app.crate module.o=new.o
    has err "$2"
    [ ! -e bad.patch ] || fail "a refused patch was written"
}
refused 's/table\[4\] = \{1, 2, 3, 4\}/table[2] = {1}/' "new.o: variable 'table': 8 bytes, but 16 in app.crate"
refused 's/ own = 2/ own[2] = {2}/; s/own\+\+/own[0]++/' "variable 'own': 8 bytes, but 4 in app.crate"
refused 's/return lib/return nowhere(1) + lib/; s/^int lib/int nowhere(int), lib/' "undefined symbol 'nowhere'"
refused 's/^__thread int local/int local/' "variable 'local': it was something else"
refused 's/^int same/__attribute__((destructor)) static void end(void) { hidden++; }\nint same/' "functions that run at exit"
refused 's/ own = 2/ own = 4/' "variable 'own': a thread-local's initial value changed"
# shellcheck disable=SC2086
$CC -O2 -fPIC -c module.c main.c
crateld link -o app.crate module.o main.o
refused 's/table\[4\] = \{1, 2, 3, 4\}/table[64] = {1}/' "compile with -fdata-sections" "-O2 -fPIC"
refused 's/hidden = 5/hidden = 5, another = 6/; s/\+ hidden/+ hidden + another++/' "compile with -fdata-sections" "-O2 -fPIC"
crateld cc -O2 -c module.c main.c
crateld link -o app.crate module.o main.o
edited module.c 's/x \* 2/x * 3/'
$CC -O2 -fPIC -ffunction-sections -fdata-sections -c new.c
status 1 crateld diff -o bad.patch app.crate module.o=new.o
has err "function 'step' is plain code, and was TOC code in app.crate"
$CC -O2 -fPIC -ffunction-sections -fdata-sections -c module.c
crateld link -o app.crate module.o main.o
crateld cc -O2 -c new.c
status 1 crateld diff -o bad.patch app.crate module.o=new.o
has err "function 'step' is TOC code, and was plain code in app.crate"
# shellcheck disable=SC2086
$CC $flags -c module.c main.c new.c
crateld link -o app.crate module.o main.o
status 1 crateld diff -o bad.patch app.crate new.o
has err "new.o: no module of app.crate was linked from it"
head -c 1000 new.o >short.o
status 1 crateld diff -o bad.patch app.crate module.o=short.o
has err "short.o: "
crateld diff -o fix.patch app.crate module.o=new.o
status 1 crateld run --patch app.crate app.crate
has err "app.crate"
status 127 crateld run --patch missing.patch app.crate
has err "missing.patch: no such file"
status 1 crateld run --patch fix.patch lib.crate
crateld link -o app.crate new.o main.o
status 1 crateld run --patch fix.patch app.crate
has err "fix.patch: is a patch for another build of app.crate"
crateld strip app.crate
status 1 crateld diff -o bad.patch app.crate new.o
has err "app.crate: has no relink section"
status 2 crateld diff app.crate new.o

# Text of patches begins at different places of its pages: code that is all at the start of one shares few lines of the caches.
parts=()
for i in {1..12}; do
    echo "int part$i(int x) { return x + VERSION; }" >part$i.c
    $CC -DVERSION=1 -c part$i.c
    parts+=("part$i.o")
done
echo 'int main(void) { return 0; }' >entry.c
$CC -c entry.c
crateld link -o parts.crate entry.o "${parts[@]}"
for i in {1..12}; do
    $CC -DVERSION=2 -c part$i.c
    crateld diff -o fix.patch parts.crate part$i.o
    crateld inspect fix.patch | sed -n "s/^  part$i  *function .*\(...\)$/\1/p"
done >places
[ "$(wc -l <places)" = 12 ] || fail "places in pages: $(cat places)"
[ "$(sort -u places | wc -l)" -gt 6 ] || fail "places in pages: $(cat places)"

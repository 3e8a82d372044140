#!/bin/bash
# Types of variables are compared by debug information when a module is replaced: what is the same stays, what has grown moves,
# and anything else is refused with the name of what differs; for C and C++, several compilers, and forms of DWARF.
folder=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$folder/lib.sh"
# shellcheck source=reload-lib.sh
. "$folder/reload-lib.sh"
need python3

# A reload that is taken: edit SED-SCRIPT, from the module as it was at first.
edit() {
    sed -E "$1" module.$suffix >new.$suffix
    ! cmp -s module.$suffix new.$suffix || fail "$row: the edit '$1' changes nothing"
}
taken() { # SED-SCRIPT
    edit "$1"
    reload new.$suffix
    lacks out "note:"
}
refuses() { # SED-SCRIPT TEXT
    edit "$1"
    refused new.$suffix "$2"
    has err "variable '"
}
# refuses_class SED-SCRIPT: for what became of its table of virtual functions.
refuses_class() {
    edit "$1"
    refused new.$suffix "vtable for derived: virtual functions came, went or moved"
}

c_rows() {
    suffix=c
    row "what a struct consists of" <<'C'
struct point { int x, y; }; struct state { struct point at; int count; unsigned low : 3, high : 5; } state = {{1, 2}, 3, 4, 5};
enum color { RED, GREEN } color = GREEN; union { int number; float real; } either; float ratio = 2; int (*callback)(int); double numbers[2][3];
long act(const char *line) { state.count += line[0] == '+'; return state.at.x + state.at.y * 10 + state.count * 100 + state.low * 1000 + state.high * 10000 + color * 100000 + (int)ratio * 1000000 + numbers[1][1] + either.number + (callback ? callback(1) : 0); }
C
    ask + 2154421
    refuses 's/int x, y;/int y, x;/' "variable 'state' has another type than in app.crate: struct point: member 'x' is at byte 4, and was at byte 0"
    refuses 's/int count; unsigned/short other; int count; unsigned/' "struct state: member 'count' is at byte 12, and was at byte 8"
    refuses 's/int count; unsigned/float count; unsigned/' "struct state: member 'count' is 'float', and was 'int'"
    refuses 's/low : 3, high : 5/low : 4, high : 4/' "struct state: member 'low' has 4 bits, and had 3"
    refuses 's/ low : 3, high : 5/ other : 7, low : 3, high : 4/' "struct state: member 'low' is at bit 103, and was at bit 96"
    refuses 's/RED, GREEN/BLUE, RED, GREEN/' "variable 'color' has another type than in app.crate: enum color: 'RED' is 1, and was 0"
    refuses 's/int number; float real;/int number; int real;/' "member 'real' is 'int', and was 'float'"
    refuses 's/float ratio/int ratio/' "variable 'ratio' has another type than in app.crate: it is 'int', and was 'float'"
    refuses 's/numbers\[2\]\[3\]/numbers[3][2]/' "it is 'double [3][2]', and was 'double [2][3]'"
    ask a 2154421
    # None of these is another type.
    taken 's/struct point \{ int x, y; \};/typedef int number; struct spot { const number x, y; };/; s/struct point at/struct spot at/; s/int \(\*callback\)\(int\)/long (*callback)(long)/; s/RED, GREEN/RED, GREEN, BLUE/; s/count/total/g; s/return/return 10000000 +/'
    ask + 12154521
    finish

    row "what pointers lead to" <<'C'
#include <stdlib.h>
struct leaf { int value; }; struct node { struct node *next; struct leaf *leaf; int value; }; struct unknown; static struct unknown *handle;
static struct node *head; static void *anything;
long act(const char *line) { long sum = 0; struct node *node; if (line[0] == '+') { node = calloc(1, sizeof *node); node->value = 3; node->next = head; head = node; } for (node = head; node; node = node->next) sum += node->value; return sum + (handle != 0) + (anything != 0); }
C
    ask + 3
    ask + 6
    refuses 's/int value; \}; struct unknown/int more, value; }; struct unknown/' "variable 'head' has another type than in app.crate: struct node, to which it leads: member 'value' is at byte 20, and was at byte 16"
    refuses 's/\{ int value; \};/{ double value; };/' "struct leaf, to which it leads: member 'value' is 'double', and was 'int'"
    refuses 's/int value; \}; struct unknown/int value, more; }; struct unknown/' "struct node, to which it leads: member 'more' is new"
    ask a 6
    # What was unknown may become known.
    taken 's/struct unknown;/struct unknown { int x; };/; s/static void \*anything/static int *anything/; s/sum \+=/sum += 10 */'
    ask a 60
    finish

    if ! has_sanitizer; then
        row "what has grown at its end moves, with its value" <<'C'
struct inner { int a; }; struct { int first; struct inner last[2]; } state = {1, {{2}, {3}}}; int numbers[2] = {5, 6};
long act(const char *line) { if (line[0] == '+') state.first++, numbers[1]++; return state.first + state.last[1].a * 10 + numbers[1] * 100 + sizeof state * 1000; }
C
        ask + 12732
        refuses 's/struct inner \{ int a; \}/struct inner { int a, b; }/' "struct inner: member 'b' is new"
        refuses 's/int numbers\[2\]/float numbers[8]/' "it is 'float [8]', and was 'int [2]'"
        taken 's/last\[2\]; \} state = \{1, \{\{2\}, \{3\}\}\}/last[2]; int more; } state = {1, {{2}, {3}}, 7}/; s/return/return 100000 * state.more +/'
        ask + 716833
        taken 's/last\[2\]; \}/last[4]; }/; s/numbers\[2\]/numbers[4]/'
        ask + 20934
        finish
    fi
}

cxx_rows() {
    suffix=cc
    compile_main
    row_cxx "classes" <<'C'
#include <map>
#include <string>
struct base { int in_base; virtual int f(int x) { return x + in_base; } virtual ~base() {} };
struct derived : base { int own = 2; int f(int x) override { return x + own; } };
template <class T, int n> struct box { T values[n]; union { long number; T value; }; struct { unsigned flag : 1; } bits; };
namespace space { box<int, 3> boxes; static base *object; static std::map<std::string, box<long, 2>> table; static int &reference = boxes.values[0]; }
extern "C" long act(const char *line) { static int calls; if (!space::object) space::object = new derived; space::table[line].values[0]++; space::boxes.bits.flag = line[0] == 'q'; space::boxes.values[0] += line[0] == 'z'; space::boxes.number += line[0] == 'y'; return ++calls + space::object->f(10) * 100 + space::table.size() * 10000 + space::boxes.bits.flag + space::reference; }
C
    ask a 11201
    ask b 21202
    refuses_class 's/virtual int f/virtual int g() { return 0; } virtual int f/'
    refuses_class 's/virtual ~base\(\) \{\}/virtual ~base() {} virtual int g() { return 0; }/'
    refuses 's/int in_base;/int more, in_base;/' "struct base, to which it leads: member 'in_base' is at byte 12, and was at byte 8"
    refuses 's/unsigned flag : 1/unsigned more : 1, flag : 1/' "member 'flag' is at bit "
    refuses 's/T value; \}/T value[2]; }/' "member 'value' is 'int [2]', and was 'int'"
    ask a 21203
    taken 's/x \+ own/x + own + 1/; s/x \+ in_base/x * in_base/; s/struct base \{/struct base { static int shared; void method() {}/'
    ask b 21304
    finish
}
# The program is C; act() of a C++ module is too.
compile_main() {
    $CC -O2 -c main.c -o main.o || fail "cannot compile"
}
row_cxx() {
    row=$1
    cat >module.cc
    compile module.cc module.o
    crateld link -o app.crate module.o main.o -lstdc++
    start app.crate
}

# Compilers and forms of debug information. -O0: registers keep nothing.
for flags in "-g -O2 -ffunction-sections -fdata-sections" "-gdwarf-4 -O0 -fPIC -ffunction-sections -fdata-sections" \
    "-g -gz -O2 -ffunction-sections -fdata-sections" "-g -fdebug-types-section -O1 -ffunction-sections -fdata-sections"; do
    for compiler in "$CC" clang; do
        command -v "${compiler%% *}" >/dev/null || continue
        c_rows
    done
    for compiler in "$CXX -std=c++17" "clang++ -std=c++17 -fstandalone-debug"; do
        command -v "${compiler%% *}" >/dev/null || continue
        cxx_rows
    done
done

# What is not known is told, and sizes decide.
suffix=c
compiler=$CC
sizes() { # TEXT OF THE NOTE
    ask + 11
    sed 's/int count/float count/; s/count \* 10/(int)count * 20/' module.c >new.c
    reload new.c
    has out "note: types of variables are not known, only sizes were compared"
    has out "$1"
    ask a 1
    sed 's/int count/char count/' module.c >new.c
    refused new.c "variable 'count': 1 bytes, but 4 in app.crate"
    finish
}
unknown_row() {
    row "$1" <<'C'
int count; static int calls; long act(const char *line) { count += line[0] == '+'; return count * 10 + (calls = 1); }
C
}
flags="-O2 -ffunction-sections -fdata-sections"
unknown_row "no debug information"
sizes "module.o does not have them (-g)"
unknown_row "no debug information before"
flags="-O2 -g -ffunction-sections -fdata-sections"
sizes "app.crate was linked from an object without them (-g)"
flags="-O2 -g -gsplit-dwarf -ffunction-sections -fdata-sections"
unknown_row "debug information elsewhere"
sizes "app.crate has them in .dwo files, which are others now (-gsplit-dwarf)"

# While the old .dwo file is there, it is used.
flags="-O2 -g -gsplit-dwarf -ffunction-sections -fdata-sections"
unknown_row "debug information in two places"
mkdir -p other
sed 's/int count/float count/; s/count \* 10/(int)count * 20/' module.c >new.c
# shellcheck disable=SC2086
$compiler $flags -c new.c -o other/module.o
! crateld reload $pid module.o=other/module.o >out 2>err || fail "$row: taken: $(cat out)"
has err "variable 'count' has another type than in app.crate: it is 'float', and was 'int'"
finish

# A crate without debug information.
flags="-O2 -g -ffunction-sections -fdata-sections"
unknown_row "debug information left out"
exec 7>&-
wait $pid
crateld link -S -o app.crate module.o main.o
start app.crate
sizes "app.crate was linked from an object without them (-g)"

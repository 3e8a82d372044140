#!/bin/bash
# What becomes of values when a module is replaced: policies for variables of another type, hooks, roll back; new objects with
# constructors; thread-locals; exports that others import.
folder=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$folder/lib.sh"
# shellcheck source=reload-lib.sh
. "$folder/reload-lib.sh"
header=$(cd "$folder/../../include" && pwd)
need python3
need_libc_first

# new SED-SCRIPT: another version of the module, in new.c.
new() {
    sed -E "$1" module.c >new.c
    ! cmp -s module.c new.c || fail "$row: the edit '$1' changes nothing"
}
# with OPTION...: reloads new.c.
with() {
    compile new.c module.new
    mv module.new module.o
    crateld reload "$@" $pid module.o >out 2>err || fail "$row ($compiler $flags): refused: $(cat err)"
}
# never TEXT OPTION...
never() {
    text=$1
    shift
    compile new.c module.new
    mv module.new module.o
    ! crateld reload "$@" $pid module.o >out 2>err || fail "$row ($compiler $flags): taken, wanted $text: $(cat out)"
    has err "$text"
}
back() {
    crateld rollback $pid >out 2>err || fail "$row ($compiler $flags): no roll back: $(cat err)"
}

policies() {
    row "a variable begins anew, keeps its value from then on, and gets the old one back with the old type" <<'C'
struct state { int a, b; } state = {1, 2}; int untouched = 5;
long act(const char *line) { if (line[0] == '+') state.a++, state.b++; return state.a * 10 + state.b + untouched * 1000; }
C
    ask + 5023
    new 's/int a, b; \} state = \{1, 2\}/int b, a; long more; } state = {7, 8, 9}/'
    never "variable 'state': 16 bytes, but 8 in app.crate: struct state: member 'a' is at byte 4, and was at byte 0" --on-change untouched=init
    never "--on-change: none of the modules has a variable 'nobody'" --on-change nobody=init
    status 2 crateld reload --on-change state $pid module.o
    has err "'state' is no VARIABLE=refuse, VARIABLE=init or VARIABLE=migrate"
    ask a 5023
    with --on-change state=init
    ask a 5087
    ask + 5098
    new 's/int a, b; \} state = \{1, 2\}/int b, a; long more; } state = {7, 8, 9}/; s/untouched \* 1000/untouched * 2000/'
    with
    ask + 10109 # nothing is said, for the type is the same as before
    new 's/untouched \* 1000/untouched * 3000/'
    with
    ask a 15023 # the old type, and its value
    back
    ask a 10109 # and the other way round
    with
    ask + 15034
    new 's/int a, b; \} state = \{1, 2\}/int b, a; long more; } state = {7, 8, 9}/; s/untouched \* 1000/untouched * 4000/'
    with --on-change state=init
    ask a 20087 # unless it is to begin anew
    back
    ask a 15034
    back
    ask a 10109
    back
    ask a 5109
    back
    status 1 crateld rollback $pid
    ask + 5045
    finish

    row "a variable that is new since an earlier reload" <<'C'
long act(const char *line) { return (line[0] == '+'); }
C
    ask + 1
    new 's/^long/int more = 3; long/; s/return/return more++ * 10 +/'
    with
    ask + 31
    new 's/^long/float more = 3; long/; s/return/return (int)more++ * 10 +/'
    never "variable 'more' has another type than since an earlier reload"
    new 's/^long/int more = 3; long/; s/return/return more++ * 100 +/'
    with
    ask + 401
    finish

    row "the size alone changes, by option for a static variable" <<'C'
long act(const char *line) { static int count = 3; count += line[0] == '+'; return count; }
C
    ask + 4
    new 's/int count/short count/'
    never "count': 2 bytes, but 4 in app.crate"
    with --on-change count=init
    ask + 4
    ask + 5
    finish
}

migrations() {
    flags="$flags -I$header"
    row "the crate's hook makes the new value" <<'C'
#include <crateld/reload.h>
#include <string.h>
#include <stdlib.h>
struct state { int a, b; } state = {1, 2};
CRATELD_ON_CHANGE(state, migrate);
static int reloads, order;
void crate_reloaded(void) { reloads++; order = order * 10 + 2; }
int crate_migrate(const char *name, const void *old, size_t old_size, void *new_value, size_t new_size) { abort(); }
long act(const char *line) { if (line[0] == '+') state.a++, state.b++; if (line[0] == 'o') return order * 100 + reloads; return state.a * 10 + state.b; }
C
    ask + 23
    hook='int order_of_migrate; int crate_migrate(const char *name, const void *old, size_t old_size, void *new_value, size_t new_size) { const int *was = old; struct state *is = new_value; if (strcmp(name, "state") || old_size != 8 || new_size != sizeof *is || is->more != 9) return 77; BODY order = order * 10 + 1; is->more = was[0]; is->a = was[0] * 2; is->b = was[1] * 2; return 0; }'
    change="s/int a, b; \\} state = \\{1, 2\\}/long more; int b, a; } state = {9, 7, 8}/; s/^int crate_migrate.*/${hook//\//\\/}/"
    new "$change; s/BODY/return 5;/"
    never "variable 'state': crate_migrate() refuses its value, and returns 5"
    ask + 34
    new "$change; s/BODY/*(volatile int *)1 = 0;/"
    never "variable 'state': crate_migrate(): Segmentation fault"
    ask a 34
    new "$change; s/BODY/abort();/"
    never "variable 'state': crate_migrate(): Aborted"
    ask + 45
    ask o 0
    crateld check $pid module.o >out 2>err || fail "$row: $(cat err)"
    ask a 45
    new "$change; s/BODY//"
    never "struct state: member 'a' is at byte 12, and was at byte 0" --on-change state=refuse
    with
    ask a 90
    ask o 1201
    ask + 101
    # The type is the same from now on: nothing is called.
    new "$change; s/BODY//; s/state.a \* 10/state.a * 1000/"
    with
    ask a 9011
    ask o 12202
    back
    back
    ask a 45
    finish

    row "no hook" <<'C'
#include <crateld/reload.h>
int count = 1; CRATELD_ON_CHANGE(count, migrate); long act(const char *line) { return count += (line[0] == '+'); }
C
    new 's/int count/float count/'
    never "it is 'float', and was 'int'; and app.crate has no function crate_migrate() that would migrate 'count'"
    ask + 2
    # A hook that is new itself.
    new 's/^int count = 1/#include <stddef.h>\nint crate_migrate(const char *name, const void *old, size_t old_size, void *new_value, size_t new_size) { *(float *)new_value = 10.0f * *(const int *)old; return 0; }\nfloat count = 1/'
    with
    ask + 21
    finish
    flags=${flags% -I*}
}

# Hooks that fault after the reload are given up.
faulting() {
    row "crate_reloaded() faults" <<'C'
int count = 1; void crate_reloaded(void) { if (count > 1) *(volatile int *)1 = 0; }
long act(const char *line) { return count += (line[0] == '+'); }
C
    ask + 2
    new 's/count \+=/10 * count +/'
    with
    ask + 21
    exec 7>&-
    wait $pid || fail "$row: the program ended with $?"
    pid=
    has errors "crateld: app.crate: crate_reloaded(): Segmentation fault"
}

# Pointers that somebody has: nothing moves, unless that is wanted.
forced() {
    row "a variable moves though the program has a pointer to it" <<'C'
int table[4] = {1, 2, 3, 4}; int *mine;
long act(const char *line) { if (!mine) mine = &table[1]; if (line[0] == 'm') return *mine; table[1]++; return table[1] + 100 * sizeof table; }
C
    ask + 1603
    new 's/table\[4\]/table[8]/'
    never "can not move: the data of app.crate" # with a pointer
    ask + 1604
    with --force
    ask + 3205
    ask m 4
    finish
}

# Another module uses the variable, and another crate.
shared() {
    row=shared
    cat >module.c <<'C'
int count = 3; long other(void); long act(const char *line) { count += line[0] == '+'; return count + other(); }
C
    echo 'extern int count; long other(void) { return count * 10; }' >other.c
    echo 'extern int count; long elsewhere(void) { return count * 10; }' >user.c
    compile module.c module.o
    compile other.c other.o
    compile user.c user.o
    compile main.c main.o
    crateld link -o app.crate module.o other.o main.o
    start app.crate
    ask + 44
    new 's/int count/float count/'
    never "and other.o, which refers to it, is not among the new modules" --on-change count=init
    ask + 55
    sed 's/int count/float count/' other.c >other2.c
    compile other2.c other.new
    compile new.c module.new
    mv other.new other.o && mv module.new module.o
    crateld reload --on-change count=init $pid module.o other.o >out 2>err || fail "$row: $(cat err)"
    ask + 44
    # From now on each can be replaced alone.
    sed -i 's/count \+ other/count * 100 + other/' new.c
    sed -i 's/count + other/count * 100 + other/' new.c
    with
    ask + 550
    finish
}

# Objects with constructors.
constructed() {
    row=constructors
    cat >module.cc <<'C'
extern "C" long act(const char *line) { return (line[0] == '+'); }
C
    cat >new.cc <<'C'
#include <string>
static int constructed; struct counter { int value; counter() : value(100) { constructed++; } ~counter() { constructed--; } } counter;
static std::string text("abc"); __attribute__((constructor)) static void begin() { constructed += 10; }
extern "C" long act(const char *line) { text += line[0]; return ++counter.value + constructed * 1000 + text.size() * 1000000; }
C
    compile module.cc module.o
    $CC -O2 -c main.c
    crateld link -o app.crate module.o main.o -lstdc++
    start app.crate
    ask + 1
    reload new.cc
    ask + 4011101
    sed -i 's/1000000/10000000/' new.cc
    reload new.cc
    ask + 50011102 # none runs again
    sed 's/"abc")/"abc"), more("x")/; s/text.size/more.size() * 2 + text.size/' new.cc >more.cc
    refused more.cc "objects with constructors came, went or changed"
    back
    back
    ask a 0
    reload new.cc
    ask + 60011103
    finish
    # Applied before the start, they run after the crate's own.
    compile new.cc new.o
    compile module.cc module.o
    crateld link -o app.crate module.o main.o -lstdc++
    crateld diff -o fix.patch app.crate module.o=new.o >out
    start --patch fix.patch app.crate
    ask + 40011101
    finish
    # A file that has such objects already: by whatever name the compiler calls what constructs them.
    compile new.cc module.o
    crateld link -o app.crate module.o main.o -lstdc++
    start app.crate
    ask + 40011101
    sed 's/^static int constructed/int first; int another() { return 7; } static int constructed/' new.cc >more.cc
    reload more.cc
    ask + 50011102
    sed 's/"abc")/"abc"), more("x")/; s/text.size/more.size() * 2 + text.size/' new.cc >more.cc
    refused more.cc "constructors have run already"
    finish
}

# Thread-locals: what can not be done is named.
threads() {
    row "thread-locals" <<'C'
__thread int mine = 3; __thread long other[2];
long act(const char *line) { mine += line[0] == '+'; other[1]++; return mine * 10 + other[1]; }
C
    ask + 41
    new 's/int mine/float mine/'
    never "it is 'float', and was 'int': it is a thread-local, and threads have theirs already"
    new 's/other\[2\]/other[3]/'
    never "variable 'other': 24 bytes, but 16 in app.crate: it is a thread-local"
    new 's/mine = 3/mine = 4/'
    never "a thread-local's initial value changed"
    ask + 52
    new 's/mine \* 10/mine * 100/'
    with
    ask + 603
    # A new one keeps its value from then on.
    case $flags in *-fPIC*) initial=7 ;; *) initial=0 ;; esac
    new "s/^__thread/__thread long more = $initial; __thread/; s/mine \* 10/++more * 1000000 + mine * 10/"
    with
    ask + "$((initial + 1))000074"
    new "s/^__thread/__thread long more = $initial; __thread/; s/mine \* 10/++more * 1000000 + mine * 1000/"
    with
    ask + "$((initial + 2))008005"
    new "s/^__thread/__thread int more = $initial; __thread/; s/mine \* 10/++more * 1000000 + mine * 1000/"
    never "variable 'more': 4 bytes, but 8 since an earlier reload"
    finish
}

for flags in "-g -O2 -ffunction-sections -fdata-sections" "-g -O0 -fPIC -ffunction-sections -fdata-sections"; do
    for compiler in "$CC" clang; do
        command -v "${compiler%% *}" >/dev/null || continue
        policies
        migrations
        faulting
        forced
        shared
        threads
    done
    for compiler in "$CXX -std=c++17" "clang++ -std=c++17"; do
        command -v "${compiler%% *}" >/dev/null || continue
        constructed
    done
done

#!/bin/bash
# gdb, valgrind and perf see crates: break points by line and function, backtraces across crates, names.
. "$(dirname "$0")/lib.sh"
source_file lib.c <<'C'
int depth;
int inner(int x)
{
    int doubled = x * 2;
    depth++;
    return doubled;
}
C
source_file m.c <<'C'
#include <stdlib.h>
#include <unistd.h>
int inner(int x);
int outer(int (*f)(int), int x) { return f(x) + 1; }
volatile int go_on = 1, sink;
void *volatile leaked;
int spin(int n) { for (int i = 0; i < n; i++) sink += i; return sink; }
int main(int argc, char **argv)
{
    int r = outer(inner, 20);
    if (argc > 1 && argv[1][0] == 'w') while (go_on) usleep(10000);
    if (argc > 1 && argv[1][0] == 's') spin(200000000);
    if (argc > 1 && argv[1][0] == 'l') leaked = malloc(123), leaked = 0;
    return r - 41;
}
C
$CC -g -O0 -fPIC -c m.c lib.c
crateld link -o lib.crate lib.o
crateld link -o m.crate m.o lib.crate
program=$(command -v crateld)

debug() { # debug COMMANDS...: gdb's output in out
    args=()
    for command; do args+=(-ex "$command"); done
    timeout -s KILL 120 gdb -nx -batch -iex 'set debuginfod enabled off' -ex 'set breakpoint pending on' "${args[@]}" >out 2>err </dev/null ||
        fail "gdb"
}
if command -v gdb >/dev/null; then
    for mode in "" --aslr --bind-now; do
        debug "file $program" 'break lib.c:5' 'break outer' "run run $mode m.crate" 'backtrace' 'continue' 'backtrace' 'print doubled' 'info symbol inner' 'kill'
        has out 'Breakpoint 2, outer (f='
        has out 'Breakpoint 1, inner (x=20) at lib.c:5'
        has out '$1 = 40'
        grep -q '#1 .* in outer (f=.*) at m.c:4' out || fail "no outer in the backtrace $mode"
        grep -q '#2 .* in main (argc=1, .*) at m.c:10' out || fail "no main in the backtrace $mode"
        has out 'inner in section .text of'
    done
    crateld run m.crate wait &
    pid=$!
    sleep 0.5
    # crates are a linker namespace of their own for gdb, which looks up variables in that of the frame
    debug "attach $pid" 'backtrace' 'frame function main' 'break lib.c:5' 'print depth' 'set var go_on = 0' 'detach'
    wait $pid || :
    grep -q 'in main (argc=2, .*) at m.c:1' out || fail "no main when attached"
    has out '$1 = 1'
    has out 'Breakpoint 1 at'

    # of a crate that is mapped later than that, nothing is known before
    source_file early.c <<'C'
#include <unistd.h>
int late(int);
volatile int go_on = 1;
int main(void)
{
    while (go_on)
        usleep(1000);
    return late(1) + late(2) != 83;
}
C
    printf 'int late(int x)\n{\n    x += 40;\n    return x;\n}\n' >late.c
    $CC -g -O0 -fPIC -c early.c late.c
    crateld link -o late.crate late.o
    crateld link -o early.crate early.o late.crate
    crateld run early.crate &
    pid=$!
    sleep 0.5
    debug "attach $pid" 'set breakpoint pending on' 'break late.c:4' 'frame function main' 'set var go_on = 0' 'continue' 'backtrace' 'continue' 'print x' 'continue'
    wait $pid || fail "a program with break points in a crate that is mapped later ends with $?"
    has out 'Breakpoint 1, late (x=41) at late.c:4'
    grep -q 'in main () at early.c:8' out || fail "no main behind the crate that was mapped late"
    has out '$1 = 42'
fi

# A module is replaced while the program runs: break points on lines that only the new version has, backtraces through new
# and old code.
source_file step.c <<'C'
int calls;
int deeper(int x);
int step(int x)
{
    calls++;
    return deeper(x);
}
C
source_file deeper.c <<'C'
int deeper(int x)
{
    return x * 2;
}
C
source_file loop.c <<'C'
#include <unistd.h>
int step(int x);
volatile int go_on = 1;
int outer(int x) { return step(x) + 1; }
int main(void) { int sum = 0; while (go_on) { sum += outer(sum % 7); usleep(10000); } return 0; }
C
$CC -g -O0 -fPIC -ffunction-sections -fdata-sections -c loop.c step.c deeper.c
crateld link -o loop.crate loop.o step.o deeper.o
cp step.o old.o
sed -i 's/    return deeper(x);/    int more = x + 5;\n    more *= 2;\n    return deeper(more);/' step.c
$CC -g -O0 -fPIC -ffunction-sections -fdata-sections -c step.c
if command -v gdb >/dev/null && ! has_sanitizer; then
    crateld run loop.crate 2>log &
    pid=$!
    for _ in $(seq 500); do # it is to be crateld by then
        crateld ps | awk '{ print $1 }' | grep -qx $pid && break
        sleep 0.01
    done
    status 0 crateld reload $pid step.o
    debug "attach $pid" 'break step.c:8' 'break deeper' 'continue' 'print more == 2 * (x + 5)' 'continue' 'backtrace' 'up' 'up' 'up' 'set var go_on = 0' 'detach'
    wait $pid || fail "the program ended with status $? after gdb"
    has out ', step (x='
    has out '    return deeper(more);'
    has out '$1 = 1'
    grep -q '#0 .*deeper (x=.*) at deeper.c:3' out || fail "the unchanged function is not in the backtrace"
    grep -q '#1 .* in step (x=.*) at step.c:8' out || fail "the new version is not in the backtrace"
    grep -q '#2 .* in outer (x=.*) at loop.c:4' out || fail "the old caller is not in the backtrace"
    [ ! -s log ] || fail "the program wrote errors: $(cat log)"
    # gdb is there before the reload: what runs under it is reloaded too, and its break points hold.
    crateld run loop.crate 2>log &
    pid=$!
    (sleep 2; exec crateld reload $pid step.o >reloaded 2>&1) &
    reloading=$!
    debug "attach $pid" 'break step.c:8' 'continue' 'backtrace 3' 'delete' 'up' 'up' 'set var go_on = 0' 'detach'
    wait $reloading || fail "the reload under gdb: $(cat reloaded)"
    wait $pid || fail "the program ended with status $? after gdb"
    grep -q '^reloaded: 1 modules' reloaded || fail "no reload under gdb: $(cat reloaded)"
    grep -q '#0 .*step (x=.*) at step.c:8' out || fail "no break point in the new version"
    grep -q '#1 .* in outer (x=.*) at loop.c:4' out || fail "no backtrace from the new version"
fi

if command -v valgrind >/dev/null; then
    cp step.o new.o && cp old.o step.o
    sed 's/while (go_on)/for (int i = 0; i < 3; i++)/' loop.c >short.c
    $CC -g -O0 -fPIC -ffunction-sections -fdata-sections -c short.c
    crateld link -o short.crate short.o step.o deeper.o
    status 0 crateld diff -o short.patch short.crate step.o=new.o
    status 0 valgrind -q --error-exitcode=9 "$program" run --patch short.patch short.crate
    status 0 valgrind --leak-check=full --error-exitcode=0 "$program" run m.crate leak
    has err 'main (m.c:1'
    has err 'definitely lost: 123 bytes'
    status 0 valgrind -q --error-exitcode=9 "$program" run m.crate
fi

# perf names functions, and of those that are reloaded while it records both versions.
can_record() {
    command -v perf >/dev/null && perf record -e cpu-clock -o perf.data "$program" run m.crate spin >out 2>err && [ -s perf.data ] &&
        perf report -i perf.data --stdio >out 2>err && grep -q '%' out
}
if can_record; then
    grep -q 'm.crate .* spin' out || fail "perf does not name the function"
    has_sanitizer && skip "perf with a reload: crateld has a sanitizer, which stands before libc"
    source_file busy.c <<'C'
static volatile int sink;
static __attribute__((noinline)) void first_version(int n) { for (int i = 0; i < n; i++) sink += i; }
int busy(int n) { first_version(n); return 1; }
C
    source_file busy_main.c <<'C'
int busy(int n);
volatile int turns;
int main(void) { while (busy(1000000)) turns++; return 0; }
C
    $CC -O2 -g -fPIC -ffunction-sections -fdata-sections -c busy.c busy_main.c
    crateld link -o busy.crate busy.o busy_main.o
    sed -i 's/first_version/second_version/; s/return 1/return sink < 0 || ++calls < 300/; s/^static volatile/static int calls; &/; s/sink += i/sink = (sink + i) \& 0xffff/' busy.c
    mkdir -m 700 sockets
    export XDG_RUNTIME_DIR=$PWD/sockets # nobody else clears the patch away before the report
    timeout 60 perf record -e cpu-clock -o perf.data "$program" run busy.crate >out 2>err &
    recorder=$!
    for _ in $(seq 300); do
        pid=$(crateld ps | awk '/busy.crate$/ { print $1 }' | while read -r id; do [ "$(readlink "/proc/$id/cwd")" != "$PWD" ] || echo "$id"; done)
        [ -z "$pid" ] || break
        sleep 0.01
    done
    sleep 0.5
    $CC -O2 -g -fPIC -ffunction-sections -fdata-sections -c busy.c
    crateld reload "$pid" busy.o >reloaded || fail "no reload while perf records"
    wait $recorder || fail "perf, or the program: $(cat err)"
    perf report -i perf.data --stdio >out 2>err
    grep -q 'busy.crate .* first_version' out || fail "perf does not name the function of before"
    grep -q '\.patch .* second_version' out || fail "perf does not name the new function"
else
    skip "perf can not record here; all else holds"
fi

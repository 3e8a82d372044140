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
fi

if command -v valgrind >/dev/null; then
    status 0 valgrind --leak-check=full --error-exitcode=0 "$program" run m.crate leak
    has err 'main (m.c:1'
    has err 'definitely lost: 123 bytes'
    status 0 valgrind -q --error-exitcode=9 "$program" run m.crate
fi

if command -v perf >/dev/null && perf record -e cpu-clock -o perf.data "$program" run m.crate spin >out 2>err && [ -s perf.data ]; then
    perf report -i perf.data --stdio >out 2>err || :
    if grep -q '%' out; then
        grep -q 'm.crate .* spin' out || fail "perf does not name the function"
    fi
fi

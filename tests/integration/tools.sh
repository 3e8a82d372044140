#!/bin/bash
# The usual tools on crates: what reads ELF files, strips, profiles, caches, or instruments.
. "$(dirname "$0")/lib.sh"
need gcc
source_file app.c <<'END'
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int helper(int n);
void *frames[20];
int main(int argc, char **argv)
{
    char **names;
    int count = helper(20);
    if (argc > 1 && !strcmp(argv[1], "overflow")) {
        char *small = malloc(10);
        small[argc + 8] = 1;
        free(small);
    }
    if (argc > 1 && !strcmp(argv[1], "spin"))
        for (volatile long i = 0; i < 200000000; i++)
            ;
    names = backtrace_symbols(frames, count);
    for (int i = 0; i < count; i++)
        puts(names[i]);
    return 0;
}
END
source_file helper.c <<'END'
#include <execinfo.h>
extern void *frames[];
__attribute__((noinline)) int helper(int n) { int count = backtrace(frames, n); __asm__ volatile(""); return count; }
END
gcc -g -O1 -fPIC -c app.c helper.c
crateld link -o app.crate app.o helper.o
status 0 ./app.crate
has out 'app.crate(helper+'
has out 'app.crate(main+'

readelf -hlSsW app.crate >out 2>err || fail "readelf"
[ ! -s err ] || fail "readelf has something to say"
has out 'FUNC    GLOBAL DEFAULT'
nm app.crate >out
grep -q ' T helper$' out || fail "nm"
objdump -dl app.crate >out
has out '<helper>:'
has out "$PWD/helper.c:3"
addr2line -e app.crate -f "$(nm app.crate | awk '$3 == "helper" { print "0x" $1 }')" >out
has out helper
has out helper.c:3
size app.crate >out || fail "size"

# binutils' strip moves what is behind the loaded part, and knows nothing of the crate's header: a crate that it has been at
# still runs, or is refused with a reason.
cp app.crate stripped.crate
if strip stripped.crate 2>err; then
    set +e
    ./stripped.crate >out 2>err
    rc=$?
    set -e
    if [ $rc = 0 ]; then
        has out 'stripped.crate(main+'
    else
        status 1 crateld run stripped.crate
        has err 'stripped.crate: PT_CRATE: 0 bytes'
    fi
fi
crateld strip app.crate -o ours.crate
status 0 ./ours.crate

# Profiles and the debugger: the functions and lines of crates, whether they are files of their own or in a bundle, are those
# that a native program has there.
source_file hot.c <<'END'
volatile long sink;
static __attribute__((noinline)) long turn(long n)
{
    for (long i = 0; i < n; i++)
        sink += i;
    return sink;
}
long work(long n)
{
    return turn(n) + 1;
}
END
source_file program.c <<'END'
long work(long n);
int main(void)
{
    long sum = 0;
    for (int i = 0; i < 100; i++)
        sum += work(1000000);
    return sum == 0;
}
END
gcc -g -O0 -fPIC -c hot.c program.c
gcc -no-pie -o native program.o hot.o
crateld link -o hot.crate hot.o
crateld link -o program.crate program.o hot.crate
crateld bundle -o bundle.crate program.crate hot.crate
profile() { # profile <program>: what perf says of it, in report and script; false where it can not
    perf record -q -g -F 2000 -o perf.data "$1" >out 2>err || return 1
    perf report -i perf.data --stdio --no-children -g none --sort dso,symbol >report 2>err || fail "perf report: $1"
    perf script -i perf.data -F ip,sym,dso,srcline >script 2>err || fail "perf script: $1"
}
if command -v perf >/dev/null && profile ./native; then
    has_lines=$(grep -c '^  *hot\.c:[45]$' script) || echo "skipped: perf shows no lines of native programs" >&2
    for program in program bundle; do
        profile ./$program.crate || fail "perf record: $program"
        file=bundle.crate
        [ $program = bundle ] || file=hot.crate
        grep -qE "^ +(100|[5-9][0-9])\.[0-9]+% +$file +\[\.\] turn\b" report || fail "perf report, $program: $(head -20 report)"
        grep -qE "\bwork \(.*/$file\)" script || fail "perf script, $program: the function's caller"
        grep -qE "\bmain \(.*/$program\.crate\)" script || fail "perf script, $program: the caller's caller"
        [ "$has_lines" = 0 ] || grep -qE '^ +hot\.c:[45]$' script || fail "perf script, $program: lines"
        [ "$has_lines" = 0 ] || grep -qE '^ +program\.c:6$' script || fail "perf script, $program: lines of callers"
    done
else
    echo "skipped: no perf, or it may not record" >&2
fi
if command -v gdb >/dev/null; then
    for program in program bundle; do
        gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'set breakpoint pending on' -ex 'break turn' -ex run -ex backtrace \
            -ex 'info line' --args crateld run $program.crate </dev/null >out 2>err || fail "gdb: $program"
        if grep -q 'Could not trace the inferior\|ptrace: Operation not permitted' err; then
            echo "skipped: gdb can trace nothing here" >&2
            break
        fi
        grep -qE '^#0 .*turn \(.*\) at .*hot\.c:[2-4]$' out || fail "gdb, $program: the function"
        grep -qE '^#1 .*work \(.*\) at .*hot\.c:10$' out || fail "gdb, $program: its caller"
        grep -qE '^#2 .*main \(\) at .*program\.c:6$' out || fail "gdb, $program: its caller's caller"
        has out 'Line '
    done
fi
for file in hot.crate bundle.crate; do
    addr2line -e $file -f "$(nm $file | awk '$3 == "work" { print "0x" $1 }')" >out
    has out work
    has out hot.c:9
done

if command -v ccache >/dev/null; then
    export CCACHE_DIR=$PWD/cache
    for round in 1 2; do
        ccache crateld cc -O1 -c helper.c -o cached$round.o
    done
    cmp cached1.o cached2.o || fail "ccache: another object"
    ccache --print-stats >out
    grep -qE '^(direct_cache_hit|preprocessed_cache_hit)[[:space:]]+1' out || fail "ccache: no hit"
    crateld link -o cached.crate app.o cached2.o
    status 0 ./cached.crate
fi

# A crate of code that the address sanitizer instruments, linked by the compiler.
folder=$(crateld ld --print-folder)
if echo 'int main(void) { return 0; }' | gcc -fsanitize=address -x c - -o native 2>err && ./native; then
    gcc -B"$folder" -g -fPIC -fsanitize=address -o asan app.c helper.c
    library=$(gcc -print-file-name=libasan.so)
    status 0 env LD_PRELOAD="$(readlink -f "$library")" ASAN_OPTIONS=detect_leaks=0 ./asan
    status 1 env LD_PRELOAD="$(readlink -f "$library")" ASAN_OPTIONS=detect_leaks=0 ./asan overflow
    has err 'heap-buffer-overflow'
    has err 'WRITE of size 1'
    grep -qE "#0 0x[0-9a-f]+ in main .*/app\.c:13$" err || fail "address sanitizer: the frame of the fault has another name or line"
    grep -qE "#1 0x[0-9a-f]+ in main .*/app\.c:12$" err || fail "address sanitizer: so has that of the allocation"
    echo 'int helper(int n); int plugin(char *p, int n) { p[n] = 2; return helper(n); }' >plugin.c
    source_file caller.c <<'END'
#include <dlfcn.h>
#include <stdlib.h>
int helper(int n) { return n; }
int main(int argc, char **argv)
{
    void *plugin = dlopen("./plugin.crate", RTLD_NOW);
    int (*call)(char *, int) = (int (*)(char *, int))dlsym(plugin, "plugin");
    return call(malloc(10), argc + 9) + argv[0][0];
}
END
    gcc -g -O1 -fPIC -fsanitize=address -c plugin.c
    crateld link -o plugin.crate plugin.o -z undefs
    gcc -B"$folder" -g -O1 -fPIC -fsanitize=address -o caller caller.c
    status 1 env LD_PRELOAD="$(readlink -f "$library")" ASAN_OPTIONS=detect_leaks=0 ./caller
    grep -qE "#0 0x[0-9a-f]+ in plugin .*/plugin\.c:1$" err || fail "address sanitizer: the frame of a crate that was opened"
    grep -qE "#1 0x[0-9a-f]+ in main .*/caller\.c:8$" err || fail "address sanitizer: the frame of who called it"
fi

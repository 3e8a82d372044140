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

if command -v perf >/dev/null; then
    if perf record -q -o perf.data ./app.crate spin >out 2>err; then
        perf report -i perf.data --stdio >out 2>err || fail "perf report"
        has out main
        has out app.crate
    fi
fi

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

#!/bin/bash
# Bundles have the functions and lines of their crates: each address has those that it has in its crate.
. "$(dirname "$0")/lib.sh"
need llvm-addr2line addr2line nm python3
source_file bottom.c <<'C'
#include <stdlib.h>
int depth;
static int helper(int x)
{
    depth += x;
    if (depth > 1000)
        abort();
    return depth;
}
int low(int x)
{
    int doubled = helper(x) * 2;
    return doubled;
}
int never(void) { return 1; }
C
source_file high.h <<'C'
static inline int twice(int x)
{
    return x * 2;
}
C
source_file high.cc <<'C'
#include "high.h"
extern "C" int low(int);
namespace outer {
template <class T> struct adder {
    T total = 0;
    __attribute__((noinline)) T add(T x)
    {
        total += low(x);
        return total + twice(x);
    }
};
int helper(int x)
{
    adder<int> a;
    return a.add(x) + 1;
}
}
extern "C" int high(int x)
{
    return outer::helper(x);
}
C
source_file main.c <<'C'
#include <stdio.h>
int high(int), low(int);
static int helper(int x) { return high(x) + low(1); }
int main(int argc, char **argv)
{
    (void)argv;
    int got = helper(argc > 1 ? 1000 : 3);
    printf("%d\n", got);
    return got != 6 + 6 + 1 + 2 * (3 + 1);
}
C
cat >compare.py <<'END'
"""Whether each address of each function of crates has the same line in the bundle, and WANTED of three have one: WANTED BUNDLE CRATE...

GNU addr2line 2.40 takes the file of a header for another in DWARF 5."""
import collections, subprocess, sys

def functions(file):
    table = collections.defaultdict(list)
    for line in subprocess.run(["nm", "-S", file], capture_output=True, text=True, check=True).stdout.splitlines():
        words = line.split()
        if len(words) == 4 and words[2] in "tTwW":
            table[words[3], int(words[1], 16)].append(int(words[0], 16))
    return table

def places(file, addresses):
    text = "".join(f"{address:#x}\n" for address in addresses)
    out = subprocess.run(["llvm-addr2line", "-f", "-e", file], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    return list(zip(out[::2], ("?" if line.endswith(":0") else line.split(" (disc")[0] for line in out[1::2])))

wanted, bundle, crates = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
of_bundle = functions(bundle)
compared = known = 0
for crate in crates:
    for (name, size), found in functions(crate).items():
        if ":" in name or name.startswith("__crate") or name.startswith("plt") or "@" in name:
            continue
        for address in found:
            there = places(crate, range(address, address + size))
            copies = [places(bundle, range(copy, copy + size)) for copy in of_bundle[name, size]]
            lines = [line for _, line in there]
            assert any(lines == [line for _, line in copy] for copy in copies), (crate, name, there, copies)
            if name in ("main", "low", "high"):
                assert all(place[0] == name for copy in copies for place in copy[:1]), (name, copies)
                known += lines[0] != "?"
            compared += len(lines)
assert known == wanted and compared > 100, (known, compared)
END

for flags in "-O0" "-O0 -gdwarf-4" "-O2 -ffunction-sections -gz" "-O2 -gsplit-dwarf"; do
    # shellcheck disable=SC2086 # words
    $CC $flags -g -fPIC -c bottom.c main.c
    # shellcheck disable=SC2086
    $CXX $flags -g -fPIC -c high.cc
    crateld link -o low.crate bottom.o
    crateld link -o high.crate high.o low.crate
    crateld link -o main.crate main.o high.crate low.crate
    crateld bundle -o one.crate main.crate high.crate low.crate
    status 0 crateld run one.crate
    python3 compare.py 3 one.crate main.crate high.crate low.crate || fail "lines, compiled with $flags"
done

# Other tools, and code without optimisation.
$CC -O0 -g -fPIC -c bottom.c main.c
$CXX -O0 -g -fPIC -c high.cc
crateld link -o low.crate bottom.o
crateld link -o high.crate high.o low.crate
crateld link -o main.crate main.o high.crate low.crate
crateld bundle -o one.crate main.crate high.crate low.crate
address=0x$(nm one.crate | awk '$3 == "low" { print $1 }')
addr2line -f -e one.crate "$address" >out
has out low
has out bottom.c:11
status 0 crateld where one.crate "$address"
has out "low at "
has out bottom.c:11
objdump -dl one.crate >out
has out bottom.c:13
readelf -w one.crate >out 2>err || fail "readelf -w"
[ ! -s err ] || fail "readelf finds fault with it"
llvm-dwarfdump --verify one.crate >out 2>err || fail "llvm-dwarfdump --verify"
if command -v gdb >/dev/null; then
    gdb -nx -batch -iex 'set debuginfod enabled off' -ex 'set breakpoint pending on' -ex "file $(command -v crateld)" \
        -ex 'break bottom.c:7' -ex 'break high.cc:9' -ex 'run run one.crate much' -ex 'backtrace' -ex 'continue' -ex 'backtrace' \
        -ex 'kill' >out 2>err </dev/null || fail gdb
    has out 'Breakpoint 2, outer::adder<int>::add'
    has out 'Breakpoint 1, helper () at bottom.c:7'
    for frame in '#1 .* in outer::helper () at high.cc:15' '#2 .* in high () at high.cc:20' '#3 .* in helper () at main.c:3' \
        '#4 .* in main () at main.c:7' '#1 .* in low () at bottom.c:12' '#2 .* in helper () at main.c:3'; do
        grep -q "$frame" out || fail "gdb's backtrace: $frame"
    done
fi
if command -v valgrind >/dev/null && ! has_sanitizer; then
    valgrind "$(command -v crateld)" run one.crate much >out 2>err </dev/null && fail "it did not abort"
    for frame in 'helper (bottom.c:7)' 'low (bottom.c:12)' 'main (main.c:7)'; do
        has err "$frame"
    done
fi

# Without: when nobody has any, where one crate has none, and when it is not wanted.
crateld bundle --strip-debug -o stripped.crate main.crate high.crate low.crate
python3 - <<'END'
import subprocess
assert ".debug" not in subprocess.run(["readelf", "-SW", "stripped.crate"], capture_output=True, text=True, check=True).stdout
assert ".debug" in subprocess.run(["readelf", "-SW", "one.crate"], capture_output=True, text=True, check=True).stdout
END
status 0 crateld run stripped.crate
cmp <(objcopy -O binary -j .text stripped.crate /dev/stdout) <(objcopy -O binary -j .text one.crate /dev/stdout) || fail "other code"
crateld strip --debug-only one.crate
readelf -SW one.crate >out
lacks out .debug
$CC -O0 -fPIC -c bottom.c
crateld link -o low.crate bottom.o
crateld bundle -o one.crate main.crate high.crate low.crate
python3 compare.py 2 one.crate main.crate high.crate low.crate || fail "where one has none"

# Damaged debug information is none.
python3 - <<'END'
import random, subprocess
random.seed(5)
original = bytearray(open("high.crate", "rb").read())
sections = [line.split("]")[1].split() for line in subprocess.run(["readelf", "-SW", "high.crate"], capture_output=True,
            text=True, check=True).stdout.splitlines() if " .debug_" in line]
assert len(sections) > 3
for n in range(60):
    damaged = bytearray(original)
    name, _, _, off, size = random.choice(sections)[:5]
    for _ in range(random.choice([1, 4, 64])):
        damaged[int(off, 16) + random.randrange(int(size, 16))] = random.randrange(256)
    open("high.crate", "wb").write(damaged)
    subprocess.run(["crateld", "bundle", "-o", "damaged.crate", "main.crate", "high.crate", "low.crate"], check=True, timeout=60)
    subprocess.run(["crateld", "run", "damaged.crate"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["llvm-dwarfdump", "--verify", "damaged.crate"], stdout=subprocess.DEVNULL, timeout=60, check=False)
END

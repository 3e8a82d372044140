#!/bin/bash
# crateld inspect of a live process: which slots are bound, and to what.
. "$(dirname "$0")/lib.sh"
need_libc_first
need python3
echo 'int width = 3; int area(int n) { return n * width; } int never(void) { return 0; }' >shapes.c
source_file m.c <<'END'
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int area(int), never(void);
extern int width;
int main(int argc, char **argv)
{
    printf("%d %f %zu\n", area(argc) + width, sin(argc), strlen(argv[0]));
    fflush(stdout);
    pause();
    return never();
}
END
$CC -O1 -fPIC -fno-builtin -c shapes.c m.c
crateld link -o shapes.crate shapes.o
crateld link -o m.crate m.o shapes.crate -lm
crateld run m.crate >started &
pid=$!
trap 'kill $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
for _ in $(seq 100); do
    [ ! -s started ] || break
    sleep 0.1
done
[ -s started ] || fail "the program did not start"

status 0 crateld inspect --json $pid
python3 - <<'END'
import json
crates = {c["header"]["name"]: c for c in json.load(open("out"))["crates"]}
assert set(crates) == {"m", "shapes"}, crates.keys()
slots = {s["name"]: s["bound_to"] for s in crates["m"]["toc"]["imports"]}
assert slots["area"] == "shapes:entry stub of area" or slots["area"] == "shapes:area", slots
assert slots["width"] == "shapes:width", slots
assert slots["never"] == "unbound", slots
assert slots["printf"] == "libc.so.6:printf", slots
assert slots["strlen"].startswith("libc.so.6:strlen"), slots
assert slots["sin"].startswith("libm.so.6:sin"), slots
assert crates["shapes"]["header"]["base"] != "0x0"
END

# The file was replaced: what is mapped can be shown, what was only in the file can not.
cp shapes.crate again.crate
mv again.crate shapes.crate
status 0 crateld inspect --header --modules --toc $pid
has out shapes
status 1 crateld inspect $$
has err "process $$ has no crates"

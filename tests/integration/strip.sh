#!/bin/bash
# crateld strip: what it removes, and that the crate runs the same.
. "$(dirname "$0")/lib.sh"
need readelf nm
source_file m.c <<'END'
#include <stdio.h>
static int twice(int x) { return 2 * x; }
int (*hook)(int) = twice;
int main(int argc, char **argv) { printf("%d\n", hook(argc)); return 0; }
END
$CC -O1 -g -fPIC -c m.c
crateld link -o m.crate m.o
crateld inspect --header m.crate | grep 'build id  ' >id
size=$(stat -c %s m.crate)

status 0 crateld strip -o s.crate m.crate
has out "s.crate: $(stat -c %s s.crate) bytes, $((size - $(stat -c %s s.crate))) saved"
[ "$(stat -c %s m.crate)" = $size ] || fail "-o changed the crate itself"
readelf -SW s.crate >sections
for name in .crate.relink .symtab .strtab .debug_; do
    lacks sections $name
done
has sections .text
status 0 crateld inspect --header s.crate
has out "$(cat id)"
has out "build id is right    yes"
lacks out "flags                relink"
status 0 crateld run s.crate
has out 2
status 0 crateld strip s.crate
has out "0 saved (0.0 %)"

# Only one part, in place.
cp m.crate r.crate
status 0 crateld strip --relink-only r.crate
readelf -SW r.crate >sections
lacks sections .crate.relink
has sections .debug_info
nm r.crate >symbols
has symbols twice
status 0 crateld run r.crate
cp m.crate d.crate
status 0 crateld strip --debug-only d.crate
readelf -SW d.crate >sections
lacks sections .debug_
has sections .symtab
status 0 crateld inspect --check --modules d.crate
has out m.o
[ -z "$(readelf -aW s.crate r.crate d.crate 2>&1 | grep -iE 'readelf: (warning|error)')" ] || fail "readelf complains"

# Several at once; faults are all told, and leave the files alone.
cp m.crate one.crate
cp m.crate two.crate
head -c 5000 m.crate >bad.crate
cp bad.crate bad.before
status 1 crateld strip one.crate bad.crate absent.crate two.crate
has err "crateld: bad.crate: "
has err "crateld: absent.crate: cannot open"
cmp bad.crate bad.before
has out one.crate
has out two.crate
[ -z "$(find . -name '*.crate.*')" ] || fail "temporary files are left"
status 2 crateld strip
status 2 crateld strip -o x.crate one.crate two.crate

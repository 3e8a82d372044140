#!/bin/bash
# Needed crates are found beside the crate, in --path and in CRATELD_PATH; everything that is missing or does not fit is
# told before anything runs.
. "$(dirname "$0")/lib.sh"
echo 'int two(void) { return 2; } int three(void) { return 3; }' >b.c
echo 'int two(void); int three(void); int four(void) { return two() + 2; }' >a.c
echo '#include <stdio.h>
int four(void), two(void); int main(void) { printf("%d %d\n", four(), two()); return 0; }' >m.c
$CC -fPIC -O1 -c a.c b.c m.c
crateld link -o b.crate b.o
crateld link -o a.crate a.o b.crate
crateld link -o m.crate m.o a.crate b.crate
status 0 crateld run m.crate
has out "4 2"
status 0 env -C / "$(command -v crateld)" run "$tmp/m.crate"
status 0 crateld run --bind-now --aslr m.crate
has out "4 2"

mkdir x y
mv a.crate x
mv b.crate y
status 127 crateld run m.crate
has err "m.crate: needs crate 'a': there is no a.crate beside it"
has err "m.crate: needs crate 'b'"
status 127 crateld run --path y m.crate
has err "nor in y"
status 0 crateld run --path x --path=y m.crate
status 0 env CRATELD_PATH=x:y crateld run m.crate
status 0 env CRATELD_PATH=y crateld run --path x m.crate
status 127 crateld run nosuch.crate
has err "nosuch.crate: no such file"

# The crate's identity is the name in its header.
mv x/a.crate y/b.crate .
cp b.crate keep
cp a.crate b.crate
status 1 crateld run m.crate
has err "b.crate: is the crate 'a', wanted 'b'"
cp m.crate b.crate
status 1 crateld run m.crate
has err "b.crate: is the crate 'm', wanted 'b'"
echo "not a crate" >b.crate
status 1 crateld run m.crate
has err "b.crate: not a crate"
cp m.o b.crate
status 1 crateld run m.crate
head -c 5000 keep >b.crate
status 1 crateld run m.crate
has err "truncated"

# Another build is fine as long as it has what is imported from it.
echo 'int one(void) { return 1; } int two(void) { return 20; } int three(void) { return 30; }' >b.c
$CC -fPIC -c b.c
crateld link -o b.crate b.o
status 0 crateld run m.crate
has out "22 20"
echo 'int three(void) { return 3; }' >b.c
$CC -fPIC -c b.c
crateld link -o b.crate b.o
status 127 crateld run m.crate
has err "m.crate: was linked against another build of b.crate, and this one lacks"
has err "    two"

# An ELF library is looked for as well.
echo "int f(void) { return 1; }" >f.c
echo "int f(void); int main(void) { return f(); }" >n.c
$CC -shared -fPIC -o libgone.so f.c
$CC -fPIC -c n.c
crateld link -o n.crate n.o -L. -lgone
LD_LIBRARY_PATH=. status 1 crateld run n.crate
mv libgone.so away.so
status 127 crateld run n.crate
has err "libgone.so"

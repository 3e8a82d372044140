#!/bin/bash
# Crates without initialisers are mapped for use when they are first needed; undefined symbols are told then, or at start with
# --bind-now.
. "$(dirname "$0")/lib.sh"
echo 'int two(void) { return 2; }' >b.c
echo 'int missing(void), two(void); int a(int n) { return n ? missing() : two(); }' >a.c
echo '#include <stdio.h>
int a(int), two(void);
int main(int argc, char **argv) { puts("started"); fflush(stdout); if (argc > 1) printf("%d\n", a(argc > 2)); return 0; }' >m.c
echo 'int missing(void) { return 1; } int two(void) { return 2; }' >b2.c
$CC -fPIC -c a.c b.c b2.c m.c
crateld link --name b -o b.crate b2.o
crateld link -o a.crate a.o b.crate
crateld link -o m.crate m.o a.crate
CRATELD_DEBUG=load status 0 crateld run m.crate
has err "m.crate: active"
lacks err "a.crate: active"
CRATELD_DEBUG=load status 0 crateld run m.crate 1
has err "a.crate: active"
has err "b.crate: active"
# A build that lacks a name, where the check that compares build ids does not know one: the crate was only declared.
crateld link --declare b.crate:missing --declare b.crate:two -o a.crate a.o
crateld link -o b.crate b.o
status 0 crateld run m.crate 1
has out 2
status 127 crateld run m.crate 1 2
has out started
has err "a.crate: undefined symbol 'missing': crate 'b' (b.crate) does not export it"
status 127 crateld run --bind-now m.crate
lacks out started
has err "undefined symbol 'missing'"

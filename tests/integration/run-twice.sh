#!/bin/bash
# One crate file loaded twice in a process, under two names and at two addresses, with variables of its own each time.
. "$(dirname "$0")/lib.sh"
cat >l.c <<'C'
int n = 5;
int *where = &n;
int one_step(void) { return ++*where; }
int two_step(void) { return *where += 10; }
const void *one_place(void) { return &n; }
const void *two_place(void) { return &n; }
C
cat >m.c <<'C'
#include <stdio.h>
int one_step(void), two_step(void);
const void *one_place(void), *two_place(void);
int main(void)
{
    one_step();
    two_step();
    printf("%d %d %d\n", one_step(), two_step(), one_place() != two_place());
    return 0;
}
C
for compiler in "$CC -fPIC" "crateld cc"; do
    $compiler -O2 -c l.c m.c
    crateld link -o l.crate l.o
    crateld link -o m.crate m.o --declare one:one_step --declare one:one_place --declare two:two_step --declare two:two_place
    status 0 crateld run --as one=l.crate --as two=l.crate m.crate
    has out "7 25 1"
    status 127 crateld run --as one=l.crate m.crate
    has err two.crate
    status 2 crateld run --as one m.crate
done

#!/bin/bash
# Code of every position model refers to libc's variables, and to those of other crates and libraries.
. "$(dirname "$0")/lib.sh"
source_file m.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
extern int lib_value, *lib_pointer;
extern char **environ;
int lib_add(int);
int (*table[])(const char *) = {puts, atoi};
static int mine = 4;
int main(int argc, char **argv)
{
    fprintf(stdout, "stdout\n");
    fprintf(stderr, "stderr\n");
    int c;
    while ((c = getopt(argc, argv, "ab:")) != -1)
        printf("option %c %s %d\n", c, optarg ? optarg : "-", optind);
    printf("environ %d", environ != NULL && getenv("HOME") != NULL);
    setenv("NEW", "value", 1);
    int found = 0;
    for (char **e = environ; *e; e++) found |= !strcmp(*e, "NEW=value");
    printf(" %d\n", found);
    printf("%s %s\n", program_invocation_short_name, strrchr(program_invocation_name, '/') ? "path" : "name");
    printf("library %d %d %d\n", lib_value, *lib_pointer, lib_add(mine));
    lib_value = 50;
    printf("library %d\n", lib_add(0));
    table[0]("table");
    printf("pointers %d %d\n", table[1]("42"), table[1] == atoi);
    fflush(stdout);
    return stdin != NULL && optind == 4 ? 0 : 1;
}
C
source_file lib.c <<'C'
int lib_value = 5;
int *lib_pointer = &lib_value;
int lib_add(int x) { return x + lib_value; }
C
cat >want <<'T'
stdout
option a - 2
option b x 4
environ 1 1
m.crate name
library 5 5 9
library 50
table
pointers 42 1
T
for m in "-fPIC" "-fPIE" "-fno-pie" "-fno-plt -fPIC" "-mcmodel=medium -fno-pie"; do
    for l in "-fPIC" "-fPIE" "-fno-pie"; do
        $CC -O2 $m -c m.c
        $CC -O2 $l -c lib.c
        crateld link -o one.crate --name m m.o lib.o
        crateld link -o lib.crate lib.o
        crateld link -o m.crate m.o lib.crate
        mkdir -p d
        mv one.crate d/m.crate
        for mode in "" --aslr --bind-now; do
            HOME=/ status 0 crateld run $mode m.crate -a -b x
            cmp out want || fail "two crates, $m, $l, $mode"
            has err stderr
        done
        HOME=/ status 0 crateld run --argv0 m.crate d/m.crate -a -b x
        cmp out want || fail "one crate, $m, $l"
    done
done

# A position-dependent crate that refers to another library's variable can not have it near.
echo 'int elf_value = 3;' >elf.c
echo 'extern int elf_value; __attribute__((noipa)) int *f(void) { return &elf_value; } int main(void) { return *f(); }' >m.c
$CC -shared -fPIC -o libelf_value.so elf.c
export LD_LIBRARY_PATH=.
$CC -O2 -fPIE -c m.c
crateld link -o m.crate m.o -L. -lelf_value
status 3 crateld run m.crate
$CC -O2 -fno-pie -c m.c
crateld link -o m.crate m.o -L. -lelf_value
status 1 crateld run m.crate
has err "elf_value"
has err "-fPIC"

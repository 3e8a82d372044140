#!/bin/bash
# A crate gets arguments, environment and streams as an ordinary program does, and ends like one.
. "$(dirname "$0")/lib.sh"
source_file p.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
static void at_end(void) { puts("atexit"); }
static void constructor(int argc, char **argv, char **envp) __attribute__((constructor));
static void constructor(int argc, char **argv, char **envp) { printf("constructor %d %s %d\n", argc, argv[argc - 1], envp == environ); }
static void destructor(void) __attribute__((destructor));
static void destructor(void) { puts("destructor"); }
static volatile int got;
static void handler(int sig) { got = sig; }
int main(int argc, char **argv, char **envp)
{
    char name[16], line[64];
    printf("%d %s %s %s\n", argc, argv[0], argv[1], argv[argc] ? "not NULL" : "NULL");
    printf("%s %s\n", program_invocation_name, program_invocation_short_name);
    prctl(PR_GET_NAME, name);
    printf("%s %d %s %s\n", name, envp == environ, getenv("GREETING"), getenv("CRATELD_PATH") ? "path" : "no path");
    if (fgets(line, sizeof line, stdin))
        printf("read %s", line);
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    printf("signal %d\n", got == SIGUSR1);
    atexit(at_end);
    fputs("to stderr\n", stderr);
    if (argc > 2 && !strcmp(argv[2], "kill"))
        raise(SIGTERM);
    if (argc > 2 && !strcmp(argv[2], "abort"))
        abort();
    return argc > 2 ? atoi(argv[2]) : 0;
}
C
$CC -O2 -fPIC -c p.c
mkdir sub
crateld link -o sub/p.crate p.o
echo "a line" >input
GREETING=hello status 7 crateld run sub/p.crate one 7 <input
cat >want <<'T'
constructor 3 7 1
3 sub/p.crate one NULL
sub/p.crate p.crate
p.crate 1 hello no path
read a line
signal 1
atexit
destructor
T
cmp out want || fail "output differs"
has err "to stderr"
status 143 sh -c 'crateld run sub/p.crate one kill; exit $?' </dev/null
status 134 sh -c 'crateld run sub/p.crate one abort; exit $?' </dev/null
status 0 crateld run --argv0 other sub/p.crate x </dev/null
has out "2 other x NULL"
status 0 crateld run -- sub/p.crate --aslr </dev/null
has out "2 sub/p.crate --aslr NULL"
status 0 crateld run --aslr sub/p.crate x </dev/null
has out "2 sub/p.crate x NULL"
status 2 crateld run
status 2 crateld run --no-such-option x
has err "unknown option"

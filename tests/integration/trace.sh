#!/bin/bash
# crateld trace: first calls, crates that come and go, reloads and rollbacks of a running process are shown, each once, and nothing that was there before.
. "$(dirname "$0")/lib.sh"
need_libc_first # a sanitizer's pthread_create() lets libc take our signal
trap 'kill -9 $pid $tracer 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid='' tracer=''
source_file main.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int early(void), late(void), version(void);
/* A letter from the input is what is done next. */
int main(void)
{
    early();
    setvbuf(stdin, 0, _IONBF, 0);
    for (int letter; (letter = getchar()) != EOF;) {
        if (letter == 'c')
            printf("%d\n", late() + version());
        if (letter == 'o') {
            void *handle = dlopen("./opened.crate", RTLD_NOW);
            printf("%d\n", ((int (*)(void))dlsym(handle, "opened"))());
            fflush(stdout);
            if (getchar() == 'x')
                dlclose(handle);
        }
        if (letter == 'e')
            exit(3);
        fflush(stdout);
    }
}
C
echo 'int early(void) { return 1; } int late(void) { return 2; }' >lib.c
echo 'int version(void) { return 10; }' >version.c
echo 'int opened(void) { return 5; }' >opened.c
$CC -O2 -fPIC -ffunction-sections -fdata-sections -c main.c lib.c version.c opened.c
crateld link -o lib.crate lib.o
crateld link -o opened.crate opened.o
crateld link -o app.crate main.o version.o lib.crate
mkfifo input
crateld run app.crate <input >output 2>log &
pid=$!
exec 9>input
shown() { # TEXT [COUNT]
    for _ in $(seq 500); do
        [ "$(grep -cF -- "$1" trace)" = "${2-1}" ] && return
        sleep 0.01
    done
    fail "'$1' is there $(grep -cF -- "$1" trace) times: $(cat trace messages)"
}
wait_for() {
    for _ in $(seq 500); do
        [ "$(tail -1 output)" = "$1" ] && return
        sleep 0.01
    done
    fail "the program says '$(tail -1 output)', wanted $1"
}
for _ in $(seq 500); do crateld ps | grep -q "^ *$pid " && break; sleep 0.01; done
crateld trace $pid >trace 2>messages &
tracer=$!
for _ in $(seq 500); do grep -qs tracing messages && break; sleep 0.01; done
sleep 0.2
[ ! -s trace ] || fail "what was there before is shown: $(cat trace)"
printf c >&9
wait_for 12
shown "bound       app.crate: late of lib"
shown "bound       app.crate: printf of libc.so.6"
printf o >&9
wait_for 5
shown "loaded      ./opened.crate"
shown "active      ./opened.crate"
printf x >&9
shown "unloaded    ./opened.crate"
echo 'int version(void) { return 20; }' >version.c
$CC -O2 -fPIC -ffunction-sections -fdata-sections -c version.c
crateld reload $pid version.o >out
shown "in effect   app.crate: version.o ("
printf c >&9
wait_for 22
crateld rollback $pid >out
shown "superseded  app.crate: version.o ("
printf c >&9
wait_for 12
lacks trace early
shown "late of lib" # once
# Two at once, each from its own beginning; who is killed is no matter.
crateld trace $pid >second 2>second.messages &
second=$!
for _ in $(seq 500); do grep -qs tracing second.messages && break; sleep 0.01; done
crateld reload $pid version.o >out
shown "in effect   app.crate: version.o (" 2
for _ in $(seq 500); do grep -q effect second && break; sleep 0.01; done
kill -9 $second
wait $second 2>/dev/null || :
has second "in effect   app.crate: version.o ("
lacks second late
crateld reload $pid version.o >out
# It ends with the process.
printf e >&9
set +e
wait $pid
[ $? = 3 ] || fail "the program ended otherwise"
wait $tracer
rc=$?
set -e
[ $rc = 0 ] || fail "the tracer ended with status $rc: $(cat messages)"
pid='' tracer=''
[ ! -s log ] || fail "the program wrote errors: $(cat log)"
status 1 crateld trace 1
status 2 crateld trace

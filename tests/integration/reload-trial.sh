#!/bin/bash
# New code that faults in its first seconds is taken back: the program goes on at its safe point, or ends with a report as the
# signal would have ended it. What has nothing to do with new code is left alone.
. "$(dirname "$0")/lib.sh"
need gcc
INCLUDE=$(dirname "$0")/../../include
source_file main.c <<'C'
#include <crateld/safe_point.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int handle(int);
static void *serve(void *name)
{
    volatile int lost = 0; /* kept over a second return */
    for (int i = 0; i < 3000; i++) {
        if (SAFE && crate_safe_point())
            lost++;
        printf("%s %d %d\n", (const char *)name, handle(i), lost);
        fflush(stdout);
        usleep(5000);
    }
    return NULL;
}
int main(int argc, char **argv)
{
    (void)argv;
    pthread_t thread;
    if (argc > 1)
        pthread_create(&thread, NULL, serve, "other");
    serve("main");
    return 0;
}
C
# version NUMBER [STATEMENT]: new.o, which does that first.
version() {
    cat >handler.c <<C
#include <signal.h>
#include <stdlib.h>
#include <string.h>
static int calls;
static volatile int zero;
static int (*volatile nowhere)(void);
__attribute__((noinline)) static void deeper(void) { (void)zero, (void)nowhere; ${2:-}; __asm__(""); }
int handle(int i) { calls++; (void)i; deeper(); __asm__(""); return $1; }
C
    $COMPILER -O1 -g -ffunction-sections -fdata-sections -w -c handler.c -o new.o
}
COMPILER=gcc
# begin SAFE ARGUMENT...: the program of version 1 runs, with or without safe points.
begin() {
    version 1
    mv new.o handler.o
    $COMPILER -O1 -g -w "-I$INCLUDE" "-DSAFE=$1" -c main.c
    crateld link -o app.crate main.o handler.o -lpthread
    : >log
    crateld run app.crate "${@:2}" >lines 2>>log &
    pid=$!
    wait_for_line 'main 1 0'
}
# wait_for_line TEXT: that comes, soon.
wait_for_line() {
    for _ in $(seq 1000); do
        tail -n 4 lines | grep -q "^$1\$" && return
        sleep 0.01
    done
    fail "no line '$1' but $(tail -n 1 lines); $(cat log)"
}
reload() {
    mv new.o handler.o
    status 0 crateld reload $pid handler.o
}
end() {
    kill $pid
    wait $pid || true
}

# ends STATUS: so the program ends by itself.
ends() {
    ended=0
    wait $pid || ended=$?
    [ $ended = "$1" ] || fail "ended with $ended"
}

# Each kind of fault, in the function itself and in libc; in TOC code as well.
for COMPILER in gcc "crateld cc"; do
    begin 1 threads
    count=0
    for fault in '*(volatile int *)16 = 1' 'abort()' 'zero = 7 / zero' '__builtin_trap()' 'nowhere()' 'memset((char *)16 + zero, 0, 4096)'; do
        version 2
        reload
        wait_for_line "main 2 .*"
        faulty="static int hits$count; if (!__atomic_exchange_n(&hits$count, 1, __ATOMIC_SEQ_CST)) $fault"
        version 3 "$faulty"
        : >log
        reload
        wait_for_line "main 2 .*"
        wait_for_line "other 2 .*"
        for _ in $(seq 500); do
            grep -q 'handle at .*handler.c:8' log && break
            sleep 0.01
        done
        has log "in code that was reloaded"
        has log "the version before is in effect again"
        has log "handle at"
        has log "handler.c:8"
        count=$((count + 1))
        # It is not tried again until it has changed.
        version 3 "$faulty"
        mv new.o handler.o
        status 1 crateld reload $pid handler.o
        has err "this version faulted"
    done
    [ "$(tail -n 2 lines | awk '{ sum += $3 } END { print sum }')" = $count ] || fail "lost: $(tail -n 2 lines)"
    end
done
COMPILER=gcc

# Without a safe point the process ends as it would have, after the report.
begin 0
version 2 '*(volatile int *)16 = 1'
reload
ends 139
has log "SIGSEGV at 0x10"
has log "handler.c:7"
begin 0
version 2 'abort()'
reload
ends 134
has log SIGABRT

# A signal that somebody sends is no fault; nor is one after the time of trial.
begin 1
version 2
reload
wait_for_line 'main 2 0'
kill -SEGV $pid
ends 139
lacks log "reloaded"
export CRATELD_TRIAL=0.2
begin 1
version 2 'if (calls++ > 200) *(volatile int *)16 = 1'
reload
ends 139
lacks log "reloaded"
unset CRATELD_TRIAL

# A program's own handler is its own.
sed 's/serve("main");/signal(SIGSEGV, mine); serve("main");/; s/^int handle/#include <signal.h>\nstatic void mine(int n) { _exit(n + 50); }\nint handle/' main.c >own.c
cp own.c main.c
begin 1
version 2 '*(volatile int *)16 = 1'
reload
ends 61

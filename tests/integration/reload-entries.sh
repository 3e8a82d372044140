#!/bin/bash
# Functions that came with a patch keep their address: whoever has it calls the version in effect, however the patches come, be it by
# reloads, by what the crate's file carries, by --fresh, or by --patch.
. "$(dirname "$0")/lib.sh"
need_libc_first # a sanitizer's pthread_create() lets libc take our signal
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
# module NUMBER: the callback says that.
module() {
    cat >module.c <<C
typedef int run(int);
extern run *held;
static int callback(int x) { return x * 10 + $1; }
int act(int x) { if (!held) held = callback; return held(x) * 10 + (held == callback); }
C
    $COMPILER -c module.c -o module.new
    mv module.new module.o
}
source_file first.c <<'C'
typedef int run(int);
extern run *held;
int act(int x) { return held ? held(x) * 10 : x; }
C
source_file main.c <<'C'
#include <stdio.h>
typedef int run(int);
run *held;
int act(int x);
int main(void)
{
    int x;
    while (scanf("%d", &x) == 1) {
        int acted = act(x);
        printf("%d %d\n", acted, held ? held(x) : 0);
        fflush(stdout);
    }
    return 0;
}
C
# start ARGUMENTS...: the program, to be asked.
start() {
    exec 3>&- || :
    rm -f in answers
    mkfifo in
    crateld run "$@" app.crate <in >answers &
    pid=$!
    exec 3>in
    asked=0
}
# ask WANTED: what it says of 7.
ask() {
    echo 7 >&3
    asked=$((asked + 1))
    for _ in $(seq 200); do
        [ "$(wc -l <answers)" -lt $asked ] || break
        sleep 0.05
    done
    [ "$(sed -n ${asked}p answers)" = "$1" ] || fail "answer $asked: $(sed -n ${asked}p answers), wanted $1"
}
end() {
    exec 3>&-
    wait $pid || fail "status $?"
}
for COMPILER in "gcc -O2 -fPIC -ffunction-sections -fdata-sections" "crateld cc -O2"; do
    $COMPILER -c first.c -o module.o
    $COMPILER -c main.c
    crateld link -o app.crate module.o main.o
    cp app.crate linked.crate

    # By reloads.
    start
    ask "7 0"
    module 1
    status 0 crateld reload $pid module.o
    ask "711 71"
    module 2
    status 0 crateld reload $pid module.o
    ask "721 72"
    status 0 crateld rollback $pid
    ask "711 71"
    status 0 crateld rollback $pid
    ask "710 71"

    # The patch as a file; carried by the crate; and reloads of a program that began with that.
    status 0 crateld diff -o two.patch app.crate module.o
    status 0 crateld inspect two.patch
    grep -q "New functions whose address others may get" out || fail "inspect does not tell of the function"
    grep -q "callback of module.o()" out || fail "inspect does not name the function"
    status 0 crateld inspect --check two.patch
    end
    module 3
    status 0 crateld diff -o three.patch app.crate module.o
    start --patch two.patch
    ask "721 72"
    status 0 crateld reload $pid module.o
    ask "731 73"
    end
    status 0 crateld apply two.patch app.crate
    start
    ask "721 72"
    status 0 crateld reload $pid module.o
    ask "731 73"
    status 0 crateld rollback $pid
    ask "721 72"
    end
    status 0 crateld apply three.patch app.crate
    start
    ask "731 73"
    module 4
    status 0 crateld reload $pid module.o
    ask "741 74"
    end
    start --fresh
    ask "741 74"
    module 5
    status 0 crateld reload $pid module.o
    ask "751 75"
    end
    cp linked.crate app.crate

    # The first version stays for its stub; of those behind it none does.
    start
    module 1
    status 0 crateld reload $pid module.o
    ask "711 71"
    for number in $(seq 2 60); do
        module $number
        status 0 crateld reload $pid module.o
    done
    ask "1301 130"
    for _ in $(seq 100); do
        status 0 crateld inspect --patch $pid
        ! grep -q "superseded versions retired" out || break
        sleep 0.1
    done
    grep -q "superseded versions retired" out || fail "no version is retired"
    [ "$(grep -c "others may have the address of a function" out)" = 1 ] || fail "not just the first version stays for its stub"
    ask "1301 130"
    end
done

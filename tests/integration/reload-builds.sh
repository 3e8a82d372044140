#!/bin/bash
# docs/reload.md's examples of build systems, as they stand there: the program is built, runs and is watched, a file is edited, the build system
# builds, and the program runs the new code with its state.
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/lib.sh"
need_libc_first # a sanitizer's pthread_create() lets libc take our signal
need make cmake ninja meson
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
# example FILE: the example of that file in the document, as the file.
example() {
    awk -v name="\`$1\`:" 'index($0, name) { on = 1; next } on && /^    / { print substr($0, 5); seen = 1; next } on && seen && !/^$/ { exit }' "$root/docs/reload.md" >"$1"
    [ -s "$1" ] || fail "docs/reload.md has no example of $1"
}
wait_for() {
    for _ in $(seq 1000); do
        grep -qx "$1" output && return
        kill -0 $pid 2>/dev/null || fail "the program died: $(tail -3 log)"
        sleep 0.01
    done
    fail "'$1' is not in the output: $(tail -2 output) $(tail -5 log)"
}
# run ARGUMENT...: from here.
run() {
    : >output
    crateld run "$@" >output 2>log &
    pid=$!
}
finish() {
    kill -9 $pid
    wait $pid 2>/dev/null || :
    pid=
}
# edit FROM TO: another factor.
edit() {
    sed -i "s/!= $1/!= $2/; s/last = $1/last = $2/; s/x \* $1/x * $2/" "$source/shapes.c"
    grep -q "x \* $2" "$source/shapes.c" || fail "there is no factor $1 in shapes.c"
}
project() {
    rm -rf project && mkdir -p project && cd project
    source=$PWD
    cat >main.c <<'C'
#include <stdio.h>
#include <time.h>
int area(int);
int main(void) { for (int last = 0;; nanosleep(&(struct timespec){0, 1000000}, 0)) { int a = area(5); if (a != last) { printf("%d\n", last = a); fflush(stdout); } } }
C
    # The count goes on from one version to the next: what a program that began anew would print is less.
    echo 'int area(int x) { static int versions, last; if (last != FACTOR) { versions++; last = FACTOR; } return 1000 * versions + x * FACTOR; }' |
        sed 's/FACTOR/2/g' >shapes.c
}

project
example Makefile
make -s >build.log 2>&1 || fail "make: $(tail -3 build.log)"
run --watch app
wait_for 1010
sleep 0.5
edit 2 3
make -s
wait_for 2015
finish
run app
wait_for 1015 # linked anew as well
edit 3 4
make -s reload PID=$pid >build.log
wait_for 2020
finish
run --fresh app # it was not linked since
wait_for 1020
finish
cd ..

for generator in Ninja "Unix Makefiles"; do
    project
    example CMakeLists.txt
    cmake -G "$generator" -B build . >build.log 2>&1 && cmake --build build >>build.log 2>&1 || fail "cmake: $(tail -3 build.log)"
    cd build
    run --watch app
    wait_for 1010
    sleep 0.5
    edit 2 3
    cmake --build . >>build.log 2>&1
    wait_for 2015
    finish
    run --watch --compile compile_commands.json app
    wait_for 1015
    sleep 1
    edit 3 4
    wait_for 2020
    finish
    cmake --build . >>build.log 2>&1 || fail "the build after that: $(tail -3 build.log)"
    run app
    wait_for 1020
    finish
    cd ../..
done

project
example meson.build
meson setup build >build.log 2>&1 && ninja -C build >>build.log 2>&1 || fail "meson: $(tail -5 build.log)"
cd build
run --watch app
wait_for 1010
sleep 0.5
edit 2 3
ninja >>build.log
wait_for 2015
finish
run --watch --compile compile_commands.json app
wait_for 1015
sleep 1
edit 3 4
wait_for 2020
finish

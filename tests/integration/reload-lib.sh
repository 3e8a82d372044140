# shellcheck shell=bash
# Sourced by the scripts that reload modules of a program which answers questions. The module is compiled by $compiler with
# $flags; $row says what is tested.
: "${tmp:?sourced after lib.sh}" "${compiler:=}" "${flags:=}"
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=

# The program: each line that it reads is given to act(), a function of the module, and the answer is printed.
source_file main.c <<'C'
#include <stdio.h>
#include <string.h>
long act(const char *line);
/* What act() left on the stack would look like pointers that somebody has. */
static __attribute__((noinline)) void scrub(void)
{
    volatile char room[8192];
    for (unsigned i = 0; i < sizeof room; i++)
        room[i] = 0;
}
int main(void)
{
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        printf("%ld\n", act(line));
        scrub();
        fflush(stdout);
    }
    puts("end");
    return 0;
}
C

# start CRATE: runs it, with file 7 as its input and its output in `answers`.
start() {
    rm -f input && mkfifo input
    : >answers
    crateld run "$@" <input >answers 2>errors &
    pid=$!
    exec 7>input
    lines=0
}
finish() {
    exec 7>&-
    wait $pid || fail "the program ended with status $?: $(tail -3 errors)"
    pid=
    [ "$(tail -1 answers)" = end ] || fail "the program did not end as it should"
    [ ! -s errors ] || fail "the program wrote errors"
}
# ask LINE WANTED
ask() {
    lines=$((lines + 1))
    echo "$1" >&7
    for _ in $(seq 500); do
        [ "$(wc -l <answers)" -ge $lines ] && break
        kill -0 $pid 2>/dev/null || fail "the program died: $(tail -3 errors)"
        sleep 0.01
    done
    answer=$(sed -n "${lines}p" answers)
    [ "$answer" = "$2" ] || fail "$row ($compiler $flags): '$1' is answered by '$answer', wanted '$2'"
}
compile() { # SOURCE OBJECT
    # shellcheck disable=SC2086
    $compiler $flags -c "$1" -o "$2" || fail "$row: cannot compile"
}
# reload NEW.c: in place of the module.
reload() {
    compile "$1" module.new
    mv module.new module.o
    crateld reload $pid module.o >out 2>err || fail "$row ($compiler $flags): refused: $(cat err)"
}
refused() { # NEW.c TEXT
    compile "$1" module.new
    cp module.o module.kept
    mv module.new module.o
    ! crateld reload $pid module.o >out 2>err || fail "$row ($compiler $flags): taken, wanted $2: $(cat out)"
    has err "$2"
    mv module.kept module.o
}
# row NAME, with module.c on standard input: the program with it is started.
row() {
    row=$1
    cat >module.c
    compile module.c module.o
    compile main.c main.o
    crateld link -o app.crate module.o main.o
    start app.crate
}

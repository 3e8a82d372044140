#!/bin/bash
# Modules of running programs are replaced: rows of the matrix in docs/reload.md, each for several compilers and flags.
. "$(dirname "$0")/lib.sh"
need python3
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
    ! crateld reload $pid module.o >out 2>err || fail "$row ($compiler $flags): taken: $(cat out)"
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

# Whether each variable has a section of its own, so that others can come and go.
is_fine() {
    case $flags in *-fdata-sections*) ;; *) return 1 ;; esac
}

# Likewise each function, so that every use of its address has a relocation.
has_functions() {
    case $flags in *-ffunction-sections*) ;; *) return 1 ;; esac
}

row_1() {
    row "statics are kept, code and constants are new" <<'C'
static int count; int start = 5; static long local(void) { static int calls; return ++calls; }
long act(const char *line) { count += 1; start++; return count * 100 + start * 10 + local() + (line[0] == 'x'); }
C
    ask a 161; ask b 272
    sed 's/count \* 100/count * 1000/' module.c >new.c
    reload new.c
    ask a 3083; ask x 4095
    # Another static is added, and keeps its value over further edits.
    sed "s/count \* 100/count * 1000/; s/^static int count;/static int more = 7; static int count;/; s/+ (line/+ more++ * 100000 + (line/" module.c >new.c
    if is_fine; then
        reload new.c
        ask a 705105
        sed -i 's/(line\[0\]/2 * (line[0]/' new.c
        reload new.c
        ask a 806116; ask x 907129
    else
        refused new.c "compile with -fdata-sections"
        ask a 5105
    fi
    finish
}

row_2() {
    row "an initialiser is edited: untouched values follow, others stay" <<'C'
int touched = 10, untouched = 20; static const int weights[] = {1, 2, 3}; int *where = &untouched;
long act(const char *line) { if (line[0] == 't') touched = 11; if (line[0] == 'w') where = &touched; return touched * 10000 + untouched * 100 + weights[2] + *where * 1000000; }
C
    ask t 20112003
    sed 's/touched = 10, untouched = 20/touched = 50, untouched = 60/; s/{1, 2, 3}/{1, 2, 4}/' module.c >new.c
    reload new.c
    ask a 60116004; ask w 11116004
    sed -i 's/where = &untouched/where = \&other/; s/^int touched/int other = 3; int touched/' new.c
    if is_fine; then
        reload new.c
    else
        refused new.c "compile with -fdata-sections"
    fi
    ask a 11116004
    finish
}

row_3() {
    row "functions that are held by their addresses" <<'C'
#include <stdlib.h>
static int twice(int x) { return 2 * x; } int (*held)(int); static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
long act(const char *line) { int all[] = {3, 1, 2}; if (!held) held = twice; qsort(all, 3, sizeof *all, compare); return held(line[0] - '0') * 10 + (held == twice) + all[0] * 1000; }
C
    ask 4 1081
    sed 's/2 \* x/3 * x/; s/return \*(const int \*)a - \*(const int \*)b/return *(const int *)b - *(const int *)a/' module.c >new.c
    if ! has_functions; then
        refused new.c "compile with -ffunction-sections"
        ask 4 1081
        finish
        return
    fi
    reload new.c
    ask 4 3121
    sed -i 's/3 \* x/5 * x/' new.c
    reload new.c
    ask 4 3201
    crateld rollback $pid >out 2>err || fail "$row: no roll back: $(cat err)"
    ask 4 3121
    crateld rollback $pid >out 2>err || fail "$row: no roll back: $(cat err)"
    ask 4 1081
    status 1 crateld rollback $pid
    has err "nothing was reloaded"
    finish
}

row_4() {
    # A sanitizer's shadow memory is more than can be searched for pointers.
    if is_fine && ! has_sanitizer; then
        row "an array grows, and what the program made of it stays" <<'C'
int before = 1; int table[4] = {1, 2, 3, 4}; int after = 2; int *first = table;
long act(const char *line) { int sum = 0; for (unsigned i = 0; i < sizeof table / sizeof *table; i++) sum += table[i]; if (line[0] == 'w') table[3]++; if (before != 1 || after != 2 || (line[0] == 'p' && first != table)) return -1; return sum; }
C
        ask w 10
        sed 's/table\[4\] = {1, 2, 3, 4}/table[64] = {10, 20, 3, 4, [63] = 5}/; s/int \*first = table/int *first/' module.c >new.c
        reload new.c
        ask w 43; ask a 44
        sed -i 's/table\[64\]/table[128]/' new.c
        reload new.c
        ask w 44; ask a 45
        finish

        row "an array to which the program has a pointer of its own does not grow" <<'C'
int table[4] = {1, 2, 3, 4}; int *mine;
long act(const char *line) { mine = &table[1]; return *mine + line[0] - line[0] + sizeof table; }
C
        ask a 18
        sed 's/table\[4\]/table[64]/' module.c >new.c
        refused new.c "variable 'table' needs more room than the 16 bytes it has, and can not move: the data of app.crate"
        ask a 18
        finish
    fi
}

row_5() {
    row "what is wrong is refused, and the next good edit is taken" <<'C'
int state; long act(const char *line) { return ++state * 10 + line[0] - line[0]; }
C
    ask a 10
    sed 's/++state/nowhere() + ++state/; s/^int/int nowhere(void); int/' module.c >new.c
    refused new.c "undefined symbol 'nowhere'"
    sed 's/^int state/short state/' module.c >new.c
    refused new.c "variable 'state': 2 bytes, but 4 in"
    sed 's/\* 10/* 100/' module.c >new.c
    reload new.c
    ask a 200
    head -c 300 module.o >short && cp module.o kept && mv short module.o
    ! crateld reload $pid module.o >out 2>err || fail "$row: a short object is taken"
    has err "module.o"
    mv kept module.o
    ask a 300
    finish
}

rows() {
    row_1
    row_2
    row_3
    row_4
    row_5
}

for flags in "-O2 -g -ffunction-sections -fdata-sections" "-O0" "-O2 -fPIC -ffunction-sections -fdata-sections" "-O2"; do
    for compiler in "$CC" clang; do
        command -v "${compiler%% *}" >/dev/null || continue
        rows
    done
done

#!/bin/bash
# Modules of running programs are replaced: rows of the matrix in docs/reload.md, each for several compilers and flags.
folder=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=lib.sh
. "$folder/lib.sh"
need python3
# shellcheck source=reload-lib.sh
. "$folder/reload-lib.sh"

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

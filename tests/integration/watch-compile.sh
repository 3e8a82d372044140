#!/bin/bash
# run --watch --compile: what is edited is compiled by the project's own commands: sources, headers that they include, several files at
# once, edits that follow each other, and edits that do not compile.
folder=$(cd "$(dirname "$0")" && pwd)
. "$folder/lib.sh"
# shellcheck source=watch-lib.sh
. "$folder/watch-lib.sh"
flags="-O2 -fPIC -ffunction-sections -fdata-sections"
mkdir -p "a b/include" objects
cd "a b"
source_file main.c <<'C'
#include <stdio.h>
#include <string.h>
#include <time.h>
void show(char *line);
int main(void)
{
    for (char last[200] = "", line[200];; nanosleep(&(struct timespec){0, 1000000}, 0)) {
        show(line);
        if (strcmp(line, last)) {
            puts(line);
            fflush(stdout);
            strcpy(last, line);
        }
    }
}
C
source_file show.c <<'C'
#include <stdio.h>
#include "shared.h"
void show(char *line) { sprintf(line, "%d %s", CALL(value), text()); }
C
echo '#include "shared.h"
int value(PARAMETERS) { return VALUE; }' >value.c
echo 'const char *text(void) { return "one"; }' >text.c
cat >include/shared.h <<'C'
#define VALUE 1
#define PARAMETERS void
#define CALL(f) f()
int value(PARAMETERS);
const char *text(void);
C
echo 'int unrelated(void) { return 1; }' >unrelated.c
for name in main show value text unrelated; do
    # shellcheck disable=SC2086
    $CC $flags -Iinclude -c $name.c -o ../objects/$name.o
done
# In words and as a shell's command; with a list of dependencies, and without; and what is no compilation, or of no concern.
folder=$PWD
cat >../compile_commands.json <<J
[
  {"directory": "$folder", "file": "show.c", "arguments": ["$CC", $(for f in $flags; do echo "\"$f\", "; done)
    "-I", "include", "-MD", "-MF", "../objects/show.d", "-c", "show.c", "-o", "../objects/show.o"]},
  {"directory": "$folder", "file": "value.c", "command": "$CC $flags '-Iinclude' \"-DNAME=\\\\\"a b\\\\\"\" -c value.c -o ../objects/value.o"},
  {"directory": "$folder/..", "file": "a b/text.c", "command": "$CC $flags -c a\\\\ b/text.c -o objects/text.o", "more": [1, {"x": null}, "\\u00e9\\ud83d\\ude00"]},
  {"directory": "$folder", "file": "unrelated.c", "command": "$CC -c unrelated.c -o ../objects/unrelated.o"},
  {"directory": "$folder", "file": "main.c", "command": "$CC -o program main.c value.c"}
]
J
cd ..
crateld link -o app.crate objects/main.o objects/show.o objects/value.o objects/text.o

start() {
    : >output
    crateld run "$@" >output 2>log &
    pid=$!
}
finish() {
    kill -9 $pid
    wait $pid 2>/dev/null || :
    pid=
}
edit() { # FILE SED; in place, as some editors do, or by a new file, as others
    sed -E "$2" "a b/$1" >edited
    ! cmp -s edited "a b/$1" || fail "$2 edits nothing in $1"
    if [ "${in_place-}" ]; then cat edited >"a b/$1"; else mv edited "a b/$1"; fi
}
start --watch --compile compile_commands.json app.crate
wait_for "1 one"
sleep 1 # until it is watched
edit text.c 's/one/two/'
wait_for "1 two"
in_place=1 edit value.c 's/VALUE/VALUE + 10/'
wait_for "11 two"
# A header: all that include it, and only those.
text_inode=$(stat -c %i objects/text.o)
edit include/shared.h 's/VALUE 1/VALUE 2/'
wait_for "12 two"
[ "$(stat -c %i objects/text.o)" = "$text_inode" ] || fail "what does not include the header was compiled"
# A parameter more, in the caller and the function: they switch together.
edit include/shared.h 's/PARAMETERS void/PARAMETERS int x, int y/; s/f\(\)/f(30, 40)/'
edit value.c 's/VALUE/x + y + VALUE/'
wait_for "82 two"
lacks log "undefined"
# What does not compile says why, and nothing is replaced until it does, then all.
edit value.c 's/return/retrun/'
wait_log "value.c: not compiled"
grep -q "value.c:2.*error" log || fail "the compiler's message is not there: $(cat log)"
edit text.c 's/two/three/'
sleep 0.5
[ "$(tail -1 output)" = "82 two" ] || fail "a part of an edit was taken: $(tail -1 output)"
edit value.c 's/retrun/return 1000 +/'
wait_for "1082 three"
# A header that is yet to be written.
edit text.c '1i #include "include/later.h"'
wait_log "text.c: not compiled"
edit text.c 's/"three"/LATER/'
echo '#define LATER "later"' >"a b/include/later.h"
wait_for "1082 later"
echo '#define LATER "later still"' >"a b/include/later.h" # it is watched from now on
wait_for "1082 later still"
# Edits without end: the last one runs.
for n in $(seq 3 40); do
    edit include/shared.h "s/VALUE $((n - 1))\$/VALUE $n/"
done
wait_for "1120 later still" # 1000 + 30 + 40 + 40 + 10
# Saved as it was: nothing is done.
lines=$(wc -l <log)
cat "a b/text.c" >same && mv same "a b/text.c"
sleep 0.5
[ "$(wc -l <log)" = "$lines" ] || fail "what was saved as it was is done anew: $(tail -2 log)"
finish
for _ in $(seq 300); do
    [ -z "$(find . -name '*.crateld*')" ] && break
    sleep 0.01
done
[ -z "$(find . -name '*.crateld*')" ] || fail "files are left: $(find . -name '*.crateld*')"
[ -s objects/show.d ] || fail "the build's own list of dependencies was not made"

# What is linked out of an archive is compiled to the object that the archive was made of.
mkdir library && cd library
sed 's/"one"/"first"/' "../a b/text.c" | sed '/later.h/d; s/LATER/"first"/' >text.c
echo 'int value(int x, int y) { return x + y; }' >value.c
cat >main.c <<'C'
#include <stdio.h>
#include <string.h>
#include <time.h>
int value(int, int);
const char *text(void);
int main(void)
{
    for (char last[200] = "", line[200];; nanosleep(&(struct timespec){0, 1000000}, 0)) {
        sprintf(line, "%d %s", value(1, 2), text());
        if (strcmp(line, last)) {
            puts(line);
            fflush(stdout);
            strcpy(last, line);
        }
    }
}
C
mkdir made
for name in main text value; do
    # shellcheck disable=SC2086
    $CC $flags -c $name.c -o made/$name.c.o
done
ar rc libparts.a made/text.c.o made/value.c.o
cat >compile_commands.json <<J
[{"directory": "$PWD", "file": "text.c", "command": "$CC $flags -o made/text.c.o -c text.c"},
 {"directory": "$PWD", "file": "value.c", "command": "$CC $flags -o made/value.c.o -c value.c"}]
J
crateld link -o parts.crate made/main.c.o libparts.a
start --watch --compile compile_commands.json parts.crate
wait_for "3 first"
sleep 1
sed -i 's/first/second/' text.c
wait_for "3 second"
sed -i 's/x + y/x * 10 + y/' value.c
wait_for "12 second"
# The archive is made anew of the same objects: there is nothing to do. Then of one that something else has compiled.
lines=$(wc -l <log)
ar rc libparts.a made/text.c.o made/value.c.o
sleep 0.3
[ "$(wc -l <log)" = "$lines" ] || fail "what the archive got is taken twice: $(tail -1 log)"
sed 's/second/third/' text.c >other.c
# shellcheck disable=SC2086
$CC $flags -c other.c -o made/text.c.o
wait_for "12 third"
finish
cd ..

# Faults of the file, each with its line; the program runs on without being watched.
bad() { # TEXT JSON
    printf '%s' "$2" >bad.json
    : >output
    crateld run app.crate >output 2>log &
    pid=$!
    for _ in $(seq 300); do [ -s output ] && break; sleep 0.01; done
    status 1 crateld watch --compile bad.json $pid
    has err "$1"
    kill -0 $pid
    finish
}
bad "bad.json:1: wanted '['" '{}'
bad "bad.json:2: a string that does not end" '[
{"directory": "x'
bad "bad.json:1: an entry without 'directory'" '[{"file": "x.c", "command": "gcc -c x.c"}]'
bad "bad.json:1: values that are too deep" "[{\"x\": $(printf '[%.0s' $(seq 100))"
bad "bad.json:1: half of a surrogate pair" '[{"directory": "\ud800x"}]'
bad "bad.json:1: wanted ','" '[{"directory": "/" "file": "x"}]'
bad "bad.json: makes none of the objects that the process's crates were linked from" '[]'
status 2 crateld run --compile compile_commands.json app.crate
has err "only with --watch"
status 2 crateld run --watch --tiered app.crate
has err "only with --compile"

# Two tiers: tcc's object comes first, the optimising compiler's in its place, and the program keeps its state. What tcc can not do is waited for.
command -v tcc >/dev/null || skip "no tcc"
mkdir tiers && cd tiers
cat >slow <<'S'
#!/bin/sh
sleep 1
exec gcc "$@"
S
chmod +x slow
source_file main.c <<'C'
#include <stdio.h>
#include <string.h>
#include <time.h>
const char *line(int), *threaded(void);
int main(void)
{
    for (char last[200] = "", now[200]; ; nanosleep(&(struct timespec){0, 1000000}, 0)) {
        int is_new = 0;
        snprintf(now, sizeof now, "%s %s", line(0), threaded());
        is_new = strcmp(now, last);
        strcpy(last, now);
        if (is_new) {
            line(1);
            printf("%s\n", now);
            fflush(stdout);
            snprintf(last, sizeof last, "%s %s", line(0), threaded());
        }
    }
}
C
source_file parts.c <<'C'
#include <stdio.h>
static const int table[4] = {10, 20, 30, 40};
static const char *const names[] = {"zero", "one"};
int total = 5, grown[3];
static int hidden = 7;
static int twice(int x) { return x * 2; }
static int (*const function)(int) = twice;
#ifdef __TINYC__
#define WHO "tcc"
#else
#define WHO "gcc"
#endif
const char *line(int is_new)
{
    static int lines;
    static char text[200];
    lines += is_new;
    grown[1] = function(hidden);
    snprintf(text, sizeof text, "%s: FIRST %d %d %s %d", WHO, table[1] + total, grown[1], names[1], lines);
    return text;
}
C
echo '__thread int own = 3; const char *threaded(void) { return own == 3 ? "thread 1" : ""; }' >threaded.c
for name in main parts threaded; do
    # shellcheck disable=SC2086
    gcc $flags -c $name.c
done
cat >compile_commands.json <<J
[{"directory": "$PWD", "file": "parts.c", "command": "$PWD/slow $flags -DUNUSED=1 -c parts.c -o parts.o"},
 {"directory": "$PWD", "file": "threaded.c", "command": "$PWD/slow $flags -c threaded.c -o threaded.o"}]
J
crateld link -o tiers.crate main.o parts.o threaded.o
start --watch --compile compile_commands.json --tiered tiers.crate
wait_for "gcc: FIRST 25 14 one 0 thread 1"
sleep 0.5
sed -i 's/FIRST/SECOND/; s/total = 5/total = 6/; s/return x \* 2/return x * 3/' parts.c
wait_for "tcc: SECOND 26 21 one 1 thread 1"
[ ! -e parts.o.crateld ] || [ ! -s parts.o.crateld ] || fail "the other compiler was as quick"
wait_for "gcc: SECOND 26 21 one 2 thread 1"
has log "reloaded by tcc: 1 modules"
sed -i 's/"thread 1"/"thread 2"/' threaded.c
wait_for "gcc: SECOND 26 21 one 3 thread 2"
[ "$(grep -c 'by tcc' log)" = 1 ] || fail "tcc's thread-locals were taken"
lacks log "crateld: "
# Back to what it was before, while the other compiler is at work: that is another version for the process, too.
cp parts.c second.c
sed -i 's/SECOND/THIRD/' parts.c
wait_for "tcc: THIRD 26 21 one 4 thread 2"
mv second.c parts.c
wait_for "tcc: SECOND 26 21 one 5 thread 2"
wait_for "gcc: SECOND 26 21 one 6 thread 2"
# What does not compile.
sed -i 's/return text/retrun text/' parts.c
wait_log "parts.c: not compiled"
[ "$(tail -1 output)" = "gcc: SECOND 26 21 one 6 thread 2" ] || fail "$(tail -1 output)"
finish
sleep 0.3
[ -z "$(find . -name '*.crateld*')" ] || fail "files are left: $(find . -name '*.crateld*')"

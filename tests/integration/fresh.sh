#!/bin/bash
# A crate that is behind its objects: `run --fresh` starts with what changed, `diff --changed` makes the patch of it, and `diff` of two
# crates that of a later build. The oracle is the crate linked anew.
. "$(dirname "$0")/lib.sh"
need_libc_first # a sanitizer's pthread_create() lets libc take our signal
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
flags="-O2 -g -fPIC -ffunction-sections -fdata-sections"
compile() {
    # shellcheck disable=SC2086
    for file; do $CC $flags -c "$file"; done
}
edit() { # FILE SED
    cp "$1" edited.before
    sed -i -E "$2" "$1"
    ! cmp -s "$1" edited.before || fail "$2 edits nothing in $1"
    compile "$1"
}
link() {
    crateld link --name app -o "$1" main.o first.o libparts.a lib.crate
}
# same COMMAND...: what is linked anew and run does what the command does.
same() {
    rm -rf anew && mkdir anew
    cp lib.crate lib.keep
    crateld link -o lib.crate lib.o
    link anew/app.crate
    mv lib.crate anew/lib.crate
    mv lib.keep lib.crate
    crateld run anew/app.crate >want
    status 0 "$@"
    cmp out want || fail "$* does something else than what is linked anew"
}
source_file main.c <<'C'
#include <stdio.h>
int first(int), second(int), lib(int); extern int value; const char *text(void);
int main(void) { printf("%d %d %d %d %s\n", first(1), second(2), lib(3), value, text()); return 0; }
C
echo 'int value = 10; int first(int x) { return x + value; }' >first.c
echo 'int second(int x) { return x * 2; }' >second.c
echo 'const char *text(void) { return "text"; } int unused(void) { return 1; }' >text.c
echo 'int lib(int x) { return x + 100; }' >lib.c
compile main.c first.c second.c text.c lib.c
ar rcs libparts.a second.o text.o
crateld link -o lib.crate lib.o
link app.crate
cp app.crate base.crate

# Nothing has changed; or only what does not count: times, and objects that are gone.
touch first.o libparts.a
same crateld run --fresh app.crate
status 1 crateld diff --changed -o fix.patch app.crate
has err "app.crate: no object that it was linked from has changed"
[ ! -e fix.patch ] || fail "a patch of nothing was written"
mv lib.o lib.gone
status 0 crateld run --fresh app.crate
mv lib.gone lib.o

# An object, an archive's member, and a module of a crate that the program needs.
edit first.c 's/value = 10/value = 20/; s/x \+/3 * x +/'
same crateld run --fresh app.crate
status 0 crateld diff --changed -o fix.patch app.crate
same crateld run --patch fix.patch app.crate
crateld inspect --patch fix.patch >list
has list first.o
lacks list second.o
edit second.c 's/\* 2/* 5/'
edit text.c 's/"text"/"another text"/'
ar rcs libparts.a second.o text.o
edit lib.c 's/100/200/'
same crateld run --fresh app.crate
for mode in --aslr --bind-now; do
    status 0 crateld run --fresh $mode app.crate
    cmp out want || fail "with $mode it does something else"
done
status 0 crateld run app.crate
has out "11 4 103 10 text" # without being asked nothing is fresh
status 0 crateld diff --changed -o fix.patch app.crate
crateld inspect --patch fix.patch >list
has list "libparts.a  second.o"
# The file is brought up to date, falls behind again, and goes back to what it was linked from.
status 0 crateld apply fix.patch app.crate
same crateld run --fresh app.crate
edit first.c 's/3 \* x/4 * x/'
same crateld run --fresh app.crate
edit first.c 's/value = 20/value = 10/; s/4 \* x \+/x +/'
same crateld run --fresh app.crate
# What the compiler left half done, or can not be a patch, is an error, and the program does not start.
cp first.o first.good
head -c 700 first.good >first.o
status 1 crateld run --fresh app.crate
has err "first.o: "
has err "app.crate: can not be brought up to date"
[ ! -s out ] || fail "the program ran"
edit first.c 's/value = 10/value = 10, more = nowhere()/; s/^/int nowhere(void); /; s/, more = nowhere\(\)//; s/return x/return nowhere() + x/'
status 1 crateld run --fresh app.crate
has err "undefined symbol 'nowhere'"
cp first.good first.o
crateld strip -o stripped.crate base.crate
status 1 crateld run --fresh stripped.crate
has err "stripped.crate: has no relink section"
status 0 crateld run stripped.crate

# A process that began fresh is watched: also an object that becomes what it was when the crate was linked is another for it.
source_file loop.c <<'C'
#include <stdio.h>
#include <time.h>
int version(void);
int main(void) { for (int last = -1;;) { int v = version(); if (v != last) { printf("%d\n", last = v); fflush(stdout); } nanosleep(&(struct timespec){0, 1000000}, 0); } }
C
for n in 1 2 3; do
    echo "int version(void) { return $n; }" >version.c
    compile version.c
    mv version.o version.$n
done
compile loop.c
cp version.1 version.o
crateld link -o loop.crate loop.o version.o
cp version.2 version.o
crateld run --fresh --watch loop.crate >output 2>log &
pid=$!
wait_for() {
    for _ in $(seq 600); do
        [ "$(tail -1 output)" = "$1" ] && return
        kill -0 $pid 2>/dev/null || fail "the program died: $(tail -3 log)"
        sleep 0.01
    done
    fail "the program's last line is '$(tail -1 output)', wanted $1: $(tail -3 log)"
}
wait_for 2
[ "$(head -1 output)" = 2 ] || fail "it began with the old version"
for n in 1 3 1 2; do
    sleep 0.3
    cp version.$n next.o && mv next.o version.o
    wait_for $n
done
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# Archives are watched for their members: one that changed is taken, alone.
cp version.1 version.o
ar rcs libversion.a version.o text.o second.o
echo 'const char *text(void); const char *(*keep)(void) = text;' >keep.c && compile keep.c
crateld link -o archived.crate loop.o keep.o libversion.a
crateld run --watch archived.crate >output 2>log &
pid=$!
wait_for 1
for n in 2 3 1; do
    sleep 0.3
    cp version.$n version.o
    ar rcs libversion.a version.o
    wait_for $n
done
[ "$(grep -c 'reloaded: 1 modules' log)" = 3 ] || fail "not one module each time: $(cat log)"
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# A running process takes a patch that was made before, and the later build of its crate, whatever it took before.
cp version.1 version.o
crateld run loop.crate >output 2>log &
pid=$!
wait_for 1
crateld diff -o 2.patch loop.crate version.o=version.2
cp 2.patch kept.patch
status 0 crateld check $pid 2.patch
wait_for 1
status 0 crateld reload $pid 2.patch
has out "reloaded: 1 modules, 1 functions"
wait_for 2
cmp 2.patch kept.patch || fail "the patch was taken away"
cp version.3 version.o
mkdir later
crateld link -o later/loop.crate loop.o version.o
crateld diff -o wrong.patch later/loop.crate version.o=version.2
status 0 crateld reload $pid later/loop.crate
wait_for 3
status 0 crateld rollback $pid
wait_for 2
cp version.1 version.o
crateld link -o later/loop.crate loop.o version.o
status 0 crateld reload $pid later/loop.crate # what it was linked from, but not what it has
wait_for 1
status 1 crateld reload $pid base.crate
has err "base.crate: process $pid has no crate 'app'"
status 1 crateld reload $pid fix.patch
has err "fix.patch: process $pid has no crate 'app'"
status 1 crateld reload $pid wrong.patch
has err "wrong.patch: is a patch for another build of loop.crate"
head -c 5000 2.patch >short.patch
status 1 crateld reload $pid short.patch
wait_for 1
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# One that was stripped takes patches, but none can be made for it.
cp version.1 version.o
crateld link -o loop.crate loop.o version.o
crateld diff -o 2.patch loop.crate version.o=version.2
crateld strip loop.crate >out
crateld run loop.crate >output 2>log &
pid=$!
wait_for 1
status 0 crateld reload $pid 2.patch
wait_for 2
status 1 crateld reload $pid later/loop.crate
has err "later/loop.crate: process $pid has it without a relink section"
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# Whole crates.
mkdir old && cp base.crate old/app.crate && crateld link -o lib.crate lib.o
echo 'int value = 7; int first(int x) { return 1000 * x + value; }' >first.c && compile first.c
link new.crate
status 0 crateld diff -o whole.patch old/app.crate new.crate
same crateld run --path . --patch whole.patch old/app.crate
status 0 crateld apply whole.patch old/app.crate
same crateld run --path . old/app.crate
status 0 crateld diff -o again.patch old/app.crate new.crate
same crateld run --path . --patch again.patch old/app.crate
status 1 crateld diff -o bad.patch new.crate base.crate
has err "libparts.a(text.o): has changed since it was linked into base.crate"
status 1 crateld diff -o bad.patch base.crate base.crate
has err "base.crate: was linked from the same modules as base.crate"
# A module that came, of which nobody else speaks; and one that others use.
source_file third.c <<'C'
#include <stdio.h>
__attribute__((constructor)) static void begin(void) { printf("begins "); fflush(stdout); }
int third(int x) { return 3 + x; }
C
compile third.c
crateld link --name app -o more.crate main.o first.o third.o libparts.a lib.crate
crateld run more.crate >want
status 0 crateld diff -o more.patch new.crate more.crate
status 0 crateld run --patch more.patch new.crate
cmp out want || fail "the patch does something else than the later build: $(cat out)"
cp first.c first.kept
echo 'int third(int); int value = 7; int first(int x) { return third(1000 * x) + value; }' >first.c && compile first.c
crateld link --name app -o more.crate main.o first.o third.o libparts.a lib.crate
crateld run more.crate >want
status 0 crateld diff -o named.patch new.crate first.o third.o
status 0 crateld diff -o more.patch new.crate more.crate
for patch in named more; do
    status 0 crateld run --patch $patch.patch new.crate
    cmp out want || fail "$patch.patch does something else than the later build: $(cat out)"
done
status 1 crateld diff -o bad.patch new.crate third.o
has err "third.o: no module of new.crate was linked from it: say of which it is a new version: OLD=third.o; or, if it is a new one"
status 1 crateld diff -o bad.patch new.crate first.o
has err "undefined symbol 'third'"
status 1 crateld run --fresh new.crate
has err "undefined symbol 'third'"
# What the file carries is known from then on: it is compared as the others are.
status 0 crateld apply -o carries.crate named.patch new.crate
status 0 crateld run carries.crate
cmp out want || fail "carried, it does something else: $(cat out)"
sed -i 's/3 + x/30 + x/' third.c && compile third.c
crateld link --name app -o more.crate main.o first.o third.o libparts.a lib.crate
crateld run more.crate >want
status 0 crateld run --fresh carries.crate
cmp out want || fail "fresh, it does something else: $(cat out)"
mv first.kept first.c && compile first.c

# By name: modules that went, objects that are not what was linked any more, or are gone, other needs, another crate.
crateld link --name app -o more.crate main.o first.o third.o libparts.a lib.crate
status 1 crateld diff -o bad.patch more.crate new.crate
has err "third.o: is a module that a patch can not remove; it is not in new.crate"
cp first.o first.kept && cp first.good first.o
status 1 crateld diff -o bad.patch base.crate new.crate
has err "first.o: has changed since it was linked into new.crate"
rm first.o
status 1 crateld diff -o bad.patch base.crate new.crate
has err "first.o: is gone; a patch is made of the objects of new.crate"
mv first.kept first.o
crateld link --name other -o other.crate main.o first.o libparts.a lib.crate
status 1 crateld diff -o bad.patch base.crate other.crate
has err "other.crate: is the crate 'other', but base.crate is 'app'"
crateld link --name app -o needs.crate main.o first.o libparts.a lib.o
status 1 crateld diff -o bad.patch new.crate needs.crate
has err "needs.crate: needs other crates or libraries than new.crate"
crateld strip -o stripped.crate new.crate
status 1 crateld diff -o bad.patch base.crate stripped.crate
has err "stripped.crate: has no relink section"
[ ! -e bad.patch ] || fail "a refused patch was written"
status 2 crateld diff --changed -o bad.patch base.crate new.crate

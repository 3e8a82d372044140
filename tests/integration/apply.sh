#!/bin/bash
# crateld apply: the file of a crate carries patches. It does what the crate does when it is linked anew, and is a crate like any
# other: it is reloaded, patched further, inspected, stripped, needed by others, opened while a program runs.
. "$(dirname "$0")/lib.sh"
need_libc_first # a sanitizer's pthread_create() lets libc take our signal
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
flags="-O2 -g -fPIC -ffunction-sections -fdata-sections"
compile() {
    # shellcheck disable=SC2086
    for file; do $CC $flags -c "$file"; done
}
# new_version NAME SED...: compiles NAME.c edited as new/NAME.o.
new_version() {
    mkdir -p new
    sed -E "$2" "$1.c" >"new/$1.c"
    ! cmp -s "$1.c" "new/$1.c" || fail "$2 edits nothing in $1.c"
    # shellcheck disable=SC2086
    $CC $flags -c "new/$1.c" -o "new/$1.o"
}
# same CRATE FILES...: the crate does what it does when it is linked of the files.
same() {
    crate=$1
    shift
    rm -rf anew && mkdir anew
    crateld link --name app -o anew/app.crate "$@"
    crateld run anew/app.crate >want
    for mode in "" --aslr --bind-now; do
        # shellcheck disable=SC2086
        status 0 crateld run $mode "$crate"
        cmp out want || fail "$crate $mode does something else than $*"
    done
    status 0 crateld inspect --check "$crate"
    crateld inspect --json "$crate" | python3 -m json.tool >/dev/null
}

source_file parts.c <<'C'
int counter = 3, table[4] = {1, 2, 3, 4};
static int hidden = 5;
static const char *const names[] = {"one", "two"};
__thread int local = 9;
int total(void) { int sum = 0; for (unsigned i = 0; i < sizeof table / sizeof *table; i++) sum += table[i]; return sum + hidden; }
const char *name(int x) { return names[x & 1]; }
int step(int x) { counter += x; return counter + local++; }
C
source_file other.c <<'C'
extern int counter, table[4];
int step(int);
int *first(void) { return &table[0]; }
int twice(int x) { return step(x) * 2 + counter; }
C
source_file main.c <<'C'
#include <stdio.h>
int total(void), step(int), twice(int), *first(void); const char *name(int); extern int counter;
int main(void) { printf("%d %s %s %d %d %d %d\n", total(), name(0), name(1), step(2), twice(3), *first(), counter); return 0; }
C
compile parts.c other.c main.c
crateld link -o app.crate parts.o other.o main.o
cp app.crate base.crate
chmod 750 app.crate
crateld inspect --header app.crate | grep 'build id  ' >id

# One patch, then another of the same module, which takes its place, then one of another module.
new_version parts 's/counter = 3/counter = 30/; s/"two"/"zwei"/; s/table\[4\] = \{1, 2, 3, 4\}/table[64] = {5, 6, 7, 8, 9}/; s/local = 9/local = 9, unused/'
status 0 crateld diff -o one.patch app.crate new/parts.o
before=$(stat -c %i app.crate)
exec 7<app.crate
status 0 crateld apply one.patch app.crate
has out "app.crate: carries one.patch: 1 modules, "
[ "$(stat -c %i app.crate)" != "$before" ] || fail "the file was written in place"
cmp -s /dev/fd/7 base.crate || fail "who has the file open sees another"
exec 7<&-
[ "$(stat -c %a app.crate)" = 750 ] || fail "the file's mode is another"
crateld inspect --header app.crate | grep 'build id  ' | cmp - id || fail "the build id is another"
same app.crate new/parts.o other.o main.o
status 0 crateld inspect app.crate
has out "Patches that the file carries"
has out parts.o
cp app.crate applied.crate
status 0 crateld apply one.patch app.crate
has out "app.crate: has one.patch already"
cmp app.crate applied.crate
new_version parts 's/counter = 3/counter = 40/; s/"one"/"eins"/'
cp new/parts.o second.o
status 0 crateld diff -o two.patch app.crate parts.o=second.o # of the crate that carries one
mkdir plain && cp base.crate plain/app.crate
crateld diff -o plain/two.patch plain/app.crate parts.o=second.o
cmp two.patch plain/two.patch || fail "a carried patch makes another patch of what is compared with the crate's own modules"
status 0 crateld apply two.patch app.crate
same app.crate second.o other.o main.o
crateld inspect --json --header app.crate | grep -q '"carried_patches": 1' || fail "a patch that is superseded is carried on"
new_version other 's/\* 2/* 3/'
status 0 crateld diff -o three.patch app.crate new/other.o
status 0 crateld apply three.patch app.crate
same app.crate second.o new/other.o main.o
status 0 crateld apply -o back.crate one.patch app.crate # the first again, in place of the second
crateld diff -o none.patch app.crate parts.o other.o
status 0 crateld apply none.patch back.crate # and back to where it began
same back.crate parts.o other.o main.o
status 0 crateld apply -o both.crate one.patch two.patch three.patch base.crate
cmp both.crate app.crate || fail "at once it is something else than one by one"

# Partly superseded: what is not stays.
crateld diff -o pair.patch base.crate parts.o=second.o new/other.o
new_version parts 's/counter = 3/counter = 50/'
crateld diff -o part.patch base.crate new/parts.o
status 0 crateld apply -o partly.crate pair.patch part.patch base.crate
same partly.crate new/parts.o new/other.o main.o

# An initialiser that the patch brings runs at the start, also of a crate that is opened later; TOC code is carried as well.
echo 'int seen; int watch(void) { return seen; }' >seen.c
echo '#include <stdio.h>
int watch(void); int main(void) { printf("%d\n", watch()); return 0; }' >shows.c
echo '#include <dlfcn.h>
#include <stdio.h>
int main(void) { void *h = dlopen("./seen.crate", RTLD_NOW); printf("%d\n", h ? ((int (*)(void))dlsym(h, "watch"))() : -1); return 0; }' >opens.c
for compiler in "$CC $flags" "crateld cc -O2 -ffunction-sections -fdata-sections"; do
    $compiler -c seen.c shows.c opens.c
    crateld link -o seen.crate seen.o
    crateld link -o shows.crate shows.o seen.crate
    crateld link -o opens.crate opens.o
    mkdir -p new
    sed 's/return seen/return seen + 1000/; s/$/ __attribute__((constructor)) static void begin(void) { seen += 7; }/' seen.c >new/seen.c
    $compiler -c new/seen.c -o new/seen.o
    status 0 crateld diff -o seen.patch seen.crate new/seen.o
    status 0 crateld apply seen.patch seen.crate
    for program in shows opens; do
        status 0 crateld run $program.crate
        [ "$(cat out)" = 1007 ] || fail "$program with $compiler: $(cat out)"
    done
done

# Stripped of everything, it still carries its patches, and they are in effect; of debug information, it can be patched further.
status 0 crateld strip -o stripped.crate app.crate
[ "$(stat -c %s stripped.crate)" -lt "$(stat -c %s app.crate)" ] || fail "stripping saves nothing"
readelf -SW stripped.crate | grep -q 'crate.relink\|debug' && fail "it was not stripped"
same stripped.crate second.o new/other.o main.o
crateld strip --debug-only -o slim.crate base.crate >out
own=$(sed 's/.*debug information //' out)
status 0 crateld strip --debug-only -o slim.crate app.crate
[ "$(sed 's/.*debug information //' out)" -gt "$own" ] || fail "debug information is left in the patches"
crateld diff -o next.patch slim.crate new/parts.o
status 0 crateld apply next.patch slim.crate
same slim.crate new/parts.o new/other.o main.o
status 0 crateld apply one.patch stripped.crate # made before it was stripped
status 0 crateld run stripped.crate
has out "40 one zwei"

# Refusals, which leave the file alone.
refused() { # TEXT ARGUMENTS...
    cp app.crate before
    text=$1
    shift
    status 1 crateld apply "$@"
    has err "$text"
    cmp app.crate before || fail "the refused patch changed the crate"
    [ -z "$(find . -name 'app.crate?*')" ] || fail "temporary files are left"
}
crateld link -o app2.crate second.o other.o main.o --name app
crateld diff -o wrong.patch app2.crate second.o=new/parts.o
refused "wrong.patch: is a patch for another build of app.crate" wrong.patch app.crate
refused "wrong.patch: is a patch for another build of app.crate" one.patch wrong.patch app.crate
refused "base.crate: is no patch" base.crate app.crate
refused "two.patch: is a patch: name the crate that it is for" one.patch two.patch
refused "missing.patch" missing.patch app.crate
head -c 9000 one.patch >short.patch
refused "short.patch: " short.patch app.crate
python3 -c "
data = bytearray(open('one.patch', 'rb').read())
data[data.rindex(b'zwei')] ^= 1
open('damaged.patch', 'wb').write(data)"
refused "damaged.patch: damaged" damaged.patch app.crate
status 2 crateld apply one.patch

# A damaged list, or a file that is too short, is an error and nothing runs.
size=$(stat -c %s app.crate)
for cut in 1 100 $((size / 4)); do
    head -c $((size - cut)) app.crate >bad.crate
    status 1 crateld run bad.crate
    has err "bad.crate: "
    [ ! -s out ] || fail "the program ran"
done

# A running one: reloaded, inspected, rolled back.
source_file loop.c <<'C'
#include <stdio.h>
#include <time.h>
int version(void);
int main(void) { for (int last = -1;;) { int v = version(); if (v != last) { printf("%d\n", last = v); fflush(stdout); } nanosleep(&(struct timespec){0, 1000000}, 0); } }
C
echo 'int version(void) { return 1; }' >version.c
compile loop.c version.c
crateld link -o loop.crate loop.o version.o
sed 's/1/2/' version.c >v2.c && sed 's/1/3/' version.c >v3.c && compile v2.c v3.c
crateld diff -o v2.patch loop.crate version.o=v2.o
status 0 crateld apply v2.patch loop.crate
crateld run loop.crate >output 2>log &
pid=$!
wait_for() {
    for _ in $(seq 600); do
        [ "$(tail -1 output)" = "$1" ] && return
        kill -0 $pid 2>/dev/null || fail "the program died: $(tail -3 log)"
        sleep 0.01
    done
    fail "the program's last line is '$(tail -1 output)', wanted $1"
}
wait_for 2
status 0 crateld reload $pid version.o=v3.o
wait_for 3
status 0 crateld inspect $pid
has out "loop.crate.patch"
status 0 crateld rollback $pid
wait_for 2
status 0 crateld reload $pid version.o
wait_for 1
[ "$(head -1 output)" = 2 ] || fail "it began with the old version"
[ ! -s log ] || fail "the program wrote errors: $(cat log)"
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# Needed by another, and opened while the program runs.
echo 'int tuned = 1; int api(int x) { return x + tuned; } int (*get(void))(int) { return api; }' >lib.c
source_file user.c <<'C'
#include <stdio.h>
int api(int), (*get(void))(int); extern int tuned;
int main(void) { printf("%d %d %d %d\n", api(1), get()(2), get() == api, tuned); return 0; }
C
source_file opener.c <<'C'
#include <dlfcn.h>
#include <stdio.h>
int main(void)
{
    for (int i = 0; i < 2; i++) {
        void *handle = dlopen("./lib.crate", RTLD_NOW);
        int (*api)(int) = handle ? (int (*)(int))dlsym(handle, "api") : 0;
        if (!api)
            return puts(dlerror()), 1;
        printf("%d %d\n", api(1), *(int *)dlsym(handle, "tuned"));
        dlclose(handle);
    }
    return 0;
}
C
compile lib.c user.c opener.c
crateld link -o lib.crate lib.o
crateld link -o user.crate user.o lib.crate
crateld link -o opener.crate opener.o
new_version lib 's/tuned = 1/tuned = 10/; s/x \+/2 * x +/'
crateld diff -o lib.patch lib.crate new/lib.o
status 0 crateld apply lib.patch lib.crate
for mode in "" --bind-now --aslr; do
    # shellcheck disable=SC2086
    status 0 crateld run $mode user.crate
    has out "12 14 1 10"
    # shellcheck disable=SC2086
    status 0 crateld run $mode opener.crate
    [ "$(cat out)" = "12 10
12 10" ] || fail "the crate that was opened: $(cat out)"
done

#!/bin/bash
# run --watch while the build makes the crate anew: source files that it has got since are replaced like the others.
folder=$(cd "$(dirname "$0")" && pwd)
. "$folder/lib.sh"
# shellcheck source=watch-lib.sh
. "$folder/watch-lib.sh"
flags="-O2 -fPIC -ffunction-sections -fdata-sections"
source_file main.c <<'C'
#include <stdio.h>
#include <time.h>
int value(void);
int main(void)
{
    for (int last = 0, now;; nanosleep(&(struct timespec){0, 1000000}, 0)) {
        now = value();
        if (now != last)
            printf("%d\n", now);
        fflush(stdout);
        last = now;
    }
}
C
echo 'static int calls = 1; int value(void) { return calls; }' >value.c
echo 'int spare(void) { return 1; }' >spare.c
compile() {
    for name in "$@"; do
        # shellcheck disable=SC2086
        $CC $flags -c "$name.c" -o "$name.new" && mv "$name.new" "$name.o"
    done
}
link() { crateld link -o app.crate main.o value.o "$@"; }
compile main value spare
link
crateld run --watch app.crate >output 2>log &
pid=$!
wait_for 1
sleep 0.5
# The crate is made anew of what it had: that is nothing.
link
sleep 0.3
[ ! -s log ] || fail "a crate that was made anew: $(cat log)"
# A file more, as a build makes it: the objects, then the crate.
echo 'static int calls = 1; int helper(int); int value(void) { return calls + helper(3); }' >value.c
echo 'static int more = 10; int helper(int n) { return n * more; }' >helper.c
compile value
wait_log "undefined symbol 'helper'"
compile helper
link helper.o
wait_for 31
# It alone, from now on, also when the crate is made anew in between.
sed -i 's/n \* more/n * more + 1/' helper.c
compile helper
wait_for 32
link helper.o
sed -i 's/+ 1;/+ 2;/' helper.c
compile helper
wait_for 33
sed -i 's/calls + /calls * 2 + /' value.c
compile value
wait_for 34
# One that nobody uses is no news, until somebody does.
lines=$(wc -l <log)
link helper.o spare.o
sleep 0.3
[ "$(wc -l <log)" = "$lines" ] || fail "a module that nobody uses: $(tail -1 log)"
echo 'static int calls = 1; int helper(int), spare(void); int value(void) { return calls + helper(3) + 1000 * spare(); }' >value.c
compile value
wait_for 1033
# What is no crate, and a stripped one, are no news.
cp app.crate kept
echo broken >broken && mv broken app.crate
sleep 0.2
crateld strip -o stripped.crate kept >strip.log && mv stripped.crate app.crate
sleep 0.2
sed -i 's/+ 2;/+ 3;/' helper.c
compile helper
wait_for 1034
kill -9 $pid
wait $pid 2>/dev/null || :
pid=
# The same out of an archive.
echo 'static int calls = 1; int value(void) { return calls; }' >value.c
echo 'static int more = 10; int helper(int n) { return n * more; }' >helper.c
compile value helper
ar rc libparts.a value.o
crateld link -o app.crate main.o libparts.a
crateld run --watch app.crate >output 2>log &
pid=$!
wait_for 1
sleep 0.5
echo 'static int calls = 1; int helper(int); int value(void) { return calls + helper(3); }' >value.c
compile value
ar rc libparts.a value.o helper.o
crateld link -o app.crate main.o libparts.a
wait_for 31
sed -i 's/n \* more/n * more + 1/' helper.c
compile helper
ar rc libparts.a helper.o
wait_for 32
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

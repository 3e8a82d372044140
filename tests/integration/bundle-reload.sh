#!/bin/bash
# A program in a bundle is reloaded as one of crates: what a module means by a name is its own crate's, or that of a crate that
# it needs, whoever else has such a name.
. "$(dirname "$0")/lib.sh"
need_libc_first
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=

source_file far.c <<'C'
int value = 7000;
int helper(int x) { return x + value; }
int answer(void) { return helper(0); }
C
source_file near.c <<'C'
extern int value;
__attribute__((visibility("hidden"))) int helper(int x);
int answer(void) { return helper(1); }
int again(void) { return answer(); }
C
source_file near2.c <<'C'
int value = 50;
__attribute__((visibility("hidden"))) int helper(int x) { return value + x; }
C
source_file main.c <<'C'
#include <stdio.h>
#include <unistd.h>
int again(void), far_answer(void), answer(void);
int (*pointer)(void) = answer;
int main(void)
{
    char line[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin))
        printf("%d %d %d\n", again(), pointer(), far_answer());
    return 0;
}
C
source_file through.c <<'C'
int answer(void);
int far_answer(void) { return answer(); }
C
# shellcheck disable=SC2086 # options
compile() { for file; do $CC -O2 -fPIC -ffunction-sections -fdata-sections -c "$file"; done; }
compile far.c near.c near2.c main.c through.c
crateld link -o far.crate far.o
crateld link -o near.crate near.o near2.o
crateld link -o through.crate through.o far.crate
crateld link -o main.crate main.o near.crate through.crate
mkdir one
crateld bundle -o one/app.crate main.crate ./*.crate

mkfifo questions
crateld run one/app.crate <questions >answers 2>log &
pid=$!
exec 9>questions

count=0
# ask WANTED: what the program says now.
ask() {
    count=$((count + 1))
    echo >&9
    for _ in $(seq 500); do
        [ "$(wc -l <answers)" -ge $count ] && break
        kill -0 $pid 2>/dev/null || fail "the program died: $(cat log)"
        sleep 0.01
    done
    [ "$(tail -1 answers)" = "$1" ] || fail "it says '$(tail -1 answers)', wanted '$1'"
}
ask '51 51 7000'

# Its helper and its value, of which others have their own.
sed -i 's/helper(1)/helper(2) + value * 1000/' near.c
compile near.c
status 0 crateld reload $pid near.o
ask '50052 50052 7000'

# What another crate exports, by the name that one beside it has as well.
sed -i 's/return answer()/return answer() * 10/' through.c
compile through.c
status 0 crateld reload $pid through.o
ask '50052 50052 70000'
sed -i 's/x + value/x + value + 1/' far.c
compile far.c
status 0 crateld reload $pid far.o
ask '50052 50052 70010'

# Two crates at once: no.
sed -i "s/answer() \* 10/answer() * 100/" through.c
sed -i "s/value + x/value + x + 1/" near2.c
compile through.c near2.c
status 1 crateld reload $pid through.o near2.o
has err 'patch one crate at a time'
ask '50052 50052 70010'
status 0 crateld rollback $pid
ask '50052 50052 70000'

# Files of one name in two crates: which one is meant has to be said.
exec 9>&-
wait $pid || fail "it ended with $?"
pid=
mkdir -p a b
echo 'int first(void) { return 1; }' >a/part.c
echo 'int first(void); int second(void) { return 2 + first(); }' >b/part.c
echo 'int second(void); int main(void) { return second() != 3; }' >use.c
for folder in a b; do (cd $folder && $CC -O2 -fPIC -c part.c); done
$CC -O2 -fPIC -c use.c
crateld link -o a.crate --name a a/part.o
(cd b && crateld link -o ../b.crate --name b part.o ../a.crate)
(cd a && crateld link -o ../a.crate --name a part.o)
crateld link -o use.crate use.o b.crate
crateld bundle -o one/use.crate use.crate a.crate b.crate
status 0 crateld run one/use.crate
cp a/part.o part.o
status 1 crateld diff -o x.patch one/use.crate part.o
has err 'more than one module'

#!/bin/sh
# The crate is the same however many threads link it; so is what is said about faults.
. "$(dirname "$0")/lib.sh"

i=0
while [ $i -lt 60 ]; do
    next=$(((i + 1) % 60))
    cat >part$i.c <<END
#include <stdio.h>
extern int shared$next;
int function$next(int);
int shared$i = $i;
static __thread int local = $i;
int function$i(int x)
{
    if (x > 1000000)
        printf("part $i %p\n", (void *)function$next);
    return x > 0 ? function$next(x - 1) + shared$next + local++ : $i;
}
int (*table${i}[])(int) = {function$i, function$next};
END
    i=$((i + 1))
done
echo 'int function0(int); int main(void) { return function0(130) & 0; }' >main.c
$CC -O1 -fPIC -ffunction-sections -g -c part*.c main.c
for threads in 1 2 3 8 64; do
    crateld link --threads $threads --name app -o app$threads.crate part*.o main.o
    cmp app1.crate app$threads.crate
done
crateld run app8.crate

# Many crates to link with, of which some are opened again.
for i in 0 1 2 3; do
    crateld link --name lib$i -o lib$i.crate -z undefs part$i.o part$((i + 20)).o
done
for threads in 1 8; do
    crateld link --threads $threads --name use -o use$threads.crate -z undefs main.o part5*.o lib?.crate
    cmp use1.crate use$threads.crate
done

# Faults are told in the order of the inputs.
for bad in 7 13 40; do
    head -c 200 "part$bad.o" >short
    mv short "part$bad.o"
done
status 1 crateld link --threads 1 -o bad.crate part*.o main.o
mv err one
status 1 crateld link --threads 8 -o bad.crate part*.o main.o
cmp one err
[ "$(grep -c 'part\(7\|13\|40\).o: ' err)" -ge 3 ] || fail "not every damaged object is named"

for wrong in 0 65 x 1x -1 ''; do
    status 2 crateld link --threads "$wrong" -o app.crate main.o
    has err 'wanted a number from 1 to 64'
done

#!/bin/sh
# Each allocation of a command fails in turn: it says that memory ran out and leaves nothing behind, or did not need it.
# memory.sh COMMAND
. "$(dirname "$0")/lib.sh"
lacks_sanitizers

source_file app.c <<'END'
#include <stdio.h>
#include <stdlib.h>
extern double cos(double);
int main(int argc, char **argv)
{
    (void)argv;
    printf("%d\n", (int)cos(argc - 1) + atoi("41"));
    return fflush(stdout) != 0;
}
END
$CC -O2 -c app.c
crateld link -o good.crate app.o -lm
sed 's/^int main/static int more = 1;\nint main/; s/"41")/"40") + more++/' app.c >new.c
$CC -O2 -c new.c
crateld diff -o good.patch good.crate app.o=new.o
crateld apply -o carrying.crate good.patch good.crate >out
cp good.crate stale.crate
echo 'int far(int x) { return x; }' | $CC -O2 -c -x c - -o far.o
echo 'extern int far(int); int (*pointer)(int) = far; int main(void) { return pointer(0); }' | $CC -O2 -fPIC -c -x c - -o gate.o
crateld link -o far.crate far.o
crateld link -o gate.crate gate.o far.crate
echo '__attribute__((constructor)) static void start(void) {} int far(int x) { return x; }' | $CC -O2 -c -x c - -o far2.o
crateld link -o far2.crate --name far far2.o
crateld bundle -o bundle.crate gate.crate far2.crate
$CC -O1 -g -fPIC -c app.c -o lines.o
crateld link -o lines.crate lines.o -lm
[ "$1" != changed ] || cp new.o app.o
mkdir work temp
export TMPDIR=$tmp/temp

# What stands for success: everything as without a fault.
case $1 in
link) set -- link crateld-tool link -o work/out.crate app.o -lm ;;
link-crate) set -- link-crate crateld-tool link -o work/out.crate gate.o far.crate ;;
graph) set -- graph crateld-tool inspect --svg gate.crate bundle.crate ;;
inspect) set -- inspect crateld-tool inspect good.crate ;;
strip) set -- strip crateld-tool strip -o work/out.crate good.crate ;;
run) set -- run crateld run good.crate ;;
diff) set -- diff crateld-tool diff -o work/out.patch good.crate app.o=new.o ;;
bundle) set -- bundle crateld-tool bundle -o work/out.crate gate.crate far.crate ;;
lines) set -- lines crateld-tool bundle -o work/out.crate lines.crate ;;
run-bundle) set -- run-bundle crateld run bundle.crate ;;
run-gate) set -- run-gate crateld run gate.crate ;;
apply) set -- apply crateld-tool apply -o work/out.crate good.patch carrying.crate ;;
changed) set -- changed crateld-tool diff --changed -o work/out.patch stale.crate ;;
run-carrying) set -- run-carrying crateld run carrying.crate ;;
run-patch) set -- run-patch crateld run --patch good.patch good.crate ;;
esac
command=$1
shift

n=$(($(seed) % $(every)))
count=0
while :; do
    rm -rf mark work/*
    rc=0
    timeout 60 env FAULT_MARK=mark FAULT_MEMORY_AT=$n "LD_PRELOAD=$FAULTS" "$@" >out 2>err || rc=$?
    [ -e mark ] || break
    [ -z "$(ls temp)" ] || fail "$command: allocation $n: left in TMPDIR: $(ls temp)"
    # What fails in the middle of the program ends it as what can not be bound does.
    [ $command.$rc != run-gate.127 ] || rc=1
    case $rc in
    0) ;;
    1)
        grep -qi -e 'out of memory' -e 'cannot allocate memory' err || fail "$command: allocation $n: no word of memory"
        [ -z "$(ls work)" ] || fail "$command: allocation $n: left behind: $(ls work)"
        ;;
    *) fail "$command: allocation $n: status $rc" ;;
    esac
    n=$((n + $(every)))
    count=$((count + 1))
done
[ $rc = 0 ] || fail "$command fails without a fault"
[ $count -gt 2 ] || fail "$command: $count allocations failed"
echo "$count of $n allocations failed in turn"

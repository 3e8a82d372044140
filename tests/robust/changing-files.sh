#!/bin/sh
# Inputs that somebody cuts short while they are in use, and outputs that replace files in use.
. "$(dirname "$0")/lib.sh"
lacks_sanitizers

cat >app.c <<'END'
#include <stdio.h>
char big[100000] = {1};
int main(void) { return puts("run") == EOF || !big[0]; }
END
$CC -O2 -c app.c
mkdir work
cp app.o short.o
status 1 env FAULT_MARK=mark FAULT_TRUNCATE=short.o "LD_PRELOAD=$FAULTS" crateld-tool link -o work/out.crate short.o
[ -e mark ] || fail "the input was not cut short"
has err 'short.o: cannot be read or written any more'
[ -z "$(ls work)" ] || fail "left behind: $(ls work)"

# Linking and stripping over a crate that runs leaves the running one alone.
cat >slow.c <<'END'
#include <stdio.h>
#include <string.h>
#include <unistd.h>
char big[100000] = {1};
int touch(int i) { return big[i]; }
int main(void)
{
    char line[16];
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    return touch(0) - 1 + touch(99999);
}
END
$CC -O2 -c slow.c
crateld link -o slow.crate slow.o
mkfifo go
crateld run slow.crate <go >out &
child=$!
exec 3>go
while ! grep -q ready out; do
    kill -0 $child
    sleep 0.05
done
crateld link -o slow.crate app.o
crateld strip slow.crate >/dev/null
echo >&3
wait $child || fail "the running crate ended with status $?"
crateld run slow.crate >out
has out run

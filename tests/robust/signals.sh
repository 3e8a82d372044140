#!/bin/sh
# A link that a signal ends at any time: no temporary file is left, and the old output stands until the new one is whole.
. "$(dirname "$0")/lib.sh"

# Enough code that the link takes a while.
{
    i=0
    while [ $i -lt 3000 ]; do
        echo "int f$i(int x) { return x + $i; }"
        i=$((i + 1))
    done
    echo 'int main(void) { return f7(0) - 7; }'
} >app.c
$CC -O0 -g -ffunction-sections -c app.c
mkdir work temp
export TMPDIR=$tmp/temp
crateld link -o work/out.crate app.o
good=$(cksum <work/out.crate)

# Milliseconds that a link takes, at the most 2000.
begin=$(date +%s%N)
crateld link -o work/out.crate app.o
length=$((($(date +%s%N) - begin) / 1000000 + 1))
[ $length -le 2000 ] || length=2000

cases=$((600 / $(every)))
number=$(seed)
n=0
ended=0
while [ $n -lt $cases ]; do
    for signal in INT TERM HUP KILL; do
        number=$(((number * 1103515245 + 12345) % 2147483648))
        delay=$((number / 7 % length))
        # Shells let their background commands ignore SIGINT.
        env --default-signal=INT crateld link -o work/out.crate app.o 2>err &
        child=$!
        sleep $((delay / 1000)).$(printf %03d $((delay % 1000)))
        kill -s $signal $child 2>/dev/null || true
        rc=0
        wait $child 2>/dev/null || rc=$?
        [ $rc = 0 ] || ended=$((ended + 1))
        [ $rc = 0 ] || [ $rc -gt 128 ] || fail "status $rc after SIG$signal"
        [ "$(ls work)" = out.crate ] || [ $signal = KILL ] || fail "left after SIG$signal: $(ls work)"
        [ -z "$(ls temp)" ] || fail "left in TMPDIR after SIG$signal: $(ls temp)"
        [ "$(cksum <work/out.crate)" = "$good" ] || fail "another output after SIG$signal"
        rm -f work/out.crate.*
        n=$((n + 1))
    done
done
[ $ended -gt 0 ] || fail "all of $n links were done before their signal"
echo "$ended of $n links ended by signals"

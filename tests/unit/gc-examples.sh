#!/bin/bash
# The examples of collected memory do what they say, on every plan, stressed too.  gc-examples.sh EXAMPLES TREES LISP
set -eu
examples=$1 trees=$2 lisp=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
text=$examples/dozen/text.txt
tr -cs '[:alpha:]' '\n' <"$text" | tr '[:upper:]' '[:lower:]' | grep . | LC_ALL=C sort | uniq -c |
    awk '{printf "%6d %s\n", $1, $2}' >"$work/words"
for options in nogc semispace immix; do
    for more in '' ,multiplier=2 ,stress=1,sanity,poison ,stress=13,sanity,poison; do
        export CRATELD_GC=$options,heap=8M$more
        "$lisp" "$examples/gc/test.lisp" | diff - "$examples/gc/test.out" || { echo "lisp: CRATELD_GC=$CRATELD_GC"; exit 1; }
        # What is in plain locals is found on the stack: not by plans that move.
        [ $options != semispace ] || continue
        "$trees" "$text" | diff - "$work/words" || { echo "trees: CRATELD_GC=$CRATELD_GC"; exit 1; }
    done
done
status=0
CRATELD_GC=semispace "$trees" "$text" >"$work/out" 2>&1 || status=$?
[ $status = 1 ] && grep -q 'plan semispace moves objects' "$work/out"
CRATELD_GC=imix "$lisp" "$text" >"$work/out" 2>&1 && exit 1
grep -q "'imix' is not understood" "$work/out"

#!/bin/bash
# Random programs (csmith) of TOC code, linked as ordinary ELF, print the checksums that the compiler's own do.
. "$(dirname "$0")/lib.sh"
need gcc csmith timeout
include=$(echo /usr/include/csmith*)
count=5
[ -z "${CRATELD_TEST_LONG:-}" ] || count=100
options=(-O0 -O1 -O2 -O3 '-Os -fno-plt' '-O2 -flto' '-O3 -g -fcf-protection')
done=0
for ((seed = 1; done < count && seed < 10 * count; seed++)); do
    csmith --seed $seed --max-funcs 6 --builtins --packed-struct --bitfields >random.c
    option=${options[seed % ${#options[@]}]}
    gcc -w $option -I "$include" random.c -o native
    timeout 5 ./native >wanted || continue # does not end
    crateld cc -w $option -I "$include" random.c -o program
    status 0 timeout 60 ./program
    cmp out wanted || fail "seed $seed with $option"
    done=$((done + 1))
done
[ $done = $count ] || fail "only $done programs"

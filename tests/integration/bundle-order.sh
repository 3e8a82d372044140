#!/bin/bash
# What starts together lies together: functions of a trace, in its order; and a start touches no page that it does not use.
. "$(dirname "$0")/lib.sh"
need_libc_first
need nm
python3 - <<'P'
libraries, functions = 40, 60
for i in range(libraries):
    called = [f"l{(i + 1 + k % 5) % libraries}_f{k}" for k in range(functions)]
    with open(f"l{i}.c", "w") as out:
        for name in called:
            out.write(f"int {name}(int);\n")
        for k, name in enumerate(called):
            out.write(f"int l{i}_f{k}(int d) {{ return d <= 0 ? {k} : {name}(d - 1) + {i}; }}\n")
        out.write(f"int (*t{i}[])(int) = {{{', '.join(called)}}};\nstatic int cells{i}[2000] = {{1}};\n")
        out.write(f"int *p{i}[] = {{{', '.join(f'cells{i} + {k}' for k in range(functions))}}};\n")
with open("main.c", "w") as out:
    out.write('#include <stdio.h>\n#include <unistd.h>\nint l7_f50(int), l30_f3(int), l1_f1(int);\n')
    out.write("int main(int c, char **v) { (void)v; printf(\"%d\\n\", c > 1 ? l7_f50(0) + l30_f3(0) : l1_f1(0));\n"
              "fflush(stdout); if (c > 2) pause(); return 0; }\n")
P
printf '%s\n' ./*.c | xargs -P2 -I{} $CC -O1 -fPIC -ffunction-sections -fdata-sections -c {}
for i in $(seq 0 39); do
    declared=$(for k in $(seq 0 59); do n=$(((i + 1 + k % 5) % 40)); echo "--declare l$n.crate:l${n}_f$k"; done)
    # shellcheck disable=SC2086 # words
    crateld link -o "l$i.crate" "l$i.o" $declared
done
crateld link -o main.crate main.o ./l*.crate

# A trace says what was called, from files and from a bundle alike.
mkdir one
status 0 crateld bundle -o one/app.crate main.crate ./*.crate
status 0 crateld run --trace files.trace main.crate x
mv out wanted
status 0 crateld run --trace one.trace one/app.crate x
cmp wanted out || fail "results differ"
cmp files.trace one.trace || fail "traces differ"
printf 'main\tmain.o\tmain\nl7\tl7.o\tl7_f50\nl30\tl30.o\tl30_f3\n' >wanted
diff wanted files.trace >&2 || fail "the trace"

# In the bundle they lie in that order, before all others.
status 0 crateld bundle --order files.trace -o one/app.crate main.crate ./*.crate
nm -n one/app.crate | awk '$2 ~ /[tT]/ && $3 !~ /@|^_/ { print $3 }' | head -3 >order
printf 'main\nl7_f50\nl30_f3\n' | diff - order >&2 || fail "functions are not in the order of the trace"
status 0 crateld run one/app.crate x

# The exit status is the program's; what can not be traced is said.
echo 'int main(void) { return 5; }' >five.c
echo 'int main(void) { __builtin_trap(); }' >trap.c
$CC -fPIC -c five.c trap.c
crateld link -o five.crate five.o
crateld link -o trap.crate trap.o
status 5 crateld run --trace t five.crate
status 132 sh -c 'crateld run --trace t trap.crate; exit $?'
crateld strip five.crate >/dev/null
rm -f t
status 5 crateld run --trace t five.crate
[ ! -e t ] || fail "a trace of nothing"
status 2 crateld run --trace t --watch five.crate
status 127 crateld run --trace t nothing.crate

# An order of another build is told, and does no harm; one that is none is refused.
printf 'main\tmain.o\tmain\nl7\tl7.o\tgone\n' >old.trace
status 0 crateld bundle --order old.trace -o one/old.crate main.crate ./l*.crate
has err '1 of its 2 functions are not in the bundle'
status 0 crateld run one/old.crate
printf 'main main.o\n' >bad.trace
status 1 crateld bundle --order bad.trace -o x.crate main.crate
has err 'bad.trace:1: wanted a crate, a module and a function'

# Private pages: of the bundle's data, which holds pointers to functions of all crates, those alone are copied that are written;
# of the text none. So each of many processes has little of its own.
status 0 crateld bundle --order files.trace -o one/app.crate main.crate ./l*.crate
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    crateld run one/app.crate a b >/dev/null &
    pids="${pids:-} $!"
done
sleep 0.5
for pid in $pids; do
    awk '/one\/app.crate/ { mine = 1; next } /^[0-9a-f]+-/ { mine = 0 }
        mine && /^Private_Dirty:/ { dirty += $2 } mine && /^Size:/ { size += $2 } END { print dirty, size }' \
        "/proc/$pid/smaps"
done >memory
# shellcheck disable=SC2086 # words
kill $pids
wait
sort -n memory | sed -n 10p >most # one that is looked at while it starts does not count
read -r dirty size <most
[ "$size" -ge 300 ] || fail "the bundle is not what was meant: $size KB"
[ "$dirty" -le 12 ] || fail "a process has $dirty KB of the bundle's $size KB for itself"

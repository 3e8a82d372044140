#!/bin/bash
# Many crates, crates that need each other, crates far from each other, files replaced while they run, threads that bind the
# same import at once.
. "$(dirname "$0")/lib.sh"
need python3
N=200
python3 - $N <<'P'
import sys
n = int(sys.argv[1])
for i in range(n):
    with open(f"l{i}.c", "w") as f:
        nxt, back = (i + 1) % n, (i * 7) % n
        f.write(f"int l{nxt}_f(int); int l{back}_g(int);\n")
        f.write(f"int l{i}_value = {i};\nextern int l{nxt}_value;\nint *l{i}_table[] = {{&l{i}_value, &l{nxt}_value}};\n")
        f.write(f"int l{i}_f(int d) {{ return d ? l{nxt}_f(d - 1) + *l{i}_table[1] : l{back}_g(1); }}\n")
        f.write(f"int l{i}_g(int x) {{ return x + *l{i}_table[0]; }}\n")
open("m.c", "w").write('''#include <stdio.h>
#include <stdlib.h>
int l0_f(int);
int main(int argc, char **argv) { printf("%d\\n", l0_f(argc > 1 ? atoi(argv[1]) : 5)); return 0; }
''')
P
seq 0 $((N - 1)) | xargs -P2 -I{} $CC -O1 -fPIC -c l{}.c
$CC -O1 -fPIC -c m.c
$CC -o native m.o l*.o
# In a ring each one is needed before it can be there: declared.
for ((i = N - 1; i >= 0; i--)); do
    n=$(((i + 1) % N)) b=$((i * 7 % N))
    declare=
    [ $i = $((N - 1)) ] && declare="--declare l$n.crate:l${n}_f --declare l$n.crate:l${n}_value"
    [ $b -gt $i ] && declare="$declare l$b.crate" || [ $b = $i ] || declare="$declare --declare l$b.crate:l${b}_g"
    [ $i = $((N - 1)) ] || [ $n = $b ] || declare="$declare l$n.crate"
    [ $n != $b ] || declare="l$n.crate"
    crateld link -o l$i.crate l$i.o $declare || fail "link l$i"
done
crateld link -o m.crate m.o l0.crate
for mode in "" --aslr --bind-now; do
    for depth in 0 3 500; do
        status 0 crateld run $mode m.crate $depth
        [ "$(cat out)" = "$(./native $depth)" ] || fail "$mode $depth: $(cat out) wanted $(./native $depth)"
    done
done

# A file that is replaced while it runs.
echo 'int one(void) { return 1; } int two(void) { return 2; }' >r.c
source_file m.c <<'C'
#include <stdio.h>
#include <unistd.h>
int one(void), two(void);
int main(void) { char c; printf("%d\n", one()); fflush(stdout); if (read(0, &c, 1) != 1) return 1; printf("%d\n", two()); return 0; }
C
$CC -fPIC -c r.c m.c
crateld link -o r.crate r.o
crateld link -o m.crate m.o r.crate
mkfifo go
crateld run m.crate <go >out &
pid=$!
exec 9>go
while ! grep -q 1 out; do sleep 0.05; done
echo 'int one(void) { return 10; } int two(void) { return 20; } int more[100000] = {1};' >r.c
$CC -fPIC -c r.c
crateld link -o r.crate r.o
crateld link -o m2.crate --name m m.o r.crate
mv m2.crate m.crate
echo >&9
wait $pid || fail "the replaced crate's process: $?"
exec 9>&-
[ "$(cat out)" = "$(printf '1\n2')" ] || fail "the old file was not kept"
echo | crateld run m.crate >out
[ "$(cat out)" = "$(printf '10\n20')" ] || fail "the new file was not used"

# Threads that bind the same imports at once, some in a crate that is not active yet.
python3 - <<'P'
n = 300
open("t.c", "w").write("".join(f"long t{i}(long a, double b, long c) {{ return a + (long)b + c + {i}; }}\n" for i in range(n)))
calls = "".join(f"    sum += t{i}(x, 2.5, {i});\n" for i in range(n))
decls = "".join(f"long t{i}(long, double, long);\n" for i in range(n))
open("m.c", "w").write(f'''#include <pthread.h>
#include <stdio.h>
{decls}
static pthread_barrier_t barrier;
static void *run(void *p) {{ long x = (long)p, sum = 0; pthread_barrier_wait(&barrier);
{calls}    return (void *)(sum - {n} * x); }}
int main(void) {{ pthread_t threads[8]; pthread_barrier_init(&barrier, 0, 8);
    for (long i = 0; i < 8; i++) pthread_create(&threads[i], 0, run, (void *)i);
    long first = 0; int good = 1;
    for (int i = 0; i < 8; i++) {{ void *r; pthread_join(threads[i], &r); if (!i) first = (long)r; good &= first == (long)r; }}
    printf("%d %ld\\n", good, first); return 0; }}
''')
P
$CC -O1 -fPIC -c m.c t.c
crateld link -o t.crate t.o
crateld link -o m.crate m.o t.crate
for i in 1 2 3 4 5 6 7 8 9 10; do
    status 0 crateld run m.crate
    [ "$(cat out)" = "1 90300" ] || fail "race: $(cat out)"
done

#!/bin/bash
# Reloading whatever a program does meanwhile: threads in the changed functions and in system calls, several crates, C++, fork, signals,
# several clients, and a watcher.
. "$(dirname "$0")/lib.sh"
need_libc_first # a sanitizer's pthread_create() lets libc take our signal
trap 'kill -9 $pid 2>/dev/null || :; rm -rf "$tmp"' EXIT
pid=
flags="-O2 -g -fPIC -ffunction-sections -fdata-sections"

# compile FILE.c...
compile() {
    for file; do
        # shellcheck disable=SC2086
        case $file in
        *.cc) $CXX -std=c++17 $flags -c "$file" ;;
        *) $CC $flags -c "$file" ;;
        esac
    done
}
# wait_for FILE TEXT: until the file's last line is that.
wait_for() {
    for _ in $(seq 600); do
        [ "$(tail -1 "$1")" = "$2" ] && return
        kill -0 $pid 2>/dev/null || fail "the program died: $(tail -3 log)"
        sleep 0.01
    done
    fail "the last line of $1 is '$(tail -1 "$1")', wanted '$2'"
}
start() {
    : >output
    crateld run "$@" >output 2>log <&8 &
    pid=$!
}
finish() {
    kill -9 $pid
    wait $pid 2>/dev/null || :
    pid=
    [ ! -s log ] || fail "the program wrote errors: $(cat log)"
}
exec 8</dev/null

# Threads that are blocked, with all signals masked, notice nothing: no EINTR, and their time-outs and data come.
cat >blocked.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
int version(void);
static int pipes[4][2], faults;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int is_over;
static void fault(const char *what) { fprintf(stderr, "%s: %d\n", what, errno); __atomic_add_fetch(&faults, 1, __ATOMIC_SEQ_CST); }
static void *in_read(void *p) { char c; if (read(pipes[0][0], &c, 1) != 1) fault("read"); return p; }
static void *in_poll(void *p) { struct pollfd f = {pipes[1][0], POLLIN, 0}; if (poll(&f, 1, -1) != 1) fault("poll"); return p; }
static void *in_epoll(void *p) { struct epoll_event e = {EPOLLIN, {0}}; int fd = epoll_create1(0); epoll_ctl(fd, EPOLL_CTL_ADD, pipes[2][0], &e); if (epoll_wait(fd, &e, 1, -1) != 1) fault("epoll_wait"); return p; }
static void *in_sleep(void *p) { struct timespec t = {1, 500000000}; if (nanosleep(&t, 0)) fault("nanosleep"); return p; }
static void *in_futex(void *p) { pthread_mutex_lock(&lock); while (!is_over) if (pthread_cond_wait(&condition, &lock)) fault("pthread_cond_wait"); pthread_mutex_unlock(&lock); return p; }
static void *in_select(void *p) { fd_set set; FD_ZERO(&set); FD_SET(pipes[3][0], &set); if (select(pipes[3][0] + 1, &set, 0, 0, 0) != 1) fault("select"); return p; }
int main(void)
{
    void *(*all[])(void *) = {in_read, in_poll, in_epoll, in_sleep, in_futex, in_select};
    pthread_t threads[6];
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_SETMASK, &set, 0);
    for (int i = 0; i < 4; i++) if (pipe(pipes[i])) return 1;
    for (int i = 0; i < 6; i++) pthread_create(&threads[i], 0, all[i], 0);
    puts("ready"); fflush(stdout);
    for (int last = 0; last < 9;) { int now = version(); if (now != last) { printf("%d\n", now); fflush(stdout); } last = now; usleep(1000); }
    for (int i = 0; i < 4; i++) if (write(pipes[i][1], "x", 1) != 1) return 2;
    pthread_mutex_lock(&lock); is_over = 1; pthread_cond_broadcast(&condition); pthread_mutex_unlock(&lock);
    for (int i = 0; i < 6; i++) pthread_join(threads[i], 0);
    printf("end %d\n", faults); fflush(stdout);
    pause();
}
C
echo 'int table[SIZE] = {1}; int version(void) { table[3]++; return VERSION; }' >module.c
# shellcheck disable=SC2086
for i in 1 2 3 4 5 6 7 8 9; do $CC $flags -DVERSION=$i -DSIZE=$((16 * i)) -c module.c -o module.$i.o; done
compile blocked.c
cp module.1.o module.o
crateld link -o blocked.crate blocked.o module.o -lpthread
start blocked.crate
wait_for output 1
for i in 2 3 4 5 6 7 8 9; do # each holds all threads, for a variable grows
    cp module.$i.o module.o
    status 0 crateld reload $pid module.o
    has out "1 grown"
    [ $i = 9 ] || wait_for output $i
done
wait_for output "end 0"
finish

# Three crates in a chain: what is replaced in the last one is called by both others; what was never called stays unbound.
echo 'int provide(int x) { return x + 1; } int other(int x) { return x; }' >last.c
echo 'int provide(int); int middle(int x) { return provide(x) * 10; }' >middle.c
echo '#include <stdio.h>
#include <unistd.h>
int provide(int), middle(int), other(int); int main(int argc, char **argv) { for (int last = -1;;) { int now = provide(1) * 1000 + middle(1); if (now != last) { printf("%d\n", last = now); fflush(stdout); } usleep(1000); if (argc > 5) return other(1); } }' >first.c
compile last.c middle.c first.c
crateld link -o last.crate last.o
crateld link -o middle.crate middle.o last.crate
crateld link -o first.crate first.o middle.crate last.crate
start first.crate
wait_for output 2020
sed -i 's/x + 1/x + 2/' last.c && compile last.c
status 0 crateld check $pid last.o
has out "would be reloaded: 1 modules"
sleep 0.05
wait_for output 2020
status 0 crateld reload $pid last.o
has out "2 users"
wait_for output 3030
# Two crates at once, with another signature.
echo 'int provide(int x, int y) { return x + y; } int other(int x) { return x; }' >last.c
echo 'int provide(int, int); int middle(int x) { return provide(x, 5) * 10; }' >middle.c
sed -i 's/int provide(int), /int provide(int, int), /; s/provide(1)/provide(1, 6)/' first.c
compile last.c middle.c
# shellcheck disable=SC2086
$CC $flags -c first.c
status 0 crateld reload $pid last.o middle.o
has out "reloaded: 2 modules"
status 1 crateld reload $pid nobody.o
has err "nobody.o: no crate of process"
finish
status 1 crateld reload 999999999 last.o
has err "there is no process 999999999"
status 1 crateld reload $$ last.o
has err "does not run crates"
status 2 crateld reload no last.o

# C++: virtual functions, exceptions from old code through new and the other way, inline functions, static locals.
cat >shape.h <<'C'
#include <stdexcept>
#include <string>
struct Shape { virtual ~Shape() {} virtual int area() const = 0; int id = 1; };
Shape *make(int x);
int total(const Shape &shape, int (*inner)(const Shape &));
inline int twice(int x) { static int calls; return 2 * x + 0 * ++calls; }
C
cat >module.cc <<'C'
#include "shape.h"
struct Square : Shape { int s; Square(int x) : s(x) {} int area() const override { if (s > 100) throw std::runtime_error("large"); return s * s; } };
Shape *make(int x) { return new Square(twice(x)); }
int total(const Shape &shape, int (*inner)(const Shape &)) { static int calls; try { return inner(shape) + shape.area() + ++calls; } catch (const std::exception &e) { return -(int)std::string(e.what()).size(); } }
C
cat >main.cc <<'C'
#include <cstdio>
#include <unistd.h>
#include "shape.h"
static int inner(const Shape &shape) { if (shape.id > 5) throw std::logic_error("id"); return 0; }
int main()
{
    Shape *small = make(3), *large = make(60);
    for (int last = 0;;) {
        large->id = 7;
        int now = total(*small, inner) % 1 + small->area() * 10000 - total(*large, inner) * 100 + twice(2);
        large->id = 1;
        now -= total(*large, inner);
        if (now != last)
            printf("%d\n", last = now), fflush(stdout);
        usleep(1000);
    }
}
C
compile module.cc main.cc
crateld link -o shapes.crate module.o main.o -lstdc++
start shapes.crate
wait_for output 360209
sed -i 's/s \* s/s * s + 1/; s/"large"/"too large"/' module.cc && compile module.cc
status 0 crateld reload $pid module.o
wait_for output 370213
sed -i 's/catch (const std::exception \&e)/catch (const std::runtime_error \&e)/; s/"too large"/"much too large"/' module.cc
sed -i 's/{ return -(int)std::string(e.what()).size(); }/{ return -(int)std::string(e.what()).size(); } catch (const std::logic_error \&e) { return -9; }/' module.cc && compile module.cc
status 0 crateld reload $pid module.o
wait_for output 370918
finish

# A child of fork has its own versions; a stopped process takes them when it goes on; clients come one after the other.
echo '#include <stdio.h>
#include <unistd.h>
int version(void); int main(void) { int is_child = !fork(); for (int last = 0;;) { int now = version(); if (now != last) { printf("%d %d\n", getpid(), now); fflush(stdout); last = now; } usleep(2000); if (is_child && getppid() == 1) return 0; } }' >forks.c
compile forks.c
cp module.1.o module.o
crateld link -o forks.crate forks.o module.o
start forks.crate
for _ in $(seq 300); do [ "$(wc -l <output)" = 2 ] && break; sleep 0.01; done
child=$(cut -d' ' -f1 output | grep -v "^$pid$")
[ -n "$child" ] || fail "there is no child"
kill -STOP "$child"
cp module.2.o module.o
crateld reload "$child" module.o >child.out 2>&1 &
reloading=$!
status 0 crateld reload $pid module.o
for _ in $(seq 300); do grep -qx "$pid 2" output && break; sleep 0.01; done
grep -qx "$pid 2" output || fail "the parent has not taken it"
cp module.3.o module.o
kill -CONT "$child"
wait $reloading || fail "the reload of a stopped process: $(cat child.out)"
for _ in $(seq 300); do grep -q "^$child [23]" output && break; sleep 0.01; done
grep -q "^$child [23]" output || fail "the child has not taken it"
crateld ps >processes
has processes " $pid  "
kill -9 "$child"
for i in 4 5 6 7; do
    mkdir -p c$i && cp module.$i.o c$i/module.o
    crateld reload $pid c$i/module.o >client.$i 2>&1 &
    clients="${clients-} $!"
done
for client in $clients; do wait "$client" || fail "one of several clients: $(cat client.*)"; done
cp module.8.o module.o
status 0 crateld reload $pid module.o
wait_for output "$pid 8"
finish

# What comes over the socket is not trusted; another version of the protocol gets a clear answer.
start forks.crate
for _ in $(seq 300); do [ "$(wc -l <output)" = 2 ] && break; sleep 0.01; done
cp module.1.o module.o
status 0 crateld reload $pid module.o
cat >hostile.py <<'C'
import glob, os, random, socket, struct, sys
pid, crate = sys.argv[1:]
folder = os.environ.get("XDG_RUNTIME_DIR", "")
path = next(p for p in glob.glob(f"{folder}/crateld/{pid}") + glob.glob(f"/dev/shm/crateld-{os.getuid()}/{pid}") + glob.glob(f"/tmp/crateld-{os.getuid()}/{pid}"))
assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(os.path.dirname(path)).st_mode & 0o066 == 0
def ask(packet):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(10)
        s.connect(path)
        if packet is None:
            return b""
        s.send(packet)
        return s.recv(1 << 16)
def header(kind, magic=0x6C727463, version=4):
    return struct.pack("<IHH", magic, version, kind)
for packet, text in [(b"", None), (b"abc", b"a request of 3 bytes"), (header(0, magic=1), b"what came is no request"), (header(0, version=99), b"speaks version 4 of the control protocol, and was asked in version 99"),
                     (header(77), b"a request of unknown kind 77"), (header(1), b"without the paths"), (header(1) + b"/x", b"without the paths"), (header(1) + b"x\0", b"is to be absolute"),
                     (header(1) + b"/no/such\0", b"/no/such: no such file"), (header(1) + b"/no/such\0" * 9000, b"a request of 81008 bytes; wanted 8 to 65536"), (header(1) + crate.encode() + b"\0", b"is no patch"), (header(1) + b"/dev/null\0", b"/dev/null"), (header(3), None), (None, None)]:
    answer = ask(packet)
    assert text is None or text in answer, (packet, answer)
random.seed(int(pid))
for i in range(500):
    ask(header(random.choice([0, 1, 2, 5, 9])) + random.randbytes(random.randrange(64)) if i % 2 else random.randbytes(random.randrange(1, 64)))
C
python3 hostile.py $pid "$PWD/forks.crate" || fail "hostile requests"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 .
    ! setpriv --reuid 65534 --clear-groups crateld reload $pid module.o >out 2>err || fail "another user reloads"
fi
cp module.5.o module.o
status 0 crateld reload $pid module.o
for _ in $(seq 300); do grep -qx "$pid 5" output && break; sleep 0.01; done
grep -qx "$pid 5" output || fail "no reload after hostile requests"
kill -9 $pid
wait $pid 2>/dev/null || :

# A program is watched: what its build puts there is taken, the last of many versions at the end; a bad one waits for a better.
cp module.1.o module.o
crateld link -o watched.crate forks.o module.o
start --watch watched.crate
for _ in $(seq 300); do grep -qx "$pid 1" output && break; sleep 0.01; done
sleep 1
echo 'int nowhere(void); int version(void) { return nowhere(); }' >bad.c && compile bad.c
mv bad.o module.o
for _ in $(seq 300); do grep -q nowhere log && break; sleep 0.01; done
has log "undefined symbol 'nowhere'"
for n in $(seq 30); do cp module.$((n % 9 + 1)).o next.o && mv next.o module.o; done
cp module.7.o next.o && mv next.o module.o
for _ in $(seq 500); do [ "$(grep "^$pid " output | tail -1)" = "$pid 7" ] && break; sleep 0.01; done
[ "$(grep "^$pid " output | tail -1)" = "$pid 7" ] || fail "the last version does not run: $(tail -3 output log)"
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# An archive that is built anew, by changing members of it or as a whole: those of its members are taken that are others.
cp module.1.o module.o
echo 'int unrelated(void) { return 1; }' >unrelated.c && compile unrelated.c
ar rcs libmodule.a module.o unrelated.o
crateld link -u unrelated -o archived.crate forks.o libmodule.a
start --watch archived.crate
for _ in $(seq 300); do grep -qx "$pid 1" output && break; sleep 0.01; done
sleep 1
cp module.2.o module.o && ar rcs libmodule.a module.o
for _ in $(seq 500); do [ "$(grep "^$pid " output | tail -1)" = "$pid 2" ] && break; sleep 0.01; done
[ "$(grep "^$pid " output | tail -1)" = "$pid 2" ] || fail "a member that was replaced does not run: $(tail -3 output log)"
cp module.3.o module.o && rm libmodule.a && ar rcs libmodule.a unrelated.o module.o
for _ in $(seq 500); do [ "$(grep "^$pid " output | tail -1)" = "$pid 3" ] && break; sleep 0.01; done
[ "$(grep "^$pid " output | tail -1)" = "$pid 3" ] || fail "a member of a new archive does not run: $(tail -3 output log)"
lacks log "2 modules"
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# Thread-locals that must lie in the static pool have their initial values in every thread of a watched program, and in ours.
cat >locals.c <<'C'
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
int version(void);
static __thread int value = 42;
static void show(const char *where)
{
    printf("%s %d\n", where, value++);
    fflush(stdout);
}
static void *run(void *unused) { show("thread"); return unused; }
void crate_reloaded(void) { show("reloaded"); }
int main(void)
{
    pthread_t thread;
    show("main");
    pthread_create(&thread, NULL, run, NULL);
    pthread_join(thread, NULL);
    while (version() != 2)
        usleep(1000);
    show("main");
    pause();
    return 0;
}
C
cp module.1.o module.o
$CC -O2 -g -fPIE -ffunction-sections -fdata-sections -c locals.c
crateld link -o locals.crate locals.o module.o
start --watch locals.crate
wait_for output "thread 42"
sleep 1
cp module.2.o next.o && mv next.o module.o
for _ in $(seq 500); do [ "$(wc -l <output)" = 4 ] && break; sleep 0.01; done
[ "$(sort output | xargs)" = "main 42 main 43 reloaded 42 thread 42" ] || fail "a watched program's thread-locals: $(cat output log)"
kill -9 $pid
wait $pid 2>/dev/null || :
pid=

# Servers that root starts become other users: they are reloaded all the same, by a watcher that was there before and by a client
# that comes later.
if [ "$(id -u)" = 0 ]; then
    cat >drops.c <<'C'
#include <stdio.h>
#include <unistd.h>
int version(void);
int main(void)
{
    if (setgid(65534) || setuid(65534)) return 1;
    for (int last = 0;; usleep(1000)) {
        int now = version();
        if (now != last) { printf("%d %d\n", (int)geteuid(), now); fflush(stdout); }
        last = now;
    }
}
C
    compile drops.c
    cp module.1.o module.o
    crateld link -o drops.crate drops.o module.o
    chmod 755 .
    mkdir -m 1777 watched asked
    export XDG_RUNTIME_DIR=$PWD/watched
    start --watch drops.crate
    wait_for output "65534 1"
    sleep 1
    for n in 2 3; do
        cp module.$n.o next.o && mv next.o module.o
        wait_for output "65534 $n"
    done
    kill -9 $pid
    wait $pid 2>/dev/null || :
    cp module.1.o module.o
    export XDG_RUNTIME_DIR=$PWD/asked
    start drops.crate
    wait_for output "65534 1"
    for n in 2 3; do
        cp module.$n.o module.o
        status 0 crateld reload $pid module.o
        wait_for output "65534 $n"
    done
    kill -9 $pid
    wait $pid 2>/dev/null || :
    pid=
fi

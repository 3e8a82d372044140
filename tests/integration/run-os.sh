#!/bin/bash
# Threads, cancellation, fork, exec, setjmp, /proc/self/exe, backtrace: as for an ordinary program.
. "$(dirname "$0")/lib.sh"
source_file lib.c <<'C'
#include <setjmp.h>
#include <pthread.h>
#include <unistd.h>
int counted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void cleanup(void *p) { (void)p; pthread_mutex_lock(&lock); counted++; pthread_mutex_unlock(&lock); }
void wait_forever(void) { pthread_cleanup_push(cleanup, 0); for (;;) pause(); pthread_cleanup_pop(0); }
void jump(jmp_buf *to, int value) { longjmp(*to, value); }
int call_back(int (*f)(int), int x) { return f(x) + 1; }
C
source_file m.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern int counted;
extern char **environ;
void wait_forever(void), jump(jmp_buf *, int);
int call_back(int (*)(int), int);
static void *cancelled(void *p) { wait_forever(); return p; }
static int trace(int x) { void *frames[64]; int n = backtrace(frames, 64); char **s = backtrace_symbols(frames, n); int found = 0;
  for (int i = 0; i < n; i++) found |= strstr(s[i], "lib.crate(call_back+") ? 1 : strstr(s[i], "m.crate(main+") ? 2 : 0; free(s); return found * 10 + x; }
static int replace(void *args) { execv(*(char **)args, args); return 1; }
static void *small_stack(void *p) { volatile char used[8000]; for (int i = 0; i < 8000; i++) used[i] = 1; return used[9] ? p : 0; }
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static void on_exit_(int status, void *arg) { printf("on_exit %d %s\n", status, (char *)arg); fflush(stdout); }
static int run(pid_t pid) { int status = -1; while (waitpid(pid, &status, 0) < 0 && errno == EINTR) ; return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status); }
static volatile int alarms;
static void on_alarm(int s) { (void)s; alarms += abs(-1); }
int main(int argc, char **argv)
{
    char path[PATH_MAX], real[PATH_MAX];
    jmp_buf here;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1) { printf("again %s %s\n", argv[0], argv[1]); return 9; }
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, cancelled, NULL);
    usleep(50000);
    for (int i = 0; i < 8; i++) pthread_cancel(threads[i]);
    for (int i = 0; i < 8; i++) { void *r; pthread_join(threads[i], &r); if (r != PTHREAD_CANCELED) puts("not cancelled"); }
    printf("cancelled %d\n", counted);
    volatile int n = 0;
    int v = setjmp(here);
    if (v < 3) { n++; jump(&here, v + 1); }
    printf("longjmp %d %d\n", v, n);
    printf("backtrace %d\n", call_back(trace, 0));
    int a[] = {3, 1, 2};
    qsort(a, 3, sizeof *a, compare);
    printf("qsort %d%d%d\n", a[0], a[1], a[2]);
    pid_t pid = fork();
    if (!pid) { printf("child %d\n", call_back(abs, -4)); _exit(5); }
    printf("fork %d\n", run(pid));
    ssize_t size = readlink("/proc/self/exe", path, sizeof path);
    path[size] = 0;
    printf("exe %d %s %d\n", size == (ssize_t)strlen(path), strrchr(path, '/'), realpath("/proc/self/exe", real) && !strcmp(path, real));
    if (!(pid = fork())) { execl("/proc/self/exe", "me", "execl", (char *)NULL); _exit(1); }
    printf("execl %d\n", run(pid));
    if (!(pid = vfork())) { execl(argv[0], "me2", "argv0", (char *)NULL); _exit(1); }
    printf("execl %d\n", run(pid));
    char *args[] = {"spawned", "spawn", NULL};
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, environ)) puts("no spawn");
    printf("spawn %d\n", run(pid));
    if (!(pid = fork())) { if (!chdir("/")) execv(path, args); _exit(1); }
    printf("execv %d\n", run(pid));
    static char stack[8192];
    args[0] = argv[0];
    pid = clone(replace, stack + sizeof stack, SIGCHLD, args);
    printf("clone %d\n", run(pid));
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN);
    int made = pthread_create(&threads[0], &small, small_stack, NULL);
    if (!made) made = pthread_join(threads[0], NULL);
    printf("small %d\n", made);
    printf("system %d\n", WEXITSTATUS(system("exit 3")));
    if (!(pid = fork())) { execlp("true", "true", (char *)NULL); _exit(1); }
    printf("execlp %d\n", run(pid));
    signal(SIGALRM, on_alarm);
    ualarm(1000, 1000);
    for (int i = 0; alarms < 3 && i < 100; i++) usleep(10000);
    ualarm(0, 0);
    printf("alarms %d\n", alarms >= 3);
    if (!(pid = fork())) { *(volatile int *)8 = 1; _exit(0); }
    printf("fault %d\n", run(pid));
    printf("free fd %d\n", open("/dev/null", O_RDONLY));
    on_exit(on_exit_, "x");
    exit(6);
}
C
$CC -O1 -g -fPIC -fexceptions -c m.c lib.c
crateld link -o lib.crate lib.o
crateld link -o m.crate m.o lib.crate
cat >want <<'T'
cancelled 8
longjmp 3 3
backtrace 31
qsort 123
child 5
fork 5
exe 1 /m.crate 1
again me execl
execl 9
again me2 argv0
execl 9
again spawned spawn
spawn 9
again spawned spawn
execv 9
again m.crate spawn
clone 9
small 0
system 3
execlp 0
alarms 1
fault 1011
free fd 3
on_exit 6 x
T
# The sanitizer's pthread_create() stands before ours, and leaves a small stack small.
! has_sanitizer || sed -i 's/^small 0/small 22/' want
for mode in "" --aslr --bind-now; do
    status 6 crateld run $mode m.crate
    diff out want || fail "output differs $mode"
done

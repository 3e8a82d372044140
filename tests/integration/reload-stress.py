#!/usr/bin/env python3
"""Reload after reload, of functions in which eight threads are, while eight others are blocked with all signals masked.

Every version says other things, and every other one has other sizes; most were never there before, and each fifth reload
is of one that was. Nothing may crash, no call may return EINTR, each thread's results must be right, and memory and mappings
stay what they are: superseded versions are unmapped, and others take their places; one that comes back is where it was. Usage: reload-stress.py [COUNT]: that many reloads; without, 400, or
10,000 with CRATELD_TEST_LONG=1."""
import os
import re
import struct
import subprocess
import sys
import tempfile

COUNT = 10000 if os.environ.get('CRATELD_TEST_LONG') else 400
PART = 200         # reloads at the beginning and at the end, of which the figures are compared
GROWN_AT = 30      # the version from which on a variable is larger
GROWTH_MAX = 1024  # KiB of memory
MORE_MAX = 64      # mappings
MARK = 0x1122334455667788

MODULE = r'''
long table[SIZE] = {1};
static long calls;
static long leaf(long x) { return x + 1; }
static __attribute__((noinline)) long middle(long x) { return leaf(x) + leaf(x + 1); }
long work(long n)
{
    long sum = 0;
    for (long i = 0; i < n; i++)
        sum += middle(i);
    EXTRA
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    return sum - n * (n - 1) - 3 * n;
}
long version(void) { return 0x1122334455667788; }
long calls_so_far(void) { return __atomic_load_n(&calls, __ATOMIC_RELAXED); }
'''

MAIN = r'''
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
long work(long n), version(void), calls_so_far(void);
enum { RUNNING = 8, BLOCKED = 8 };
static int pipes[BLOCKED][2], quit, turn;
static long faults, interrupted, woken;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static void note(int is_right, int line) { if (is_right) return; int number = errno; fprintf(stderr, "line %d: %s\n", line, strerror(number)); __atomic_add_fetch(number == EINTR ? &interrupted : &faults, 1, __ATOMIC_SEQ_CST); }
#define want(is_right) note((errno = 0, (is_right)), __LINE__)
static int is_over(void) { return __atomic_load_n(&quit, __ATOMIC_SEQ_CST); }
static void *run(void *p) { while (!is_over()) want(work(100) == 0); return p; }
static void *block(void *p)
{
    int i = (int)(long)p, fd = pipes[i][0], epoll = epoll_create1(0), seen = 0;
    struct epoll_event event = {EPOLLIN, {0}};
    struct pollfd polled = {fd, POLLIN, 0};
    struct timespec time = {0, 50000000};
    char c;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    for (;;) {
        switch (i % 5) {
        case 0: want(epoll_wait(epoll, &event, 1, -1) == 1); break;
        case 1: want(poll(&polled, 1, -1) == 1); break;
        case 2: while (!is_over()) want(nanosleep(&time, 0) == 0); break;
        case 3: pthread_mutex_lock(&lock); while (turn == seen && !is_over()) want(pthread_cond_wait(&condition, &lock) == 0); seen = turn; pthread_mutex_unlock(&lock); break;
        }
        want(read(fd, &c, 1) == 1);
        __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
        if (c == 'q')
            return p;
    }
}
static void wake(char c)
{
    pthread_mutex_lock(&lock); turn++; pthread_cond_broadcast(&condition); pthread_mutex_unlock(&lock);
    for (int i = 0; i < BLOCKED; i++)
        want(write(pipes[i][1], &c, 1) == 1);
}
int main(void)
{
    pthread_t threads[RUNNING + BLOCKED];
    sigset_t all;
    char line[64];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, 0);
    for (int i = 0; i < BLOCKED; i++)
        want(pipe(pipes[i]) == 0);
    for (long i = 0; i < BLOCKED; i++)
        pthread_create(&threads[i], 0, block, (void *)i);
    for (int i = 0; i < RUNNING; i++)
        pthread_create(&threads[BLOCKED + i], 0, run, 0);
    while (fgets(line, sizeof line, stdin)) {
        if (*line == 'w')
            wake('w');
        printf("%ld %ld %ld %ld %ld\n", version(), faults, interrupted, woken, calls_so_far());
        fflush(stdout);
    }
    __atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
    wake('q');
    for (int i = 0; i < RUNNING + BLOCKED; i++)
        pthread_join(threads[i], 0);
    printf("end %ld %ld\n", faults, interrupted);
    return 0;
}
'''
FLAGS = ['-O2', '-fPIC', '-ffunction-sections', '-fdata-sections']


def must(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(arguments)}: status {done.returncode}: {done.stdout}{done.stderr}')
    return done.stdout


def compile_module(name, extra, size):
    with open('module.c', 'w') as file:
        file.write(MODULE.replace('EXTRA', extra))
    must('gcc', *FLAGS, f'-DSIZE={size}', '-c', 'module.c', '-o', name)
    with open(name, 'rb') as file:
        return file.read()


def figures(pid):
    """Resident KiB, number of mappings."""
    with open(f'/proc/{pid}/status') as file:
        resident = int(re.search(r'VmRSS:\s*(\d+)', file.read())[1])
    with open(f'/proc/{pid}/maps') as file:
        return resident, sum(1 for _ in file)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open('main.c', 'w') as file:
            file.write(MAIN)
        must('gcc', *FLAGS, '-c', 'main.c')
        sizes = 4, 64
        templates = {size: [compile_module('module.o', extra, size) for extra in ('', 'sum = sum * 3 / 3; if (n < 0) sum ^= n << 5;')] for size in sizes}
        with open('module.o', 'wb') as file:
            file.write(templates[4][0])
        must('crateld', 'link', '-o', 'stress.crate', 'main.o', 'module.o', '-lpthread')
        with open('errors', 'wb') as errors:
            program = subprocess.Popen(['crateld', 'run', 'stress.crate'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1)
        try:
            check(program, templates, sizes, count)
        finally:
            program.kill()


def check_priorities(pid):
    """Threads that were held are treated by the scheduler as before."""
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/comm') as file:
            is_ours = file.read() == 'crateld\n'
        found = os.sched_getscheduler(int(thread)), os.getpriority(os.PRIO_PROCESS, int(thread))
        if not is_ours and found != (os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0)):
            sys.exit(f'a thread has another policy, or another nice level: {found}')


def check(program, templates, sizes, count):
    calls = 0
    seen = []
    placed = [0, 0]  # functions in place, and fresh
    returned = 0     # of the first, those of versions that were there

    def ask(line):
        program.stdin.write(line + '\n')
        answer = program.stdout.readline().split()
        if len(answer) != 5:
            sys.exit(f'the program answers {answer}: {open("errors").read()}')
        return [int(word) for word in answer]
    assert ask('a')[0] == MARK
    for i in range(1, count + 1):
        number = i if i % 5 else i - 3
        text = templates[sizes[number >= GROWN_AT]][number // 2 % 2].replace(struct.pack('<Q', MARK), struct.pack('<Q', number))
        with open('next.o', 'wb') as file:
            file.write(text)
        os.rename('next.o', 'module.o')
        out = must('crateld', 'reload', str(program.pid), 'module.o')
        now_placed = [int(word) for word in re.search(r'functions \((\d+) in place, (\d+) fresh\)', out).groups()]
        if i % 5 == 0 and (now_placed[1] or not now_placed[0]):
            sys.exit(f'reload {i}: a version that comes back is not where it was: {out}')
        returned += now_placed[0] if i % 5 == 0 else 0
        placed = [a + b for a, b in zip(placed, now_placed)]
        version, faults, interrupted, woken, now = ask('w' if i % 10 == 0 else 'a')
        if version != number or faults or interrupted or now < calls:
            sys.exit(f'{open("errors").read()}reload {i}: version {version}, wanted {number}; {faults} wrong results, {interrupted} interrupted calls, {now} calls after {calls}')
        calls = now
        seen.append(figures(program.pid))
    shown = must('crateld', 'inspect', '--patch', str(program.pid))
    check_priorities(program.pid)
    out = program.communicate(timeout=60)[0]
    if program.returncode or out != 'end 0 0\n' or os.path.getsize('errors'):
        sys.exit(f'status {program.returncode}: {out}{open("errors").read()}')
    retired = re.search(r'(\d+) superseded versions retired.*', shown)
    before, after = lowest(seen[:PART]), lowest(seen[-PART:])
    print(f'{count} reloads: {calls} calls, {woken} wake-ups; resident at least {before[0]} KiB, at the end {after[0]}; {before[1]} mappings, at the end {after[1]}')
    print(f'{placed[0]} functions in place, {placed[1]} fresh')
    print(f'at most {max(figure[0] for figure in seen)} KiB, {max(figure[1] for figure in seen)} mappings; {retired[0] if retired else "none retired"}')
    if count >= 2 * PART and (not retired or after[0] - before[0] > GROWTH_MAX or after[1] - before[1] > MORE_MAX):
        sys.exit('memory or mappings grow')
    if f'{sum(placed)} functions replaced so far: {placed[0]} in place, {placed[1]} fresh' not in shown:
        sys.exit(f'in place {placed[0]}, fresh {placed[1]}: {shown[-2000:]}')
    if count >= 2 * PART and placed[0] - returned < placed[1]:
        sys.exit(f'the places of versions that nobody is in are not used: {placed}')


def lowest(seen):
    """Superseded versions go together: between that, they add up."""
    return min(figure[0] for figure in seen[20:] or seen), min(figure[1] for figure in seen[20:] or seen)


if __name__ == '__main__':
    main()

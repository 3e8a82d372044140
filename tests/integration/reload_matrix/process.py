"""Rows about the process, its threads, and what goes wrong."""
import os
import re
import shutil
import signal
import struct
import time
from rows import row


@row('eight threads in the functions that change, reload after reload')
def threads(p):
    count = 300 if os.environ.get('CRATELD_TEST_LONG') else 30
    def text(i):  # every other version has the sizes of the one before
        extra = 'sum = sum * 3 / 3; ' * (i // 2 % 3)
        return '''static long total; long leaf(long x) { return x + 1; } static long middle(long x) { return leaf(x) + leaf(x); }
API long work(long n) { long sum = 0; for (long i = 0; i < n; i++) sum += middle(i) - 2 * i; EXTRA __atomic_add_fetch(&total, sum - 2 * n, __ATOMIC_SEQ_CST); return sum == 2 * n; }
API long version(void) { return VERSION; } API long check(void) { return total; }'''.replace('EXTRA', extra).replace('VERSION', str(i))
    p.module(text(1))
    p.module('''#include <pthread.h>
API long work(long n); API long version(void); API long check(void); static pthread_t threads[8]; static int quit; static long faults, rounds;
static void *run(void *p) { while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST)) { if (!work(200)) __atomic_add_fetch(&faults, 1, __ATOMIC_SEQ_CST); __atomic_add_fetch(&rounds, 1, __ATOMIC_SEQ_CST); } return p; }
API long act(const char *line) { if (line[0] == 's') for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, run, 0);
    if (line[0] == 'q') { quit = 1; for (int i = 0; i < 8; i++) pthread_join(threads[i], 0); return faults + check() + (rounds < 8); } return version(); }''', 'threads')
    p.start()
    p.ask('s', 1)
    for i in range(2, count):
        p.reload(module=text(i))
        p.ask('v', i)
    p.ask('q', 0)
    p.finish()


@row('threads that are blocked with all signals masked, while a variable moves')
def blocked(p):
    p.module('''long table[4] = {5}, beside = 1; API long step(void) { return table[0] + sizeof table; }''')
    p.module('''#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
API long step(void); static int pipes[3][2]; static long faults, quit, started; static pthread_t threads[5]; static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static void want(int x) { if (!x) __atomic_add_fetch(&faults, 1, __ATOMIC_SEQ_CST); }
static void *run(void *p) { char c; struct pollfd f = {pipes[1][0], POLLIN, 0}; struct epoll_event e = {EPOLLIN, {0}}; struct timespec t = {1, 0}; int fd; __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
    switch ((long)p) { case 0: want(read(pipes[0][0], &c, 1) == 1); break; case 1: want(poll(&f, 1, 100000) == 1); break; case 2: fd = epoll_create1(0); epoll_ctl(fd, EPOLL_CTL_ADD, pipes[2][0], &e); want(epoll_wait(fd, &e, 1, 100000) == 1); break;
    case 3: want(nanosleep(&t, 0) == 0); break; case 4: pthread_mutex_lock(&lock); while (!quit) want(pthread_cond_wait(&condition, &lock) == 0); pthread_mutex_unlock(&lock); } return p; }
API long act(const char *line) { if (line[0] == 's') { sigset_t all; sigfillset(&all); pthread_sigmask(SIG_SETMASK, &all, 0); for (int i = 0; i < 3; i++) want(pipe(pipes[i]) == 0); for (long i = 0; i < 5; i++) pthread_create(&threads[i], 0, run, (void *)i); while (__atomic_load_n(&started, __ATOMIC_SEQ_CST) < 5) usleep(1000); }
    if (line[0] == 'q') { pthread_mutex_lock(&lock); quit = 1; pthread_cond_broadcast(&condition); pthread_mutex_unlock(&lock); for (int i = 0; i < 3; i++) want(write(pipes[i][1], "x", 1) == 1); for (int i = 0; i < 5; i++) pthread_join(threads[i], 0); return faults; } return step(); }''', 'threads')
    p.start()
    p.ask('s', 37)
    if p.need('-fdata-sections', ('table[4]', 'table[40]')):
        p.ask('a', 325)
        p.reload(('table[40]', 'table[400]'))
        p.ask('a', 3205)
    else:
        p.ask('a', 37)
    p.ask('q', 0)
    p.finish()


@row('an undefined symbol: refused, and the next good edit is taken')
def undefined(p):
    p.module('long state; API long act(const char *line) { return ++state; }')
    p.start()
    p.ask('a', 1)
    before = p.texts['module']
    p.refuse("undefined symbol 'nowhere", ('API long act', 'API long nowhere(void); API long act'), ('return ++state', 'return nowhere() + ++state'))
    p.ask('a', 2)
    p.reload(module=before.replace('return ++state', 'return ++state * 10'))
    p.ask('a', 30)
    p.finish()


@row('files that are no objects, cut objects, objects of another CPU')
def bad_objects(p):
    p.module('long state; API long act(const char *line) { return ++state; }')
    p.start()
    p.ask('a', 1)
    p.compile('module', p.edited(('++state', '++state * 10')))
    with open(p.path('module.o'), 'rb') as file:
        good = file.read()
    other = bytearray(good)
    struct.pack_into('<H', other, 18, 183)  # e_machine: EM_AARCH64
    cases = [b'', b'int main;', good[:63], good[:64], good[:len(good) // 2], good[:-1], bytes(other), good.replace(b'\x7fELF', b'\x7fELG'),
             good[:4] + b'\x01' + good[5:], good[:16] + b'\x02' + good[17:]]
    for number, case in enumerate(cases):
        with open(p.path('module.o'), 'wb') as file:
            file.write(case)
        done = p.command('reload', 'module.o')
        if done.returncode != 1 or not re.match(r'crateld: module\.o:', done.stderr):
            raise AssertionError(f'case {number}: status {done.returncode}: {done.stdout}{done.stderr}')
    p.ask('a', 2)
    with open(p.path('module.o'), 'wb') as file:
        file.write(good)
    p.must('crateld', 'reload', str(p.process.pid), 'module.o')
    p.ask('a', 30)
    p.finish()


@row('a hundred edits with no gap, with --watch: the last one runs')
def no_gap(p):
    p.module('static long kept = 1; API long act(const char *line) { return 0 + kept++ * 0; }')
    p.start('--watch')
    p.ask('a', 0)
    for i in range(1, 4):
        p.compile('module', p.texts['module'].replace('return 0', f'return {i}'))
        shutil.copy(p.path('module.o'), p.path(f'{i}.object'))
    for i in range(100):
        shutil.copy(p.path(f'{(i + 1) % 3 + 1}.object'), p.path('module.next'))
        os.rename(p.path('module.next'), p.path('module.o'))
    p.ask_until('a', lambda answer: answer == 2)
    p.finish('((reloaded|note): [^\n]*\n)*')


USES_NEW = [('return ++state', "return line[0] == 'w' ? ready() : added(++state) + number"),
            ('long state', 'API long added(long x), ready(void); extern long number; long state')]
NEW_FILE = '''API long added(long x); long number = 1000; static long constructed, calls;
__attribute__((constructor)) static void construct(void) { constructed += 10; }
API long ready(void) { return constructed; }
API long added(long x) { return 2 * x + constructed + 100 * ++calls; }'''


@row('a new source file, with variables and constructors, beside the module that uses it')
def new_file(p):
    p.module('long state; API long act(const char *line) { return ++state; }')
    p.start()
    p.ask('a', 1)
    p.refuse("undefined symbol 'added'", *USES_NEW)
    p.refuse('if it is a new one, name those that use it as well', more=NEW_FILE)
    p.reload(*USES_NEW, more=NEW_FILE)
    p.ask_until('w', lambda answer: answer == 10)  # constructors run when the reload is done, while the program does
    p.ask('a', 1000 + 4 + 10 + 100)
    p.ask('a', 1000 + 6 + 10 + 200)
    edit = p.edited(('2 * x', '4 * x'), name='more')
    if p.way.has_functions or p.way.level == '-O2':  # which gives constructors a section of their own
        p.reload(module=p.texts['module'], more=edit)
        p.ask('a', 1000 + 16 + 10 + 300)
        p.rollback()
    else:
        p.refuse('compile with -ffunction-sections', module=p.texts['module'], more=edit)
        p.outcome = 'refused without -ffunction-sections'
        p.ask('a', 1000 + 8 + 10 + 300)
    p.ask('a', 1000 + 10 + 10 + 400)
    p.rollback()
    p.ask('a', 6)
    p.reload(module=p.texts['module'], more=NEW_FILE)
    p.ask('a', 1000 + 14 + 10 + 500)
    p.finish()


@row('a new source file that defines what another has')
def new_twin(p):
    p.module('long state; API long helper(void) { return 1; } API long act(const char *line) { return state += helper(); }')
    p.module('API long used(void) { return 5; }', name='other')
    p.start()
    p.ask('a', 1)
    p.refuse("'used' is defined by other.o in .*: if it has moved, name the new version of that as well; if this is one, say so: OLD=more.o",
             ('return 1', 'return 2'), more='API long used(void) { return 6; }')
    p.ask('a', 2)
    p.finish()


@row('functions that two modules came to share, of which one is edited alone')
def shared(p):
    p.module('long state; API long act(const char *line) { return ++state; }')
    p.module('API long other(void) { return 1; }', name='other')
    p.start()
    p.ask('a', 1)
    edits = [('return ++state', 'return added(++state)'), ('long state', 'API long added(long x); long state')]
    p.reload(*edits, other='API long other(void) { return 1; } API long added(long x) { return 2 * x; }')
    p.ask('a', 4)
    p.refuse('other.o: came with module.o in an earlier reload, and one of them refers to what only the other has: name both',
             other=p.edited(('2 * x', '3 * x'), name='other'))
    p.ask('a', 6)
    p.reload(module=p.texts['module'], other=p.edited(('2 * x', '3 * x'), name='other'))
    p.ask('a', 12)
    p.finish()


@row('the same, with --watch: what came with it comes along')
def shared_watched(p):
    p.module('long state; API long act(const char *line) { return ++state; }')
    p.module('API long other(void) { return 1; }', name='other')
    p.start('--watch')
    p.ask('a', 1)
    p.compile('other', 'API long other(void) { return 1; } API long added(long x) { return 10000 + x; }')
    p.compile('module', p.edited(('return ++state', 'return added(++state)'), ('long state', 'API long added(long x); long state')))
    p.ask_until('a', lambda answer: answer > 10000)
    p.compile('other', 'API long other(void) { return 1; } API long added(long x) { return -1; }')
    p.ask_until('a', lambda answer: answer == -1)
    p.compile('module', p.edited(('return ++state', 'return added(++state) - 1'), ('long state', 'API long added(long x); long state')))
    p.ask_until('a', lambda answer: answer == -2)
    p.finish(errors='.*')


@row("a NULL dereference in new code, which the program's own handler survives")
def fault(p):
    p.module('''#include <setjmp.h>
#include <signal.h>
static sigjmp_buf place; static long faults, state; static void handler(int number) { faults++; siglongjmp(place, 1); }
long *volatile none; long risky(long x) { return x + 1 + (none != 0); }
API long act(const char *line) { signal(SIGSEGV, handler); if (sigsetjmp(place, 1)) return -faults; return risky(++state); }''')
    p.start()
    p.ask('a', 2)
    if p.need('-ffunction-sections', ('x + 1 + (none != 0)', 'x + *none')):
        p.ask('a', -1)
        p.ask('a', -2)
        p.reload(('return x + *none', 'return x + 5 + (none != 0)'))
        p.ask('a', 9)
    p.finish()


@row('a fault in new code ends the program as it would have')
def fatal(p):
    p.module('long *volatile none; long risky(long x) { return x + 1; } API long act(const char *line) { return risky(1); }')
    p.start()
    p.ask('a', 2)
    p.reload(('return x + 1', 'return x + *none'))
    p.tell('a')
    status = p.process.wait(60)
    if status != -signal.SIGSEGV:
        raise AssertionError(f'status {status}')


@row('the crate is told: crate_reloaded')
def hook(p):
    p.module('''static volatile long told, state; API void crate_reloaded(void) { told++; } API long act(const char *line) { if (line[0] == 'w') while (!told) continue; return told * 100 + ++state; }''')
    p.start()
    p.ask('a', 1)
    p.reload(('++state', 'state++'))
    p.ask('w', 101)
    p.reload(('told++', 'told += 5'))
    for _ in range(1000):
        p.tell('a')
        if int(p.read_line()) > 600:
            break
    else:
        raise AssertionError('the hook was not called')
    p.finish()


@row('versions are rolled back, one after the other')
def rollback(p):
    p.module('static long state = 10; API long act(const char *line) { return ++state; }')
    p.start()
    p.ask('a', 11)
    p.reload(('return ++state', 'return ++state * 10'))
    p.ask('a', 120)
    p.reload(('* 10', '* 100'))
    p.ask('a', 1300)
    for wanted in (140, 15):
        done = p.command('rollback')
        if done.returncode:
            raise AssertionError(done.stderr)
        p.ask('a', wanted)
    done = p.command('rollback')
    if done.returncode != 1 or 'nothing was reloaded' not in done.stderr:
        raise AssertionError(f'{done.returncode}: {done.stderr}')
    p.ask('a', 16)
    p.finish()


@row('three crates in a chain: users are told, one that was never bound is not')
def chain(p):
    p.module('API long provide(long x) { return x + 1; } API long rare(void) { return 50; }', 'last')
    p.module('API long provide(long x); API long middle(long x) { return provide(x) * 10; }', 'middle')
    p.module('API long provide(long x); API long middle(long x); API long rare(void); API long act(const char *line) { return line[0] == \'r\' ? rare() : provide(1) * 1000 + middle(1); }')
    p.start(crates=[('last.crate', ['last']), ('middle.crate', ['middle', 'last.crate'])])
    p.ask('a', 2020)
    out = p.reload(last=p.edited(('x + 1', 'x + 2'), ('return 50', 'return 60'), name='last'))
    if ' 2 users;' not in out:
        raise AssertionError(out)
    p.ask('a', 3030)
    p.ask('r', 60)
    p.finish()


@row('a crate that was stripped is not reloaded')
def stripped(p):
    p.module('long state; API long act(const char *line) { return ++state; }')
    p.start()
    p.ask('a', 1)
    p.must('crateld', 'strip', 'app.crate')
    p.reload(('++state', '++state * 10'))  # the crate that runs has it
    p.ask('a', 20)
    p.finish()
    p.run()
    p.ask('a', 1)
    p.refuse('no relink section, for they were stripped', ('* 10', '* 100'))
    p.ask('a', 2)
    p.finish()

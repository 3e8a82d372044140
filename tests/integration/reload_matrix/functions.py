"""Rows about functions: who holds them, and who is in them."""
import time
from rows import row


@row('a stored function pointer is called, and compared')
def stored_pointer(p):
    p.module('''static int twice(int x) { return 2 * x; } int (*held)(int);
API long act(const char *line) { if (!held) held = twice; return held(line[0] - '0') * 10 + (held == twice); }''')
    p.start()
    p.ask('4', 81)
    if p.need('-ffunction-sections', ('2 * x', '3 * x')):
        p.ask('4', 121)
        p.reload(('3 * x', '5 * x'))
        p.ask('4', 201)
    else:
        p.ask('4', 81)
    p.finish()


@row('a function pointer in initialised data')
def table_of_functions(p):
    p.module('''static long calls; static long add(long x) { return x + ++calls; } static long sub(long x) { return x - ++calls; }
static const struct { const char *name; long (*run)(long); } table[] = {{"add", add}, {"sub", sub}}; long (*chosen)(long) = add;
API long act(const char *line) { if (line[0] == 'c') chosen = table[1].run; return table[line[0] == 's'].run(1000) * 100000 + chosen(10); }''')
    p.start()
    p.ask('a', 100100012)
    p.ask('c', 100300006)
    if p.need('-ffunction-sections', ('x - ++calls', 'x * ++calls')):
        p.ask('s', 500000060)
    else:
        p.ask('s', 99500004)
    p.finish()


@row('signal(s, handler) from within the handler')
def signal_handler(p):
    p.module('''#include <signal.h>
static volatile int got; static void handler(int number) { signal(number, handler); got = got * 10 + 1; }
API long act(const char *line) { if (line[0] == 'i') signal(SIGUSR1, handler); raise(SIGUSR1); return got; }''')
    p.start()
    p.ask('i', 1)
    p.ask('a', 11)
    if p.way.compiler == 'toc':
        p.reload(('* 10 + 1', '* 10 + 2'))
        p.ask('a', 112)
        return p.finish()
    # Assemblers make a function's reference to itself without a relocation.
    p.refuse("'[_ZL0-9]*handleri?' of module.o: its address is in the module's code without a relocation", ('* 10 + 1', '* 10 + 2'))
    p.ask('a', 111)
    p.outcome = 'refused: the handler has its own address'
    if p.way.has_functions:
        p.reload(('return got', 'return got + 1000'))
        p.ask('a', 2111)
    return p.finish()


@row('a signal handler that another function installs')
def installed_handler(p):
    p.module('''#include <signal.h>
static volatile int got; static void handler(int number) { got = got * 10 + 1; } API void install(void) { signal(SIGUSR1, handler); }
API long act(const char *line) { if (line[0] == 'i') install(); raise(SIGUSR1); return got; }''')
    p.start()
    p.ask('i', 1)
    if p.need('-ffunction-sections', ('* 10 + 1', '* 10 + 2')):
        p.ask('a', 12)
        p.reload(('* 10 + 2', '* 10 + 3'))
        p.ask('a', 123)
    else:
        p.ask('a', 11)
    p.finish()


@row('a callback of qsort, and one of atexit')
def callbacks(p):
    p.module('''#include <stdlib.h>
#include <stdio.h>
static int order = 1; static int compare(const void *a, const void *b) { return (*(const int *)a - *(const int *)b) * order; }
static void at_end(void) { fprintf(stderr, "left as %d", order + 1); }
API long act(const char *line) { int all[] = {3, 1, 2}; if (line[0] == 'i') atexit(at_end); qsort(all, 3, sizeof *all, compare); return all[0] * 100 + all[1] * 10 + all[2]; }''')
    p.start()
    p.ask('i', 123)
    if p.need('-ffunction-sections', ('* order;', '* -order;'), ('order + 1', 'order + 6')):
        p.ask('a', 321)
        p.finish('left as 7')
    else:
        p.ask('a', 123)
        p.finish('left as 2')


@row('a function is active on a stack across five reloads')
def active(p):
    p.module('''static long depth, sum; static long result(void) { return sum * 10 + 1; }
API long act(const char *line) { if (line[0] != 'n') return result(); long mine = ++depth * 100; nest(); sum += depth--; return mine + 1; }''')
    p.start()
    p.ask('a', 1)
    for version in range(1, 6):
        p.tell('n')
        p.reload((f'mine + {version}', f'mine + {version + 1}'), (f'10 + {version}', f'10 + {version + 1}'))
        p.ask('a', version + 1)
    for version in range(5, 0, -1):
        p.tell('back')
        p.wants(version * 100 + version, 'an old frame returns')
    p.ask('a', 156)
    p.finish()


@row('an old frame calls a changed static whose clobbers grew')
def clobbers(p):
    p.module('''static long calls; __attribute__((noinline)) static long helper(long x) { return x + ++calls; }
API long act(const char *line) { if (line[0] != 'n') return helper(0);
    long a = line[1], b = line[2], c = line[3], d = line[4], e = line[5], f = line[6], g = line[7], h = line[8], total = 0;
    nest();
    for (int i = 0; i < 100; i++) { total += helper(i) * (a + b - c + d - e + f - g + h); a++; c++; }
    return total + calls; }''')
    p.start()
    p.ask('a', 1)
    p.tell('n12345678')
    p.reload(('return x + ++calls;', '''volatile long r[9]; register long a = x, b = x + 1, c = x + 2, d = x + 3, e = x + 4, f = x + 5, g = x + 6, h = x + 7;
        for (int i = 0; i < 5; i++) { a += b * h; b ^= c; c += d - a; d ^= e; e += f; f ^= g; g += h ^ b; h += a; } r[0] = a + b + c + d + e + f + g + h;
        return 5 * (++calls) + 0 * r[0];'''))
    p.ask('a', 10)
    # The old frame goes on with the helper that it was compiled with; it may be any if it was compiled to the same again.
    wanted = [sum(of_helper(i, i + 3) * 102 for i in range(100)) + 102 for of_helper in (lambda i, n: i + n, lambda i, n: 5 * n)]
    p.tell('back')
    answer = int(p.read_line())
    if answer not in wanted:
        raise AssertionError(f'the old frame returns {answer}, wanted one of {wanted}')
    p.ask('a', 5 * 103)
    p.finish()


@row('a frame in the cold part of a function')
def cold(p):
    p.module('''#include <stdlib.h>
static long visits; __attribute__((cold, noinline)) static void rare(void) { visits++; }
API long act(const char *line) { long result = line[0]; if (__builtin_expect(line[0] == 'n', 0)) { rare(); nest(); rare(); result += 1000; } return result + visits; }''')
    p.start()
    p.ask('a', 97)
    p.tell('n')
    p.reload(('result + visits', 'result + visits * 10'), ('visits++;', 'visits += 4;'), ('+= 1000', '+= 5000'))
    p.ask('a', 107)
    p.tell('back')
    p.wants(110 + 1000 + 2, 'the old frame returns')
    p.ask('a', 117)
    p.finish()


@row('a switch by a jump table in an old frame that is active')
def jump_table(p):
    p.module('''static long total;
API long act(const char *line) { if (line[0] != 'n') return total; for (int i = 0; i < 16; i++) { if (i == 3) nest();
    switch (i) { case 0: total += 1; break; case 1: total ^= 12; break; case 2: total *= 3; break; case 3: total -= 4; break; case 4: total += 50; break; case 5: total ^= 61; break;
    case 6: total += 7; break; case 7: total -= 81; break; case 8: total *= 2; break; case 9: total ^= 33; break; default: total += i; } } return total; }''')
    value = 0
    values = []
    for i in range(16):
        values.append(value)
        value = [lambda v: v + 1, lambda v: v ^ 12, lambda v: v * 3, lambda v: v - 4, lambda v: v + 50, lambda v: v ^ 61, lambda v: v + 7,
                 lambda v: v - 81, lambda v: v * 2, lambda v: v ^ 33][i](value) if i < 10 else value + i
    p.start()
    p.tell('n')
    p.reload(('case 6: total += 7; break; ', ''), ('total ^= 61', 'total ^= 62'), ('return total; for', 'return total * 1000 + 1; for'))
    p.ask('a', values[3] * 1000 + 1)
    p.tell('back')
    p.wants(value, 'the old frame returns')
    p.ask('a', value * 1000 + 1)
    p.finish()


@row('a stack of makecontext in old code')
def contexts(p):
    p.module('''#include <stdlib.h>
#include <ucontext.h>
static ucontext_t here, there; static long value; static int made;
static long step(void) { return 1; }
static void body(void) { for (;;) { value += step(); swapcontext(&there, &here); value += 10 * step(); swapcontext(&there, &here); } }
API long act(const char *line) { if (!made) { made = 1; getcontext(&there); there.uc_stack.ss_sp = malloc(65536); there.uc_stack.ss_size = 65536; makecontext(&there, body, 0); }
    swapcontext(&here, &there); return value; }''')
    p.start()
    p.ask('a', 1)
    p.ask('a', 11)
    if p.way.has_functions:
        p.reload(('10 * step()', '1000 * step()'), ('return value', 'return -value'))
        p.ask('a', -12)  # the old code goes on
        p.ask('a', -22)
        p.reload(('return -value', 'return value * 2'))
        p.ask('a', 46)
    else:
        p.refuse('compile with -ffunction-sections', ('10 * step()', '1000 * step()'))
        p.outcome = 'refused without -ffunction-sections'
        p.ask('a', 12)
    p.finish()


@row('setjmp in old code, longjmp in new')
def jumps(p):
    p.module('''#include <setjmp.h>
static jmp_buf place; static volatile long count; static void leave(void) { longjmp(place, 5); }
API long act(const char *line) { if (line[0] == 'j') leave(); if (line[0] != 's') return count; int got = setjmp(place); count += got; if (!got) nest(); return count * 10; }''')
    p.start()
    p.tell('s')
    p.ask('a', 0)
    p.reload(('count * 10', 'count * 100'), ('(place, 5)', '(place, 7)'))
    p.ask('j', 70)  # back in the old frame
    p.ask('a', 7)
    p.finish()


@row('a constructor runs once')
def constructor(p):
    p.module('''static volatile long runs; __attribute__((constructor)) static void begin(void) { runs++; } API long act(const char *line) { return runs; }''')
    p.start()
    p.ask('a', 1)
    p.reload(('return runs', 'return runs * 10'))
    p.ask('a', 10)
    p.reload(('API long', '__attribute__((constructor)) static void again(void) { runs += 5; } API long'))
    for _ in range(100):
        p.tell('a')
        if p.read_line() == '60':
            break
        time.sleep(0.1)
    p.ask('a', 60)
    if p.way.has_functions:
        p.reload(('* 10', '* 100'))
        time.sleep(0.05)
        p.ask('a', 600)
    p.finish()


@row('a signature changes in two modules at once')
def signature(p):
    p.module('long helper(long x); static long calls; API long act(const char *line) { return helper(++calls); }')
    p.module('static long sum; long helper(long x) { return sum += x; }', 'other')
    p.start()
    p.ask('a', 1)
    p.ask('a', 3)
    p.reload(module='long helper(long x, double y, long z); static long calls; API long act(const char *line) { return helper(++calls, 0.5, 7); }',
             other='static long sum; long helper(long x, double y, long z) { return (long)((sum += x) * y * 2) * 10 + z; }')
    p.ask('a', 67)
    p.finish()


@row('a signature changes in two crates at once')
def signature_of_crates(p):
    p.module('long helper(long x); static long calls; API long act(const char *line) { return helper(++calls); }')
    p.module('static long sum; API long helper(long x) { return sum += x; }', 'other')
    p.texts['module'] = p.texts['module'].replace('long helper', 'API long helper', 1)
    p.compile('module', p.texts['module'])
    p.start(crates=[('other.crate', ['other'])])
    p.ask('a', 1)
    p.ask('a', 3)
    p.reload(module='API long helper(long x, double y, long z); static long calls; API long act(const char *line) { return helper(++calls, 0.5, 7); }',
             other='static long sum; API long helper(long x, double y, long z) { return (long)((sum += x) * y * 2) * 10 + z; }')
    p.ask('a', 67)
    p.finish()


@row('a function is removed, and another comes')
def removed(p):
    p.module('''static long state = 1; __attribute__((noinline)) static long old_one(void) { return ++state; } API long act(const char *line) { return old_one(); }''')
    p.start()
    p.ask('a', 2)
    p.reload(('__attribute__((noinline)) static long old_one(void) { return ++state; }', '__attribute__((noinline)) static long new_one(long by) { return state += by; }'),
             ('old_one()', 'new_one(10)'))
    p.ask('a', 12)
    p.reload(module='static long state = 1; API long act(const char *line) { return state -= 2; }')
    p.ask('a', 10)
    p.finish()


@row('a function that others still use is removed')
def removed_used(p):
    p.module('API long helper(void); static long calls; API long act(const char *line) { return helper() + ++calls; }')
    p.module('static long state = 100; API long helper(void) { return state += 100; } API long spare(void) { return state; }', 'other')
    p.start()
    p.ask('a', 201)
    p.reload(other='static long state = 100; API long spare(void) { return state * 2; }')
    p.ask('a', 302)  # what was not replaced stays
    p.finish()


@row('a function becomes static, and a static one global')
def binding(p):
    p.module('''static long state; static long one(void) { return state += 1; } API long two(void) { return state += 20; } API long act(const char *line) { return line[0] == '1' ? one() : two(); }''')
    p.start()
    p.ask('1', 1)
    p.ask('2', 21)
    p.reload(('static long one(void)', 'API long one(void)'), ('API long two(void)', 'static long two(void)'), ('+= 20', '+= 200'), ('+= 1;', '+= 1000;'))
    p.ask('1', 1021)
    p.ask('2', 1221)
    p.finish()


@row('variable arguments, and structures as values')
def arguments(p):
    p.module('''#include <stdarg.h>
struct big { long at[9]; }; static long total; __attribute__((noinline)) static long sum(int n, ...) { va_list list; va_start(list, n); while (n--) total += va_arg(list, long) + (long)va_arg(list, double); va_end(list); return total; }
__attribute__((noinline)) static struct big make(long x) { struct big b; for (int i = 0; i < 9; i++) b.at[i] = x * i; return b; }
API long act(const char *line) { struct big b = make(line[0] - '0'); return sum(3, b.at[1], 1.0, b.at[2], 2.0, b.at[8], 3.0); }''')
    p.start()
    p.ask('1', 17)
    p.reload(('x * i', 'x * i * 2'), ('+ (long)', '- (long)'))
    p.ask('1', 33)
    p.finish()


@row('a callback that came with a reload is edited')
def new_callback(p):
    p.module('''int (*held)(int); int (*again)(int);
API long act(const char *line) { return held ? held(line[0] - '0') * 100 + again(1) : -1; }''')
    p.start()
    p.ask('4', -1)
    text = '''static int twice(int x) { return 2 * x; } API int other(int x); int (*held)(int); int (*again)(int);
API long act(const char *line) { if (!held) { held = twice; again = other; } return held(line[0] - '0') * 100 + again(1) + (held == twice) * 10 + (again == other) * 20; }
API int other(int x) { return x + 1; }'''
    p.reload(module=text)
    p.ask('4', 832)
    if not p.need('-ffunction-sections', ('2 * x', '3 * x'), ('x + 1', 'x + 2')):
        p.ask('4', 832)
        return p.finish()
    p.ask('4', 1233)
    p.reload(('3 * x', '5 * x'))
    p.ask('4', 2033)
    p.rollback()
    p.ask('4', 1233)
    p.reload(('static int twice(int x) { return 5 * x; }', ''), ('held = twice', 'held = 0'), ('(held == twice)', '(held != 0)'))  # who has it keeps it
    p.ask('4', 1233)
    p.reload(module=text.replace('2 * x', '6 * x'))
    p.ask('4', 2432)
    p.rollback()
    p.rollback()
    p.ask('4', 1233)
    p.rollback()
    p.rollback()
    p.ask('4', 832 - 30)  # the base's, which calls what it has the addresses of
    return p.finish()


@row('a table of functions in a new source file, with more arguments than registers')
def new_table(p):
    kinds = 'typedef long (*run)(long, long, long, long, long, long, long, long); API const run *list(void); run chosen; long state; '
    p.module(kinds + 'API long act(const char *line) { return chosen ? chosen(state++, 1, 1, 1, 1, 1, 1, 1) : -1; }')
    p.start()
    p.ask('a', -1)
    table = kinds.replace('run chosen; long state; ', '') + '''static long add(long a, long b, long c, long d, long e, long f, long g, long h) { return a + h; }
static long sub(long a, long b, long c, long d, long e, long f, long g, long h) { return a - h; }
static const run table[] = {add, sub}; API const run *list(void) { return table; }'''
    user = kinds + '''API long act(const char *line) { if (!chosen) chosen = list()[1];
    return chosen(++state * 100, 2, 3, 4, 5, 6, 7, 8) * 10 + (chosen == list()[1]); }'''
    p.reload(module=user, more=table)
    p.ask('a', 921)
    p.reload(module=user, more=table.replace('a - h', 'a - h * 2'))
    p.ask('a', 1841)
    p.reload(module=user, more=table.replace('a - h', 'a - h * 3'))
    p.ask('a', 2761)
    p.rollback()
    p.ask('a', 3841)
    p.finish()


@row('a function that came with a reload, with variable arguments')
def new_varargs(p):
    p.module('long (*held)(int, ...); API long act(const char *line) { return held ? held(1, 1L) : -1; }')
    p.start()
    p.ask('a', -1)
    text = '''#include <stdarg.h>
API long sum(int count, ...); long (*held)(int, ...);
API long act(const char *line) { if (!held) held = sum; return held(8, 1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L) * 10 + (held == sum); }
API long sum(int count, ...) { va_list all; long result = 0; va_start(all, count); while (count--) result += va_arg(all, long); va_end(all); return result; }'''
    p.reload(module=text)
    p.ask('a', 361)
    p.reload(('result += va_arg', 'result += 2 * va_arg'))
    p.ask('a', 721)
    p.reload(('result = 0', 'result = 100'))
    p.ask('a', 1721)
    p.rollback()
    p.ask('a', 721)
    p.finish()


@row('new code takes the address of a static function that did not change')
def unchanged_address(p):
    p.module('''static long one(long x) { return x + 1; } static long (*held)(long); static long (*const table[])(long) = {one};
API long act(const char *line) { if (!held) held = table[0]; return held(1) * 10 + (held == table[0]); }''')
    p.start()
    p.ask('a', 21)
    if p.need('-ffunction-sections', ('(held == table[0])', '(held == table[0]) * 2 + (held == one) * 4'), ('held = table[0]', 'held = one')):
        p.ask('a', 26)
        p.reload(('x + 1', 'x + 2'))
        p.ask('a', 36)
    p.finish()

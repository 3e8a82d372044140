"""Rows about variables and constants."""
from rows import row


@row('statics and statics of functions are kept')
def statics(p):
    p.module('''static int count; int start = 5; static long local(void) { static int calls; return ++calls; }
API long act(const char *line) { count += 1; start++; return count * 100 + start * 10 + local() + (line[0] == 'x'); }''')
    p.start()
    p.ask('a', 161)
    p.ask('b', 272)
    p.reload(('count * 100', 'count * 1000'))
    p.ask('a', 3083)
    p.ask('x', 4095)
    p.finish()


@row('a static is added elsewhere in the file')
def static_added(p):
    p.module('''static int first = 1; static long second; static char third[3] = "ab";
API long act(const char *line) { second += first; third[0]++; return second * 1000 + third[0]; }''')
    p.start()
    p.ask('a', 1098)
    p.ask('a', 2099)
    if p.need('-fdata-sections', ('static long second', 'static int more = 7, cleared; static long second'),
              ('+ third[0]', '+ third[0] + 100000 * ++more + 10000000 * ++cleared')):
        p.ask('a', 10803100)
        p.reload(('100000 *', '200000 *'))
        p.ask('a', 21804101)
    else:
        p.ask('a', 3100)
    p.finish()


@row("two functions' statics of one name, when a third function with one is added")
def statics_of_one_name(p):
    p.module('''API long one(void) { static long count = 10; return ++count; }
API long two(void) { static long count = 20; return ++count; }
API long act(const char *line) { return line[0] == '1' ? one() : two(); }''')
    p.start()
    p.ask('1', 11)
    p.ask('2', 21)
    p.ask('2', 22)
    added = ('API long one(void)', 'API long none(void) { static long count = 40; return ++count; }\nAPI long one(void)'), ("two();", "(line[0] == '3' ? none() : two());")
    if p.need('-fdata-sections', *added):
        p.ask('1', 12)
        p.ask('2', 23)
        p.ask('3', 41)
        p.reload(('API long two(void) { static long count = 20; return ++count; }\n', ''), ('API long none', 'API long two(void) { static long count = 20; return count += 100; }\nAPI long none'))
        p.ask('1', 13)
        p.ask('2', 123)
        p.ask('3', 42)
    else:
        p.ask('1', 12)
        p.ask('2', 23)
    p.finish()


@row('a function with a static is renamed, beside another with a static of that name')
def static_of_renamed(p):
    p.module('''__attribute__((noinline)) API long one(void) { static long count = 10; return ++count; } __attribute__((noinline)) API long two(void) { static long count = 20; return ++count; }
API long act(const char *line) { return line[0] == '1' ? one() : two(); }''')
    p.start()
    p.ask('1', 11)
    p.ask('2', 21)
    if p.way.language == 'c' and p.way.compiler != 'clang':  # others name statics after their functions: that is another one
        p.refuse('which is which can not be told' if p.way.has_data else 'compile with -fdata-sections', ('one()', 'uno()'), ('one(void)', 'uno(void)'))
        p.ask('1', 12)
    elif p.need('-fdata-sections', ('one()', 'uno()'), ('one(void)', 'uno(void)')):
        p.ask('1', 11)
    p.ask('2', 22)
    p.finish()


@row('an immediate is stored to a variable that moves')
def immediate(p):
    p.module('''long before, cells[4], after; int *where;
API long act(const char *line) { before = 1; cells[1] = 77; cells[3] = 5; after = 2; if (line[0] == 'p') where = (int *)1;
    long sum = 0; for (unsigned i = 0; i < sizeof cells / sizeof *cells; i++) sum += cells[i]; return sum * 10 + before * after; }''')
    p.start()
    p.ask('a', 822)
    if p.need('-fdata-sections', ('cells[4]', 'cells[40]'), ('cells[3] = 5', 'cells[39] = 6')):
        p.ask('a', 882)
        p.reload(('cells[1] = 77', 'cells[1] = 70'))
        p.ask('a', 812)
    else:
        p.ask('a', 822)
    p.finish()


@row('an array grows from 4 to 64')
def grown(p):
    p.module('''int before = 1; int table[4] = {1, 2, 3, 4}; int after = 2; int *first = table;
API long act(const char *line) { int sum = 0; for (unsigned i = 0; i < sizeof table / sizeof *table; i++) sum += table[i];
    if (line[0] == 'w') table[3]++; return before != 1 || after != 2 || first != table ? -1 : sum; }''')
    p.start()
    p.ask('w', 10)
    if p.need('-fdata-sections', ('table[4]', 'table[64]')):
        p.ask('w', 11)
        p.reload(('table[64] = {1, 2, 3, 4}', 'table[128] = {100, 2, 3, 4, 5}'))
        p.ask('w', 116)
        p.ask('a', 117)
    else:
        p.ask('w', 11)
    p.finish()


@row('an array grows, with a pointer to it in a frame that is active')
def grown_held(p):
    p.module('''long table[4] = {1, 2, 3, 4}, beside = 1;
API long act(const char *line) { if (line[0] != 'n') return table[1] + sizeof table;
    long *held = &table[1]; __asm__("" : "+r"(held)); nest(); return *held += 10; }''')
    p.start()
    p.ask('a', 34)
    p.tell('n')
    if p.way.has_data:
        p.refuse(r"variable 'table' needs more room than the 32 bytes it has, and can not move: the stack of thread",
                 ('table[4]', 'table[64]'))
    else:
        p.refuse('compile with -fdata-sections', ('table[4]', 'table[64]'))
    p.tell('back')
    p.wants(12, 'the old frame returns')
    p.ask('a', 44)
    if p.need('-fdata-sections', ('table[4]', 'table[64]')):
        p.ask('a', 524)
    p.finish()


@row('an array grows, with a pointer to it on the heap')
def grown_on_heap(p):
    p.module('''#include <stdlib.h>
long table[4] = {1, 2, 3, 4}, beside = 1; long **held;
API long act(const char *line) { if (!held) { held = (long **)malloc(sizeof *held); *held = &table[1]; } if (line[0] == 'f') *held = 0;
    return line[0] == 'f' ? 0 : ++**held + sizeof table; }''')
    p.start()
    p.ask('a', 35)
    p.refuse(r"can not move: \[heap\], at 0x" if p.way.has_data else 'compile with -fdata-sections', ('table[4]', 'table[64]'))
    p.ask('a', 36)
    p.ask('f', 0)
    if p.need('-fdata-sections', ('table[4]', 'table[64]'), ('++**held +', 'table[1] +')):
        p.ask('a', 516)
    p.finish()


@row('the same, below a stack that lies there')
def grown_below_stack(p):
    p.module('''#include <stdlib.h>
#include <ucontext.h>
long table[4] = {1, 2, 3, 4}, beside = 1; long **held; static ucontext_t here, there;
static void body(void) { nest(); }
API long act(const char *line) { if (!held) { held = (long **)malloc(sizeof *held); *held = &table[1]; }
    if (line[0] == 'n') { getcontext(&there); there.uc_stack.ss_sp = malloc(100000); there.uc_stack.ss_size = 100000; there.uc_link = &here; makecontext(&there, body, 0); swapcontext(&here, &there); }
    return ++**held + sizeof table; }''')
    p.start()
    p.ask('a', 35)
    p.tell('n')
    p.refuse(r"can not move: \[heap\], at 0x" if p.way.has_data else 'compile with -fdata-sections', ('table[4]', 'table[64]'))
    p.tell('back')
    p.wants(36, 'the frame below returns')
    p.finish()


@row('an initialiser is edited: a value that was not touched follows, others stay')
def initialiser(p):
    p.module('''int touched = 10, untouched = 20; static long cells[4] = {1, 2, 3, 4};
API long act(const char *line) { if (line[0] == 't') touched = 11, cells[2] = 9; return touched * 1000000 + untouched * 10000 + cells[0] * 1000 + cells[1] * 100 + cells[2] * 10 + cells[3]; }''')
    p.start()
    p.ask('t', 11201294)
    out = p.reload(('touched = 10, untouched = 20', 'touched = 50, untouched = 60'), ('{1, 2, 3, 4}', '{5, 2, 7, 8}'))
    if 'kept' not in out:
        raise AssertionError(out)
    p.ask('a', 11605298)
    p.reload(('{5, 2, 7, 8}', '{6, 2, 9, 8}'))
    p.ask('a', 11606298)
    p.finish()


@row("a pointer's initial value follows a variable that moves; what the program made of it stays")
def pointer(p):
    p.module('''long x[2] = {1, 2}, other = 50; long *initial = &x[1], *changed = x, *none;
API long act(const char *line) { if (line[0] == 'c') changed = &other; if (line[0] == 'i') ++*initial; return *initial * 1000 + *changed + (initial == &x[1]) * 100000 + (none != 0); }''')
    p.start()
    p.ask('c', 102050)
    p.ask('i', 103050)
    if p.need('-fdata-sections', ('x[2]', 'x[20]')):
        p.ask('i', 104050)
    else:
        p.ask('i', 104050)
    p.finish()


@row('a pointer gets another initial value')
def pointer_edited(p):
    p.module('''int a = 1, b = 2; int *free_one = &a, *taken = &a; const char *name = "first";
API long act(const char *line) { if (line[0] == 't') taken = &b; return *free_one * 100 + *taken * 10 + name[0] / 'o'; }''')
    p.start()
    p.ask('t', 120)
    p.reload(('free_one = &a, *taken = &a', 'free_one = &b, *taken = &b'), ('"first"', '"other"'))
    p.ask('a', 221)
    if p.need('-fdata-sections', ('free_one = &b', 'free_one = 0'), ('return *free_one', 'return (free_one ? *free_one : 7)')):
        p.ask('a', 721)
    p.finish()


@row('a table of constants is edited')
def constants(p):
    p.module('''static const int weights[] = {1, 2, 3}; static const char *const names[] = {"one", "two", "three"}; static long calls;
API long act(const char *line) { int i = line[0] - '0'; return ++calls * 10000 + weights[i] * 1000 + names[i][0]; }''')
    p.start()
    p.ask('1', 12116)
    p.reload(('{1, 2, 3}', '{1, 7, 3}'), ('"two"', '"Xwo"'))
    p.ask('1', 27088)
    p.reload(('{1, 7, 3}', '{1, 7, 3, 4}'), ('"three"', '"three", "four"'))
    p.ask('3', 34102)
    p.finish()


@row('a string literal is edited')
def literal(p):
    p.module('''#include <string.h>
static const char *last; static long calls;
API long act(const char *line) { const char *now = "hello"; long same = last ? strlen(last) : 0; last = now; return ++calls * 100 + strlen(now) * 10 + same; }''')
    p.start()
    p.ask('a', 150)
    p.ask('a', 255)
    p.reload(('"hello"', '"hello world"'))
    p.ask('a', 415)  # what `last` points to is still there
    p.finish()


@row('thread-locals are kept, in each thread')
def thread_locals(p):
    p.module('''static __thread int mine = 3; __thread int cleared;
API long step(void) { cleared += 2; return ++mine * 10 + cleared; }''')
    p.module('''#include <pthread.h>
API long step(void); static pthread_t thread; static pthread_barrier_t barrier; static long result; static volatile int quit;
static void *other(void *p) { for (int is_over = 0; !is_over; pthread_barrier_wait(&barrier)) { pthread_barrier_wait(&barrier); is_over = quit; result = step(); } return p; }
API long act(const char *line) { if (!thread) { pthread_barrier_init(&barrier, 0, 2); pthread_create(&thread, 0, other, 0); }
    if (line[0] == 'm') return step();
    if (line[0] == 'q') quit = 1;
    pthread_barrier_wait(&barrier); pthread_barrier_wait(&barrier); if (quit) pthread_join(thread, 0); return result; }''', 'threads')
    p.start()
    p.ask('m', 42)
    p.ask('m', 54)
    p.ask('t', 42)
    p.reload(('++mine * 10 + cleared', '++mine * 1000 + cleared'))
    p.ask('m', 6006)
    p.ask('t', 5004)
    p.ask('q', 6006)
    p.finish()


@row('a thread-local is added')
def thread_local_added(p):
    p.module('''static __thread long mine = 3; API long act(const char *line) { return ++mine; }''')
    p.start()
    p.ask('a', 4)
    text = p.edited(('API long', 'static __thread long fresh = 40; API long'), ('return ++mine', 'return ++mine + 100 * ++fresh'))
    added = {'module': text.replace('static __thread long fresh', '__thread long fresh')}
    if p.way.has_data:
        if p.way.compiler != 'toc' or p.way.level == '-O2':  # at -O0 that has a place of its own
            p.refuse('compile it with -fPIC|declare it extern', module=text)
            p.ask('a', 5)
        else:
            p.ask('a', 5)
        p.way.flags += ['-fPIC']
    if p.need('-fdata-sections', **added):
        p.ask('a', 4106)
        p.ask('a', 4207)
        p.reload(('100 *', '1000 *'))
        p.ask('a', 43008)
    else:
        p.ask('a', 5)
    p.finish()


@row("a thread-local's initial value is edited: refused")
def thread_local_edited(p):
    p.module('''static __thread long mine = 3; API long act(const char *line) { return ++mine; }''')
    p.start()
    p.ask('a', 4)
    p.refuse("variable 'mine': a thread-local's initial value changed|'_ZL4mine': a thread-local's initial value changed",
             ('mine = 3', 'mine = 8'))
    p.ask('a', 5)
    p.finish()


@row('a struct gets another size: refused by name')
def struct_size(p):
    p.module('''struct point { long x, y; }; struct point here = {1, 2}; API long act(const char *line) { return ++here.x * 10 + here.y; }''')
    p.start()
    p.ask('a', 22)
    p.refuse("variable 'here': 8 bytes, but 16 in", ('long x, y;', 'int x, y;'))
    p.ask('a', 32)
    p.finish()


@row('a static variable becomes global, and a global one static', ('c',))
def binding(p):
    p.module('static long own = 5; long shared = 7; API long act(const char *line) { own++; shared++; return own * 100 + shared; }')
    p.start()
    p.ask('a', 608)
    edits = ('static long own = 5; long shared', 'long own = 5; static long shared'), ('own * 100', 'own * 1000')
    done = p.need('-fdata-sections', *edits) if p.way.compiler == 'clang' else p.reload(*edits)
    p.ask('a', 7009 if done else 709)
    p.finish()


@row('a variable is removed, and comes back')
def removed_variable(p):
    p.module('''long counter = 5; long act2(void) { return 0; } API long act(const char *line) { return ++counter; }''')
    p.start()
    p.ask('a', 6)
    before = p.texts['module']
    p.reload(('long counter = 5;', ''), ('++counter', '1'))
    p.ask('a', 1)
    p.reload(module=before)
    p.ask('a', 7)
    p.finish()


@row('constants that another file reads, points to, or has a table of')
def shared_constants(p):
    p.module('''extern const int shared[4]; extern const int single; const int *first = &shared[1], *taken = &shared[1];
const int *const table[] = {shared, &single}; long own(int i);
API long act(const char *line) { int i = line[0] - '0'; if (line[0] == 't') { taken = &single; i = 0; }
    return shared[i] * 1000000000L + single * 10000000L + *first * 100000L + *taken * 1000L + *table[i & 1] * 10 + own(i); }''')
    text = 'extern const int shared[4], single; const int shared[4] = {1, 2, 3, 4}, single = 10; long own(int i) { return shared[i]; }'
    p.module(text, 'other')
    p.start()
    p.ask('0', 1100202011)
    p.reload(other=text.replace('{1, 2, 3, 4}', '{2, 3, 4, 5}').replace('10', '20'))
    p.ask('0', 2200303022)
    p.ask('1', 3200303203)
    p.ask('t', 2200320022)
    p.reload(other=text.replace('{1, 2, 3, 4}', '{3, 4, 5, 6}').replace('10', '30'))
    p.ask('0', 3300420033)  # the program's own pointer stays
    p.command('rollback')
    p.ask('1', 3200320203)
    if p.way.has_debug:
        p.refuse("constant '(shared|single)' is of another type, and module.o refers to it",
                 other=text.replace('const int', 'const long'))
    p.reload(other=text)
    p.ask('0', 1100220011)
    p.finish()


@row('a symbol moves to another file, with its value')
def moved_symbol(p):
    p.module('long total = 10; long helper(void) { return ++total; } API long act(const char *line) { return helper() + total * 1000; }')
    p.module('long unrelated = 1; long bystander(void) { return ++unrelated; }', 'other')
    p.start()
    p.ask('a', 11011)
    p.texts['other'] += ' // edited'
    moved = {'module': 'extern long total; long helper(void); API long act(const char *line) { return helper() + total * 100000; }',
             'other': 'long total = 10; long unrelated = 1; long helper(void) { return total += 2; } long bystander(void) { return ++unrelated; }'}
    if p.way.has_data:
        p.reload(**moved)
        p.ask('a', 1300013)
    else:
        p.refuse('compile with -fdata-sections', **moved)
        p.outcome = 'refused without -fdata-sections'
        p.ask('a', 12012)
    p.finish()


@row('a variable comes to need another alignment')
def alignment(p):
    p.module('''static long count = 5; struct pair { long a, b; }; static struct pair pair = {1, 2}; API unsigned long where(void); API unsigned long where(void) { return (unsigned long)&pair; }
API long act(const char *line) { pair.a += count++ > 0 ? 5 : 0; return pair.a * 100 + pair.b + (line[0] == 'w' ? where() % 4096 * 10000 : 0); }''', 'module')
    p.start()
    p.ask('a', 602)
    if p.need('-fdata-sections', ('static struct pair pair', 'static __attribute__((aligned(4096))) struct pair pair')):
        p.ask('w', 1102)
        p.reload(('pair.b +', 'pair.b * 2 +'))
        p.ask('w', 1604)
        p.rollback()
        p.rollback()
        p.ask('a', 2102)
    p.finish()


@row('the same, with a pointer to it on the heap')
def alignment_held(p):
    p.module('''#include <stdlib.h>
struct pair { long a, b; }; struct pair pair = {1, 2}; struct pair **held;
API long act(const char *line) { if (!held) { held = (struct pair **)malloc(sizeof *held); *held = &pair; } pair.a++; return (*held)->a * 10 + pair.b; }''')
    p.start()
    p.ask('a', 22)
    p.refuse("variable '.*pair.*' needs another alignment than it has, and can not move: .* points to it", ('struct pair pair', 'struct pair pair __attribute__((aligned(4096)))'))
    p.outcome = 'refused'
    p.ask('a', 32)
    p.finish()


@row('a variable that came with a reload comes to need another alignment')
def new_alignment(p):
    p.module('API long act(const char *line) { return line[0]; }')
    p.start()
    p.ask('a', 97)
    p.reload(module='static char first[3], second[24]; API long act(const char *line) { return ++first[0] * 10 + ++second[1]; }')
    p.ask('a', 11)
    text = p.texts['module'].replace('second[24]', 'second[24] __attribute__((aligned(4096)))')
    p.refuse("variable '.*' needs an alignment of 4096 bytes, which it has not since an earlier reload|: variable '.*': [0-9]+ bytes, but [0-9]+ since", module=text)
    p.ask('a', 22)
    p.outcome = 'refused'
    p.finish()

"""Rows about C++."""
from rows import row

CXX = ('c++',)
SHAPES = '''struct Shape { virtual ~Shape() {} virtual long area() const = 0; virtual long scaled(long by) const { return area() * by; } long id = 7; };
Shape *make(long x);
'''


@row('virtual functions of objects that exist', CXX)
def virtual_functions(p):
    p.module(SHAPES + '''struct Square : Shape { long s; Square(long x) : s(x) {} long area() const override { return s * s; } };
Shape *make(long x) { return new Square(x); }''', 'shapes')
    p.module(SHAPES + '''static Shape *kept; API long act(const char *line) { if (!kept) kept = make(3); kept->id++; return kept->area() * 10000 + kept->scaled(2) * 100 + kept->id; }''')
    p.start()
    p.ask('a', 91808)
    p.reload(shapes=p.edited(('s * s', 's * s + 1'), name='shapes'))
    p.ask('a', 102009)
    edited = ('area() * by', 'area() + by')
    p.reload(shapes=p.edited(edited, name='shapes'), module=p.edited(edited, ('id++', 'id += 2')))
    p.ask('a', 101211)
    p.finish()


@row('dynamic_cast and type_info of objects that exist', CXX)
def type_information(p):
    p.module('''#include <typeinfo>
#include <string.h>
struct Base { virtual ~Base() {} virtual long get() { return 1; } }; struct Left : Base { long get() override { return 2; } }; struct Right : Base { long get() override { return 3; } };
static Base *all[2]; API long act(const char *line) { if (!all[0]) all[0] = new Left, all[1] = new Right; Base *one = all[line[0] - '0'];
    return (dynamic_cast<Left *>(one) != 0) * 100 + (typeid(*one) == typeid(Right)) * 10 + one->get(); }''')
    p.start()
    p.ask('0', 102)
    p.ask('1', 13)
    p.reload(('* 100', '* 200'), ('return 3', 'return 5'))
    p.ask('0', 202)
    p.ask('1', 15)
    p.finish()


@row('static locals of inline functions and templates', CXX)
def inline_statics(p):
    text = '''inline long count() { static long calls = 100; return ++calls; } template <class T> T sum(T x) { static T total = 0; return total += x; }
'''
    p.module(text + 'long other() { return count() + sum(1L); }', 'other')
    p.module(text + 'long other(); API long act(const char *line) { return line[0] == \'o\' ? other() : count() * 1000 + sum(1L); }')
    p.start()
    p.ask('a', 101001)
    p.ask('o', 104)
    p.reload(('* 1000', '* 10000'))
    p.ask('a', 1030003)
    p.reload(('total += x', 'total += 2 * x'))
    p.ask('a', 1040005)
    p.finish()


@row('a static local with a constructor, guarded', CXX)
def guarded(p):
    p.module('''#include <string>
static long made; struct Counted { std::string text; Counted() : text("made") { made++; } };
API long act(const char *line) { static Counted one; one.text += line[0]; return made * 1000 + (long)one.text.size(); }''')
    p.start()
    p.ask('a', 1005)
    p.reload(('made * 1000', 'made * 10000'))
    p.ask('a', 10006)
    p.reload(('made * 10000', 'made * 10'))
    p.ask('a', 17)
    p.finish()


@row('containers, strings, lambdas and std::function', CXX)
def containers(p):
    p.module('''#include <functional>
#include <map>
#include <string>
#include <vector>
static std::map<std::string, std::vector<long>> all; static std::function<long(long)> stored;
API long act(const char *line) { all[line].push_back((long)line[0]); if (!stored) stored = [](long x) { return x + 1; }; long sum = 0; for (auto &entry : all) for (long x : entry.second) sum += x; return stored(sum) * 10 + (long)all.size(); }''')
    p.start()
    p.ask('a', 981)
    p.ask('b', 1962)
    if p.need('-ffunction-sections', ('x + 1', 'x + 2'), ('* 10 +', '* 100 +')):
        p.ask('a', 29402)
        p.ask('c', 39303)
    else:
        p.ask('a', 2932)
    p.finish()


@row('an exception of new code, caught in old', CXX)
def thrown_by_new(p):
    p.module('''#include <stdexcept>
long outer(long (*inner)(long), long x) { try { return inner(x) + 1; } catch (const std::runtime_error &e) { return -(long)__builtin_strlen(e.what()); } }''', 'outer')
    p.module('''#include <stdexcept>
long outer(long (*inner)(long), long x); static long calls; long inner(long x) { calls++; if (x > 100) throw std::runtime_error("large"); return x * calls; }
API long act(const char *line) { return outer(inner, line[0]); }''')
    p.start()
    p.ask('a', 98)
    p.ask('z', -5)
    p.reload(('x > 100', 'x < 100'), ('"large"', '"rather small"'))
    p.ask('a', -12)
    p.ask('z', 489)
    p.finish()


@row('an exception of old code, caught in new', CXX)
def thrown_by_old(p):
    p.module('''#include <stdexcept>
long inner(long x) { if (x > 100) throw std::runtime_error("large"); return x; }''', 'inner')
    p.module('''#include <stdexcept>
long inner(long x); static long calls; struct Guard { ~Guard() { calls += 10; } };
API long act(const char *line) { try { Guard guard; return inner(line[0]) + ++calls; } catch (const std::exception &e) { return -calls; } }''')
    p.start()
    p.ask('a', 98)
    p.ask('z', -21)
    p.reload(('return -calls', 'return -calls * 1000 - (long)__builtin_strlen(e.what())'), ('calls += 10', 'calls += 100'))
    p.ask('z', -121005)
    p.ask('a', 219)
    p.finish()


@row('an exception on its way, through an old frame', CXX)
def mid_throw(p):
    p.module('''#include <stdexcept>
static long state; struct Guard { ~Guard() { state++; nest(); state += 10; } };
__attribute__((noinline)) static void thrower(long x) { Guard guard; throw std::runtime_error("on its way"); }
API long act(const char *line) { if (line[0] != 'n') return state; try { thrower(1); } catch (const std::runtime_error &e) { return state * 100 + (long)__builtin_strlen(e.what()); } return 0; }''')
    p.start()
    p.tell('n')
    p.ask('a', 1)
    p.reload(('state++', 'state += 5'), ('return state; try', 'return 1000 * state; try'), ('"on its way"', '"another way"'), ('state * 100', 'state * 10000'))
    p.ask('a', 1000)
    p.tell('back')
    p.wants(1110, 'the old frame catches it')
    p.tell('n')
    p.ask('a', 16000)
    p.tell('back')
    p.wants(260011, 'the new one does')
    p.finish()


@row('an object with a constructor is added: refused', CXX)
def constructed(p):
    p.module('''#include <string>
static std::string name("begin"); API long act(const char *line) { name += line[0]; return (long)name.size(); }''')
    p.start()
    p.ask('a', 6)
    p.reload(('return (long)', 'return 10 * (long)'))
    p.ask('a', 70)
    p.refuse('constructors have run already|initialisers changed, which have run already', ('name("begin")', 'name("begin"), more("more")'), ('10 * (long)name', '100 * (long)more'))
    p.ask('a', 80)
    p.finish()


@row('a virtual function is added to a class of which there are objects', CXX)
def virtual_added(p):
    p.module('''struct Shape { virtual ~Shape() {} virtual long area() const { return 5; } long id = 7; };
static Shape *kept; API long act(const char *line) { if (!kept) kept = new Shape; return kept->area() * 10 + kept->id; }''')
    p.start()
    p.ask('a', 57)
    p.refuse("vtable for Shape: virtual functions came, went or moved", ('{ return 5; }', '{ return 6; } virtual long round() const { return 9; }'), ('kept->area()', 'kept->round()'))
    p.ask('a', 57)
    p.reload(('return 5', 'return 6'))
    p.ask('a', 67)
    p.finish()


@row('virtual functions, lambdas and pointers to members of classes that came with a reload', CXX)
def new_class(p):
    state = 'Shape *kept; long (*made)(long); long (Shape::*member)() const; long (*halved)(long); '
    p.module(SHAPES + state + 'API long act(const char *line) { return made || member || halved || kept ? -2 : -1; }')
    p.start()
    p.ask('a', -1)
    shapes = SHAPES + '''struct Square : Shape { long s; Square(long x) : s(x) {} long area() const override { return s * s; } };
Shape *make(long x) { return new Square(x); }'''
    user = SHAPES + '''#include <typeinfo>
''' + state + '''inline long half(long x) { return x / 2; }
API long act(const char *line) { if (!kept) kept = make(3), made = [](long x) { return x + 1; }, member = &Shape::area, halved = half;
    return kept->area() * 100000 + (kept->*member)() * 1000 + made(4) * 100 + halved(8) * 10 + (halved == half) + (typeid(*kept) == typeid(*make(1))); }'''
    p.reload(module=user, shapes=shapes)
    p.ask('a', 909542)
    shapes = shapes.replace('s * s', 's * s + 1')
    user = user.replace('return x / 2', 'return x / 4').replace('return x + 1', 'return x + 2')
    if p.need('-ffunction-sections', module=user, shapes=shapes):
        p.ask('a', 1010622)
        p.reload(module=user, shapes=shapes.replace('s * s + 1', 's * s + 2'))
        p.ask('a', 1111622)
        p.rollback()
        p.ask('a', 1010622)
    else:
        p.ask('a', 909542)
    p.finish()

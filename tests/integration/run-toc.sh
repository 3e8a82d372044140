#!/bin/bash
# %r15 holds the crate's TOC at every point of TOC code, whatever way control comes there; ELF callers find theirs unchanged.
. "$(dirname "$0")/lib.sh"
step=${STEP_TOC:-step_toc}
source_file lib.c <<'C'
#include <setjmp.h>
#include <stdarg.h>
static int state = 1;
int lib_direct(int x) { return x + state; }
int lib_many(int a, int b, int c, int d, int e, int f, int g, int h, long double i) { return a + b + c + d + e + f + g * 10 + h * 100 + (int)i; }
int lib_sum(int n, ...) { va_list ap; int s = 0; va_start(ap, n); while (n--) s += va_arg(ap, int); va_end(ap); return s + state; }
int lib_fsum(int n, ...) { va_list ap; double s = 0; va_start(ap, n); while (n--) s += va_arg(ap, double); va_end(ap); return (int)s; }
int lib_back(int (*f)(int), int x) { int r = f(x) + state; state ^= 2; return r; }
int lib_tail(int (*f)(int), int x) { return f(x); }
void lib_jump(jmp_buf *to, int v) { longjmp(*to, v); }
int (*lib_pointer(void))(int) { return lib_direct; }
struct big { long a[20]; };
long lib_struct(struct big b, int i) { return b.a[i] + state; }
struct big lib_make(int x) { struct big b = {{x, x + 1}}; return b; }
C
source_file plain.c <<'C'
int plain(int x) { register long keep asm("r15") = 0x1234; asm volatile("" : "+r"(keep)); int r = x * 2; asm volatile("" : "+r"(keep)); return keep == 0x1234 ? r : -1; }
int plain_back(int (*f)(int), int x) { register long keep asm("r15") = 0x4321; asm volatile("" : "+r"(keep)); int r = f(x); asm volatile("" : "+r"(keep)); return keep == 0x4321 ? r : -1000; }
C
source_file elf.s <<'S'
    .globl elf_call
    .type elf_call, @function
elf_call:                       # int elf_call(int (*f)(int), int x): -2000 if f changes %r15
    .cfi_startproc
    push %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    mov $0x77777777, %r15d
    mov %rdi, %rax
    mov %esi, %edi
    call *%rax
    cmp $0x77777777, %r15
    je 1f
    mov $-2000, %eax
1:  pop %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    ret
    .cfi_endproc
    .section .note.GNU-stack, "", @progbits
S
source_file m.cc <<'C'
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <vector>
#include <algorithm>
extern "C" {
struct big { long a[20]; };
int lib_direct(int), lib_many(int, int, int, int, int, int, int, int, long double), lib_sum(int, ...), lib_fsum(int, ...);
int lib_back(int (*)(int), int), lib_tail(int (*)(int), int);
void lib_jump(jmp_buf *, int);
int (*lib_pointer())(int);
long lib_struct(big, int); big lib_make(int);
int plain(int), plain_back(int (*)(int), int), elf_call(int (*)(int), int);
}
struct E { int code; };
static long results[64], *next_result = results;
#define SHOW(x) (void)(*next_result++ = (x))
#ifdef NATIVE
#define MARK
#else
#define MARK asm volatile("int3")
#endif
static int own = 3;
__attribute__((noinline)) static int local(int x) { return x + own; }
__attribute__((noinline)) static int leaves(int x) { return lib_direct(x); }       /* a tail jump out of the crate */
__attribute__((noinline)) static int calls_leaving(int x) { int r = leaves(x); return r + own; }
__attribute__((noinline)) static int thrower(int x) { if (x == 5) throw E{own}; return lib_direct(x) + own; }
__attribute__((noinline)) static int through(int x) { struct G { ~G() { own += lib_direct(0) - 1; } } g; return lib_back(thrower, x); }
static int compare(const void *a, const void *b) { return lib_direct(*(const int *)a) - lib_direct(*(const int *)b) + own - 3; }
static volatile int signals;
static void handler(int) { signals = signals + lib_direct(0); }
static void *thread(void *p) { return (void *)(long)(lib_back(local, (int)(long)p) + plain(own)); }
static jmp_buf here;
static int jumps(int x) { lib_jump(&here, x); return 0; }
int main()
{
    struct sigaction action = {};
    action.sa_handler = handler;
    sigaction(SIGUSR1, &action, nullptr);
    std::vector<int> v{5, 3, 1, 4};
    MARK;
    SHOW(lib_direct(4));
    SHOW(lib_many(1, 2, 3, 4, 5, 6, 7, 8, 9.0L));
    SHOW(lib_sum(9, 1, 2, 3, 4, 5, 6, 7, 8, 9));
    SHOW(lib_fsum(3, 1.5, 2.5, 3.0));
    SHOW(lib_back(local, 1));
    SHOW(lib_back(leaves, 1));
    SHOW(lib_tail(leaves, 1));
    SHOW(lib_tail(calls_leaving, 1));
    SHOW(calls_leaving(1));
    SHOW(lib_pointer()(1));
    int (*volatile pointer)(int) = lib_direct;
    SHOW(pointer(2));
    pointer = leaves;
    SHOW(pointer(2));
    SHOW(plain(21));
    SHOW(plain_back(calls_leaving, 1));
    SHOW(plain_back(lib_direct, 1));
    SHOW(elf_call(calls_leaving, 1));
    SHOW(elf_call(lib_direct, 1));
    SHOW(elf_call(leaves, 1));
    SHOW(lib_struct(lib_make(7), 1));
    int a[] = {3, 1, 2};
    qsort(a, 3, sizeof *a, compare);
    SHOW(a[0] * 100 + a[1] * 10 + a[2]);
    std::sort(v.begin(), v.end(), [](int x, int y) { return lib_direct(x) < lib_direct(y); });
    SHOW(v[0]);
    raise(SIGUSR1);
    SHOW(signals);
    pthread_t t;
    void *result;
    pthread_create(&t, nullptr, thread, (void *)10);
    pthread_join(t, &result);
    SHOW((long)result);
    volatile int value = setjmp(here);
    if (value < 3) elf_call(jumps, value + 1);
    SHOW(value);
    SHOW(local(1));
    volatile int caught = 0;
    try { through(5); } catch (E &e) { caught = e.code + lib_direct(0); }
    SHOW(caught);
    try { elf_call(thrower, 5); } catch (E &e) { caught = 50 + local(0); }
    SHOW(caught);
    try { std::vector<int>().at(1); } catch (std::exception &) { caught = lib_direct(8); }
    SHOW(caught);
    try { try { plain_back(thrower, 5); } catch (E &) { throw; } } catch (E &e) { caught = local(e.code); }
    SHOW(caught);
    MARK;
    for (long *r = results; r < next_result; r++) std::printf("%ld\n", *r);
    return 0;
}
C
$CC -c elf.s
$CC -shared -fPIC -fexceptions -o libelf.so elf.o
$CC -O2 -fPIC -fexceptions -c plain.c
export LD_LIBRARY_PATH=.
$CC -O2 -fPIC -fexceptions -c lib.c
$CXX -O2 -DNATIVE m.cc lib.o plain.o -o native -L. -lelf -pthread && ./native >want
for o in -O0 -O1 -O2; do
    crateld cc $o -fexceptions -c lib.c
    crateld c++ $o -c m.cc
    crateld link -o lib.crate lib.o plain.o
    crateld link -o m.crate m.o lib.crate -L. -lelf -lstdc++ -lpthread
    for mode in "" --aslr --bind-now; do
        status 0 "$step" "$(command -v crateld)" run $mode m.crate
        has out "in 2 crates, 0 violations"
        grep -v violations out | diff - want || fail "results differ $o $mode"
    done
done

#include <alloca.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct big {
    long x[100];
};
struct __attribute__((aligned(64))) al {
    char c[64];
};
__attribute__((noinline)) int use(int a)
{
    static volatile int s;
    s += a;
    return a * 2 + 1;
}
void cl(int *p)
{
    printf("cleanup %d\n", *p);
}
__attribute__((noinline)) int cleanup(int a)
{
    __attribute__((cleanup(cl))) int x = a;
    return use(a) + 1;
}
void *buf[5];
__attribute__((noinline)) void blj(void)
{
    use(1);
    __builtin_longjmp(buf, 1);
}
__attribute__((noinline)) int bsj(void)
{
    if (__builtin_setjmp(buf))
        return use(1);
    use(2);
    blj();
    return 0;
}
__attribute__((noinline)) void ext(int (*f)(int), int v)
{
    printf("ext %d\n", f(v));
}
__attribute__((noinline)) int nested(int a)
{
    __label__ out;
    int r = a;
    int in(int b)
    {
        if (b > 5)
            goto out;
        return a + b + use(b);
    }
    int q(int c)
    {
        return in(c) + use(c);
    }
    ext(q, 2);
    ext(q, a);
    r = q(a);
    return r;
out:
    return use(-1) + r;
}
__attribute__((noinline)) int cg(int i)
{
    static void *t[] = {&&a, &&b};
    goto *t[i];
a:
    return use(1) + 1;
b:
    return use(2) + 2;
}
int sw(int i)
{
    switch (i) {
    case 0:
        return use(3) + 2;
    case 1:
        return use(9) + 1;
    case 2:
        return use(8) + 3;
    case 3:
        return use(7) + 4;
    case 4:
        return 5;
    case 5:
        return use(1) + use(2);
    }
    return 0;
}
static int loc(int a)
{
    return use(a) * 2;
}
int (*getloc(void))(int)
{
    return loc;
}
int (*fp)(int) = use;
__attribute__((noinline)) int tail(int a)
{
    return fp(a);
}
__attribute__((noinline)) long bigarg(struct big b, int i)
{
    char c[30000];
    memset(c, i, sizeof c);
    asm volatile("" ::"r"(c) : "memory");
    return b.x[i] + c[i];
}
__attribute__((noinline)) int alarg(int a, int b, int c, int d, int e, int f, int g, struct al s)
{
    return ((unsigned long)&s % 64 == 0) + s.c[3] + g;
}
__attribute__((noinline)) int vs(const char *f, ...)
{
    va_list l;
    va_start(l, f);
    char c[500];
    vsnprintf(c, sizeof c, f, l);
    va_end(l);
    printf("%s\n", c);
    return use(strlen(c));
}
__attribute__((noinline)) double vd(int n, struct big b, ...)
{
    va_list l;
    va_start(l, b);
    double s = b.x[2];
    for (int i = 0; i < n; i++)
        s += i % 2 ? va_arg(l, int) : va_arg(l, double);
    va_end(l);
    return s;
}
__attribute__((noinline)) int all(int n)
{
    char *c = alloca(n);
    memset(c, n, n);
    asm volatile("" ::"r"(c) : "memory");
    return c[n / 2];
}
__attribute__((noinline)) int vla(int n)
{
    int c[n];
    for (int i = 0; i < n; i++)
        c[i] = use(i);
    return c[n - 1];
}
__attribute__((no_split_stack, noinline)) int nss(int a)
{
    return use(a) + 1;
}
__attribute__((section("mixed"), noinline)) int m1(int a)
{
    return use(a) + 1;
}
__attribute__((section("mixed"), noinline, no_split_stack)) int m2(int a)
{
    switch (a) {
    case 0:
        return use(3) + 2;
    case 1:
        return use(9) + 1;
    case 2:
        return use(8) + 3;
    case 3:
        return use(7) + 4;
    case 4:
        return 5;
    case 5:
        return use(1) + use(2);
    }
    return m1(a) + use(a) + 1;
}
__attribute__((section("mixed"), noinline)) int m3(int a)
{
    return m2(a) + m1(a) + 1;
}
jmp_buf jb;
__attribute__((noinline)) void lj(int d)
{
    if (d == 0)
        longjmp(jb, 5);
    lj(d - 1);
    use(d);
}
__attribute__((noinline)) int sj(void)
{
    int r = setjmp(jb);
    if (r)
        return use(r);
    lj(5);
    return use(2) + 1;
}
static int self(int a)
{
    if (a > 100)
        return a;
    int (*volatile p)(int) = self;
    return p(a + 30) + 1;
}
static int cmp(const void *a, const void *b)
{
    return use(*(int *)a) - use(*(int *)b);
}
static void *th(void *x)
{
    return (void *)(long)(use((long)x) + sj());
}
static volatile int sg;
static void h(int s)
{
    sg += use(s);
}
__thread int tl = 3;
int asmt(int a)
{
    asm volatile("call use" : "+D"(a)::"rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
    return a;
}
static int ifr(int x)
{
    return x + 7;
}
static void *ifr_r(void)
{
    return ifr;
}
__attribute__((ifunc("ifr_r"))) int ifn(int);
int main(void)
{
    struct big b;
    for (int i = 0; i < 100; i++)
        b.x[i] = i * i;
    struct al s;
    memset(&s, 4, sizeof s);
    printf("%d %d %d %d %d\n", cleanup(3), bsj(), nested(3), nested(7), cg(0) + cg(1));
    for (int i = 0; i < 7; i++)
        printf("%d ", sw(i));
    printf("%d %d %ld %d %d\n", getloc()(3), tail(4), bigarg(b, 7), alarg(1, 2, 3, 4, 5, 6, 7, s), all(100) + vla(50));
    printf("%d %g %d %d %d %d\n", vs("%d %s %g %d %d %d %d %d", 1, "two", 3.0, 4, 5, 6, 7, 8),
           vd(12, b, 1., 2, 3., 4, 5., 6, 7., 8, 9., 10, 11., 12), nss(3), m3(2) + m2(9), sj(), self(1));
    int a[100];
    for (int i = 0; i < 100; i++)
        a[i] = (i * 37) % 101;
    qsort(a, 100, 4, cmp);
    printf("%d %d\n", a[0], a[99]);
    pthread_t t;
    void *r;
    pthread_create(&t, 0, th, (void *)9);
    pthread_join(t, &r);
    printf("%ld\n", (long)r);
    signal(SIGUSR1, h);
    raise(SIGUSR1);
    printf("%d %d %d\n", sg, tl, ifn(3));
    return 0;
}

/* Calls of functions that lie in another crate or shared library (bench_call_callees.c). */
#include "loops.h"

#define LOOP(n)                                                                                                        \
    long callee##n(long x);                                                                                            \
    __attribute__((noinline)) static long loop##n(long calls)                                                          \
    {                                                                                                                  \
        long x = 0;                                                                                                    \
        while (calls--)                                                                                                \
            x = callee##n(x);                                                                                          \
        return x;                                                                                                      \
    }                                                                                                                  \
    _Static_assert(n >= 0, "a semicolon comes next")

LOOP(0);
LOOP(1);
LOOP(2);
LOOP(3);
LOOP(4);
LOOP(5);
LOOP(6);
LOOP(7);

int main(void)
{
    static long (*const loops[])(long) = {loop0, loop1, loop2, loop3, loop4, loop5, loop6, loop7};
    loops_report(loops, sizeof loops / sizeof *loops);
    return 0;
}

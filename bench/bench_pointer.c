/* Calls of the program's own functions through pointers that the compiler can not see through. */
#include "loops.h"

#define LOOP(n)                                                                                                        \
    __attribute__((noinline)) static long callee##n(long x)                                                            \
    {                                                                                                                  \
        return x + n + 1;                                                                                              \
    }                                                                                                                  \
    static long (*volatile pointer##n)(long) = callee##n;                                                              \
    __attribute__((noinline)) static long loop##n(long calls)                                                          \
    {                                                                                                                  \
        long (*callee)(long) = pointer##n;                                                                             \
        long x = 0;                                                                                                    \
        while (calls--)                                                                                                \
            x = callee(x);                                                                                             \
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

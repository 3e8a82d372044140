/* What bench_call.c calls: as little as a function can do. */
#define CALLEE(n)                                                                                                      \
    long callee##n(long x);                                                                                            \
    long callee##n(long x)                                                                                             \
    {                                                                                                                  \
        return x + n + 1;                                                                                              \
    }

CALLEE(0) CALLEE(1) CALLEE(2) CALLEE(3) CALLEE(4) CALLEE(5) CALLEE(6) CALLEE(7)

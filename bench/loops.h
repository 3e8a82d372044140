/* Timing of call loops: each is run many times over, and the shortest time counts, which is the one that
 * nobody disturbed. Several loops of one kind lie at different addresses, as do the functions and stubs that
 * they call: what the alignment of one does must not pass for what a call costs. */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include <stdio.h>
#include <time.h>

enum { LOOP_CALLS = 100000, LOOP_REPEATS = 20 };

static inline double clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Prints ns a call for each of `count` loops, which make as many calls as they are told. */
static inline void loops_report(long (*const loops[])(long), int count)
{
    for (int i = 0; i < count; i++) {
        double best = 0;
        for (int k = 0; k < LOOP_REPEATS; k++) {
            double start = clock_ns();
            loops[i](LOOP_CALLS);
            double took = clock_ns() - start;
            if (!k || took < best)
                best = took;
        }
        printf("%.4f%c", best / LOOP_CALLS, i + 1 < count ? ' ' : '\n');
    }
}

#endif

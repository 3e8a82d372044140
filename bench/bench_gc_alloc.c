/* Inline allocation of objects that die at once, header and valid-object bit included, against a pair of malloc and
 * free of as many bytes. Prints the CPU nanoseconds of both for an object, the shortest of some rounds, in turns.
 *     bench_gc_alloc SIZE    bytes of memory an object takes, header included: 16 or 32 */
#include "bench_gc.h"

enum { OBJECTS = 10000000, ROUNDS = 10 };

static void *volatile sink;

#define TIME(best, expression)                                                                                         \
    do {                                                                                                               \
        double start = cpu_ms();                                                                                       \
        for (long i = 0; i < OBJECTS; i++) {                                                                           \
            void *object = (expression);                                                                               \
            sink = object;                                                                                             \
        }                                                                                                              \
        double took = cpu_ms() - start;                                                                                \
        if (!(best) || took < (best))                                                                                  \
            (best) = took;                                                                                             \
    } while (0)

static inline __attribute__((always_inline)) void run(size_t size)
{
    double ours = 0, peer = 0;
    for (int round = 0; round < ROUNDS; round++) {
        TIME(ours, crateld_gc_alloc(mutator, leaf_number, size - CRATELD_GC_WORD));
        double start = cpu_ms();
        for (long i = 0; i < OBJECTS; i++) {
            void *object = malloc(size);
            sink = object;
            free(object);
        }
        double took = cpu_ms() - start;
        if (!peer || took < peer)
            peer = took;
    }
    printf("%.4f %.4f\n", ours * 1e6 / OBJECTS, peer * 1e6 / OBJECTS);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    start_heap();
    if (atoi(argv[1]) == 16)
        run(16);
    else
        run(32);
    return 0;
}

/* Prints the CPU microseconds from nothing to the first object of a heap. */
#include "bench_gc.h"

struct object {
    void *words[3];
};

int main(void)
{
    double start = cpu_ms();
    start_heap();
    struct object *object = new_object();
    double took = cpu_ms() - start;
    printf("%.2f\n", took * 1e3);
    return object == NULL;
}

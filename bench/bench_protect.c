/* What one change of a page's protection costs in a process of several threads that run: the median, in milliseconds.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { THREADS = 8, ROUNDS = 400, PAGE = 4096 };

static volatile int sink;

static void *run(void *unused)
{
    for (;;)
        sink++;
    return unused;
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    static double took[ROUNDS];
    pthread_t thread;
    char *pages = mmap(NULL, ROUNDS * (size_t)PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return EXIT_FAILURE;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread, NULL, run, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        pages[i * (size_t)PAGE] = 1;
        double start = milliseconds();
        if (mprotect(pages + i * (size_t)PAGE, PAGE, PROT_READ) != 0)
            return EXIT_FAILURE;
        took[i] = milliseconds() - start;
    }
    qsort(took, ROUNDS, sizeof *took, compare);
    printf("%.6f\n", took[ROUNDS / 2]);
    return EXIT_SUCCESS;
}

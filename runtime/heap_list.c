#define _GNU_SOURCE /* recursive mutexes */
#include "runtime/heap_list.h"

#include <pthread.h>

#include "runtime/heap.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* before any heap's own */
static struct crateld_gc_heap *heaps;                    /* guarded by `lock` */

static void lock_all(void)
{
    pthread_mutex_lock(&lock);
    for (struct crateld_gc_heap *heap = heaps; heap; heap = heap->next)
        pthread_mutex_lock(&heap->lock);
}

static void unlock_all(void)
{
    for (struct crateld_gc_heap *heap = heaps; heap; heap = heap->next)
        pthread_mutex_unlock(&heap->lock);
    pthread_mutex_unlock(&lock);
}

/* The thread has another number there, so it could not unlock what it has locked. */
static void renew_all(void)
{
    for (struct crateld_gc_heap *heap = heaps; heap; heap = heap->next)
        heap->lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void prepare_for_forks(void)
{
    pthread_atfork(lock_all, unlock_all, renew_all);
}

void heap_list_add(struct crateld_gc_heap *heap)
{
    pthread_once(&once, prepare_for_forks);
    pthread_mutex_lock(&lock);
    heap->next = heaps;
    heap->previous_next = &heaps;
    if (heaps)
        heaps->previous_next = &heap->next;
    heaps = heap;
    pthread_mutex_unlock(&lock);
}

void heap_list_remove(struct crateld_gc_heap *heap)
{
    pthread_mutex_lock(&lock);
    *heap->previous_next = heap->next;
    if (heap->next)
        heap->next->previous_next = heap->previous_next;
    pthread_mutex_unlock(&lock);
}

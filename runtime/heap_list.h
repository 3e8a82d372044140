/* All heaps of this OS process, so that none is locked in a child that another thread forks. */
#ifndef RUNTIME_HEAP_LIST_H
#define RUNTIME_HEAP_LIST_H

struct crateld_gc_heap;

/* Enters a heap, whose lock is initialised; and takes it out. For any thread. */
void heap_list_add(struct crateld_gc_heap *heap);
void heap_list_remove(struct crateld_gc_heap *heap);

#endif

/* The collected heap of this OS process, as far as crates have to do with it: their types, their roots, their TOCs.
 *
 * The heap is made by the ELF library libcrateld-gc, which is opened when the first crate that has types of collected
 * objects, or asks for the shared heap, is activated: a process without pays nothing. From then on the data of every
 * active crate are roots. All functions but heap_add_block() are called under the process's lock. */
#ifndef LOADER_HEAP_H
#define LOADER_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "loader/loaded.h"
#include "loader/process.h"

/* The library's name. */
bool heap_is_library(const char *soname);

/* Opens the heap if a crate of the process uses it: the calling thread becomes its owner. Errors: those of
 * elf_library_open() and crateld_gc_shared_heap(). */
MUST_CHECK struct crateld_error *heap_open(struct process *process);

/* A crate is about to become active: makes its types known, its data roots, and fills its TOC, if there is a heap or is
 * to be one for it. Errors: as heap_open(); FORMAT for types that make no sense, UNSUPPORTED for a heap that moves
 * objects, MEMORY. */
MUST_CHECK struct crateld_error *heap_enter(struct loaded_crate *crate);

/* Whether bytes of the crate's data say what a type of collected objects looks like. */
bool heap_is_type(const struct loaded_crate *crate, uint32_t rva, uint32_t size);

/* Its data are roots no more. */
void heap_leave(struct loaded_crate *crate);

/* The calling thread has got a block of thread-locals: roots, if the heap is its. Error: MEMORY. For any thread. */
MUST_CHECK struct crateld_error *heap_add_block(void *block, size_t size);

#endif

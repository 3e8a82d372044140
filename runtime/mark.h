/* Marking objects in place, and the lines that they touch: for plans that do not move. */
#ifndef RUNTIME_MARK_H
#define RUNTIME_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/ref.h"

struct crateld_gc_heap;

/* Computes what marking wants to have at hand. */
void gc_mark_init(struct crateld_gc_heap *heap);

/* See struct gc_plan. */
struct gc_ref gc_mark_trace(struct crateld_gc_heap *heap, struct gc_ref ref);
void gc_mark_drain(struct crateld_gc_heap *heap);
bool gc_mark_is_marked(const struct crateld_gc_heap *heap, struct gc_ref ref);
struct gc_ref gc_mark_current(const struct crateld_gc_heap *heap, struct gc_ref ref);

/* Takes the VO bits of a block's dead objects, and all its mark bits. */
void gc_mark_sweep(struct crateld_gc_heap *heap, uint32_t block);

#endif

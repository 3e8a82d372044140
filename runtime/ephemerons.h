/* Ephemerons that a collection has come by: their values live as long as their keys do.
 *
 * Most keys are found in the first rounds over all that wait. Where values lead to further keys, and those to further
 * values, rounds would be as many as such a chain is long: after a few, those that wait are entered into a table by
 * their keys, and each reference that is traced is looked up there. So the time is in proportion to what lives.
 */
#ifndef RUNTIME_EPHEMERONS_H
#define RUNTIME_EPHEMERONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/vec.h"
#include "runtime/ref.h"

struct crateld_gc_heap;

struct gc_ephemeron {
    struct gc_edge key, value;
    size_t next; /* 1 + the number of the next in its list of the table, or of those that are ready; 0: none */
};

struct gc_ephemerons {
    VEC(struct gc_ephemeron) waiting; /* their keys are not kept, as far as is known */
    size_t *lists;                    /* owned; NULL: there is no table. For each hash, a list */
    size_t list_count;                /* a power of two */
    size_t ready;                     /* a list: their keys have been found */
};

void gc_ephemerons_deinit(struct gc_ephemerons *ephemerons);

/* Enters one whose key is not null; false without memory. */
bool gc_ephemerons_add(struct crateld_gc_heap *heap, struct gc_edge key, struct gc_edge value);

/* While there is a table: `ref` is about to be kept. */
void gc_ephemerons_found(struct gc_ephemerons *ephemerons, struct gc_ref ref);

/* Keeps the values of those whose keys are kept, and what that leads to; those that still wait afterwards have dead
 * keys. */
void gc_ephemerons_trace(struct crateld_gc_heap *heap);

/* Makes keys and values of those that wait null, and forgets them. */
void gc_ephemerons_clear(struct gc_ephemerons *ephemerons);

#endif

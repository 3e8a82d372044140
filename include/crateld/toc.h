/* crateld: the TOC as running code and debuggers see it. docs/abi.md §2.
 *
 * Fixed fields first, at the same offset in every crate; behind them the arrays, whose places follow from their
 * capacities alone: see toc_shape_for_crate() in toc/shape.h.
 */
#ifndef CRATELD_TOC_H
#define CRATELD_TOC_H

#include <stdint.h>

#define CRATELD_TOC_MAGIC UINT64_C(0x00434f5465746172) /* "rateTOC\0" */

struct crateld_function {
    uint64_t entry; /* where to jump */
    uint64_t toc;   /* the TOC that the callee wants in its register; any value if it wants none */
};

/* What crates call in the program that runs them; more may follow. */
struct crateld_builtins {
    uint64_t size;                          /* bytes of this that there are */
    void *(*safe_point)(const void *frame); /* see crateld/safe_point.h */
};

struct crateld_toc {
    uint64_t magic;
    uint64_t context;      /* the OS process's runtime context: current proc, its stack, its allocator */
    uint64_t builtins;     /* address of struct crateld_builtins */
    uint64_t resolver;     /* the lazy binder's entry */
    uint64_t epoch;        /* address of the counter that asks long-running code to yield */
    uint64_t gc_heap_base; /* the collected heap's reserved range */
    uint64_t gc_heap_bound;
    uint64_t gc_heap_data; /* the collector's own pointer */
    uint64_t type_ids;     /* address of the map from this crate's type index to the runtime's type id; 0: no types */
    uint64_t crate;        /* the loader's record of this crate */
    uint64_t users;        /* the crates that use this one: informed when it is reloaded */
    uint64_t chain;        /* continuation of the arrays, when a reload outgrew them; 0: none */
    /* struct crateld_function imported_functions[]; uint64_t imported_globals[];
       struct crateld_function func_refs[]; uint32_t type_id_map[]; */
};

#endif

/* The layout of one crate's TOC, computed from counts alone. Nobody else knows an offset. */
#ifndef TOC_SHAPE_H
#define TOC_SHAPE_H

#include "base/error.h"
#include "crateld/toc.h"

/* Capacities of the arrays, in elements. */
struct toc_counts {
    uint32_t imported_functions;
    uint32_t imported_globals;
    uint32_t func_refs;
    uint32_t type_ids;
};

/* Byte offsets from the TOC's start, and its size in bytes (a multiple of 8). */
struct toc_shape {
    uint32_t imported_functions; /* struct crateld_function[] */
    uint32_t imported_globals;   /* uint64_t[] */
    uint32_t func_refs;          /* struct crateld_function[] */
    uint32_t type_ids;           /* uint32_t[] */
    uint32_t size;
};

/* Sets *ret to the shape for `counts`. Error: RANGE, when the TOC would not fit 31-bit offsets. */
MUST_CHECK struct crateld_error *toc_shape_for_crate(const struct toc_counts *counts, struct toc_shape *ret);

/* Offset of the i-th element of each array; `i` is below its count. */
static inline uint32_t toc_imported_function_off(const struct toc_shape *shape, uint32_t i)
{
    return shape->imported_functions + i * (uint32_t)sizeof(struct crateld_function);
}

static inline uint32_t toc_imported_global_off(const struct toc_shape *shape, uint32_t i)
{
    return shape->imported_globals + i * (uint32_t)sizeof(uint64_t);
}

static inline uint32_t toc_func_ref_off(const struct toc_shape *shape, uint32_t i)
{
    return shape->func_refs + i * (uint32_t)sizeof(struct crateld_function);
}

#endif

#include "toc/shape.h"

#include <limits.h>

/* Places an array of `count` elements at *end and moves *end behind it. The sum can not overflow: each count is
 * below 2^32 and each element at most 16 bytes. */
static uint64_t place_array(uint64_t *end, uint32_t count, uint32_t element_size, uint32_t align)
{
    uint64_t begin = (*end + align - 1) & ~(uint64_t)(align - 1);
    *end = begin + (uint64_t)count * element_size;
    return begin;
}

struct crateld_error *toc_shape_for_crate(const struct toc_counts *counts, struct toc_shape *ret)
{
    uint64_t end = sizeof(struct crateld_toc);
    uint64_t functions = place_array(&end, counts->imported_functions, sizeof(struct crateld_function), 16);
    uint64_t globals = place_array(&end, counts->imported_globals, sizeof(uint64_t), 8);
    uint64_t refs = place_array(&end, counts->func_refs, sizeof(struct crateld_function), 16);
    uint64_t types = place_array(&end, counts->type_ids, sizeof(uint32_t), 8);
    end = (end + 7) & ~UINT64_C(7);
    if (end > INT_MAX)
        return error_create(CRATELD_ERROR_RANGE,
                            "TOC of %u imported functions, %u imported globals, %u function references and "
                            "%u type ids takes %llu bytes, more than 31-bit offsets reach",
                            counts->imported_functions, counts->imported_globals, counts->func_refs, counts->type_ids,
                            (unsigned long long)end);
    *ret = (struct toc_shape){
        .imported_functions = (uint32_t)functions,
        .imported_globals = (uint32_t)globals,
        .func_refs = (uint32_t)refs,
        .type_ids = (uint32_t)types,
        .size = (uint32_t)end,
    };
    return NULL;
}

/* The runtime's own object model: a header of a word, in front of what the reference points to.
 *
 *     bits 0-1  forwarding bits (then bits 3-63 are the forwarding pointer)
 *     bits 2-3  large object's mark and nursery
 *     bit 4     pinning bit
 *     bit 5     log bit
 *     bit 6     this is padding: the real header is the next word (objects that are aligned to more than a word).
 *               Then bits 8-15 are the logarithm of the alignment, bits 32-63 the offset of what is aligned
 *     bits 8-31 type
 *     bits 32-63 size in granules, header and padding included
 *
 * The mark bit is beside the heap. References are a word behind the start, or two if there is padding: so start =
 * (reference - 8) rounded down to the granule.
 */
#ifndef RUNTIME_OWN_MODEL_H
#define RUNTIME_OWN_MODEL_H

#include "base/vec.h"
#include "crateld/gc.h"
#include "runtime/object_model.h"

enum {
    OWN_PADDING_BIT = 6,
    OWN_PADDING_ALIGN_SHIFT = 8,
    OWN_PADDING_OFF_SHIFT = 32,
    OWN_TYPE_SHIFT = 8,
    OWN_SIZE_SHIFT = 32,
    OWN_TYPES_MAX = 1 << 24,
    OWN_MAP_WORDS = 64,
};

/* A type as marking reads it: half a cache line. */
struct own_type {
    uint64_t map;                              /* bit i: word i is a reference; of the first 64 words */
    uint32_t tail;                             /* arrays: the first word of the elements; else UINT32_MAX */
    uint8_t kind;                              /* enum crateld_gc_kind */
    bool has_more;                             /* there are pointers beyond the map */
    const struct crateld_gc_type *description; /* owned: a copy, since objects may outlive the crate that described
                                                  them */
};

struct own_model {
    struct object_model base; /* first */
    VEC(struct own_type) types;
};

void own_model_init(struct own_model *model);
void own_model_deinit(struct own_model *model);
/* See crateld_gc_type_add(). The search for an equal type takes time in proportion to how many there are. */
MUST_CHECK struct crateld_error *own_model_add(struct own_model *model, const struct crateld_gc_type *type,
                                               uint32_t *ret);

static inline uint64_t *own_header(struct gc_ref ref)
{
    return (uint64_t *)(ref.address - CRATELD_GC_WORD);
}

static inline uint32_t own_type_of(uint64_t header)
{
    return (uint32_t)(header >> OWN_TYPE_SHIFT) & (OWN_TYPES_MAX - 1);
}

static inline size_t own_total_size(uint64_t header)
{
    return (size_t)(header >> OWN_SIZE_SHIFT) * CRATELD_GC_GRANULE;
}

/* The word of padding in front of an object of which the byte at `align_off` is aligned to `align`. */
static inline uint64_t own_padding(size_t align, size_t align_off)
{
    return UINT64_C(1) << OWN_PADDING_BIT | (uint64_t)__builtin_ctzll(align) << OWN_PADDING_ALIGN_SHIFT |
           (uint64_t)align_off << OWN_PADDING_OFF_SHIFT;
}

static inline uintptr_t own_start(struct gc_ref ref)
{
    return (ref.address - CRATELD_GC_WORD) & ~(uintptr_t)(CRATELD_GC_GRANULE - 1);
}

#endif

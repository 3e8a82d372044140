/* Side metadata: bits beside the heap that say something about each region of it (an object's granule, a line, a
 * block).
 *
 * A spec says how many bits there are for how many bytes. Specs are laid out one behind the other, each as large as the
 * whole data range wants: first the global ones, which every space has, from offset 0; then the local ones, whose
 * meaning is the space's own. Offsets are relative and follow from the specs alone, so they are known when the program
 * is compiled; the base is known at run time, and written once. In the order that has to be kept:
 *
 *     side_layout_init()         the core's specs, fixed by the caller
 *     side_layout_add()          the embedder's specs; each starts at its upper bound so far
 *     side_layout_seal()         checks all pairs for overlap; after this the sizes are final
 *     side_metadata_reserve()    one inaccessible mapping for all of it; after this addresses may be asked for
 *     side_metadata_map()        makes what describes a chunk of data accessible
 *
 * Two layouts come from this: one whose data range is the 47-bit address space from 0, and the usual one, whose data
 * range is the heap's own reservation, so that little is reserved.
 *
 * Layouts and mapping are not thread-safe. Plain field accesses and bulk operations race with others on the same byte;
 * atomic ones do not.
 */
#ifndef RUNTIME_SIDE_METADATA_H
#define RUNTIME_SIDE_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/bits.h"

enum {
    SIDE_PAGE_SIZE = 4096,
    SIDE_CHUNK_LOG = 22, /* data is mapped, and its metadata with it, by 4 MiB */
    SIDE_SPECS_MAX = 32,
};

struct side_spec {
    const char *name; /* borrowed, static */
    bool is_global;
    uint8_t log_bits;   /* 0 to 6: a field of 1 to 64 bits */
    uint8_t log_region; /* a field for each 2^log_region bytes of data */
    uint64_t off;       /* from the base */
};

/* The bytes that a spec takes for a data range of 2^log_range bytes. Constant where its arguments are. */
#define SIDE_SPEC_SIZE(log_range, log_bits, log_region)                                                                \
    ((int)(log_range) - (log_region) + (log_bits) < 3 ? UINT64_C(1)                                                    \
                                                      : UINT64_C(1) << ((log_range) - (log_region) + (log_bits)-3))

struct side_layout {
    uintptr_t data_start; /* the lowest address that there is metadata for */
    uint8_t log_range;    /* there is for 2^log_range bytes from there */
    bool is_sealed;
    struct side_spec specs[SIDE_SPECS_MAX];
    size_t spec_count;
    uint64_t global_core_end; /* where the embedder's global specs may start */
    uint64_t
        local_start; /* where the core's local specs start: the upper bound of all global ones, known when sealed */
    uint64_t local_core_end; /* where the embedder's local specs may start */
    uint64_t total_size;     /* when sealed: the upper bound of all */
};

/* A layout of the `count` core specs as they are, with their offsets. Errors: USAGE for a field or region that can not
 * be; RANGE for more than SIDE_SPECS_MAX. */
MUST_CHECK struct crateld_error *side_layout_init(struct side_layout *layout, uintptr_t data_start, unsigned log_range,
                                                  const struct side_spec *core, size_t count);

/* Appends an embedder's spec behind all of its kind; *ret is it, with its offset: of global ones at once. A local one's
 * is final only if all global ones have been added before (else USAGE, as after sealing). */
MUST_CHECK struct crateld_error *side_layout_add(struct side_layout *layout, const struct side_spec *spec,
                                                 struct side_spec *ret);

/* Checks that no two specs overlap, global with local included, and fixes the sizes. Error MISMATCH names both. */
MUST_CHECK struct crateld_error *side_layout_seal(struct side_layout *layout);

/* All specs: "local base" is where the first local one may start. */
uint64_t side_layout_local_base(const struct side_layout *layout);
/* Bytes of all specs; and rounded up to pages, which is what is reserved. Only of a sealed layout. */
uint64_t side_layout_total_size(const struct side_layout *layout);
uint64_t side_layout_reserved_size(const struct side_layout *layout);

struct side_metadata {
    const struct side_layout *layout; /* borrowed, until deinit */
    uintptr_t base;                   /* 0: not reserved */
    uint64_t reserved_size;
};

/* Reserves the whole of a sealed layout, inaccessible, anywhere (`wanted_base` NULL) or exactly there. Errors: USAGE
 * for a layout that is not sealed or a base that is set already; MISMATCH if something else is mapped at `wanted_base`
 * (it is left alone, and named); MEMORY. */
MUST_CHECK struct crateld_error *side_metadata_reserve(struct side_metadata *metadata, const struct side_layout *layout,
                                                       void *wanted_base);

/* Unmaps it. */
void side_metadata_deinit(struct side_metadata *metadata);

/* Makes the metadata of all specs for [data, data + size) accessible, and zero if it is new: whole pages, no others.
 * Error MEMORY or RANGE; what has been made accessible before an error stays so. */
MUST_CHECK struct crateld_error *side_metadata_map(const struct side_metadata *metadata, uintptr_t data, size_t size);

/* Gives the memory behind that back; it stays accessible, and is zero. `data` and `size` are multiples of the chunk;
 * pages that also describe other data are cleared instead. */
void side_metadata_unback(const struct side_metadata *metadata, uintptr_t data, size_t size);

/* Bytes of metadata that `data_size` bytes of data have, all specs together. */
uint64_t side_layout_size_for(const struct side_layout *layout, uint64_t data_size);

/* The bit, from the base on, where the field of `data` starts. */
static inline uint64_t side_bit_of(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data)
{
    return spec->off * 8 + (((uint64_t)(data - metadata->layout->data_start) >> spec->log_region) << spec->log_bits);
}

/* The address of the byte that holds the field of `data`, or in which it starts. */
static inline void *side_address(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data)
{
    return (void *)(metadata->base + side_bit_of(metadata, spec, data) / 8);
}

/* For fields below a byte: how far the field of `data` is shifted in its byte, and the mask of its bits there. */
static inline unsigned side_shift(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data)
{
    return (unsigned)(side_bit_of(metadata, spec, data) % 8);
}

static inline uint8_t side_mask(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data)
{
    return (uint8_t)(((1u << (1u << spec->log_bits)) - 1) << side_shift(metadata, spec, data));
}

/* The first data address whose field lies in the byte at `address`, and the field at bit `shift` of it: side_address()
 * turned round. */
static inline uintptr_t side_data_of(const struct side_metadata *metadata, const struct side_spec *spec,
                                     const void *address, unsigned shift)
{
    uint64_t bit = ((uint64_t)((uintptr_t)address - metadata->base) - spec->off) * 8 + shift;
    return metadata->layout->data_start + (uintptr_t)(bit >> spec->log_bits << spec->log_region);
}

/* Where the valid-object bits, the first global spec, start. */
static inline uintptr_t side_vo_bit_address(const struct side_metadata *metadata)
{
    return metadata->base;
}

/* The field of `data`, as runtime/bits.h reads and changes it. */
static inline struct bit_field side_field(const struct side_metadata *metadata, const struct side_spec *spec,
                                          uintptr_t data)
{
    return (struct bit_field){side_address(metadata, spec, data),
                              (uint8_t)(spec->log_bits < 3 ? side_shift(metadata, spec, data) : 0), spec->log_bits};
}

/* All fields of [data, data + size), which covers whole regions. */
static inline struct bit_range side_range(const struct side_metadata *metadata, const struct side_spec *spec,
                                          uintptr_t data, size_t size)
{
    return (struct bit_range){(uint8_t *)metadata->base, side_bit_of(metadata, spec, data),
                              side_bit_of(metadata, spec, data + size)};
}

/* The lowest address of the region nearest to `data` and not above it, down to `limit`, whose field is not zero; 0 if
 * there is none. The simple way looks at each field, the fast one at words. The regions of both are mapped, and all
 * between. */
uintptr_t side_find_previous_simple(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                                    uintptr_t limit);
uintptr_t side_find_previous(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                             uintptr_t limit);
/* Likewise upwards, from `data`'s region on, below `limit`. */
uintptr_t side_find_next_simple(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                                uintptr_t limit);
uintptr_t side_find_next(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                         uintptr_t limit);

#endif

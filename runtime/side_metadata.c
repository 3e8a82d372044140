#include "runtime/side_metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/* Bytes of `spec` in `layout`. */
static uint64_t spec_size(const struct side_layout *layout, const struct side_spec *spec)
{
    return SIDE_SPEC_SIZE(layout->log_range, spec->log_bits, spec->log_region);
}

static struct crateld_error *check_spec(const struct side_layout *layout, const struct side_spec *spec)
{
    if (layout->is_sealed)
        return error_create(CRATELD_ERROR_USAGE, "side metadata: '%s' comes after the layout was sealed", spec->name);
    if (layout->spec_count == SIDE_SPECS_MAX)
        return error_create(CRATELD_ERROR_RANGE, "side metadata: '%s' is one spec too many, there is room for %d",
                            spec->name, SIDE_SPECS_MAX);
    if (spec->log_bits > 6 || spec->log_region > layout->log_range || spec->log_region < 1)
        return error_create(CRATELD_ERROR_USAGE,
                            "side metadata: '%s' wants 2^%d bits for 2^%d bytes; wanted up to 2^6 for 2^1 to 2^%d",
                            spec->name, spec->log_bits, spec->log_region, layout->log_range);
    return NULL;
}

/* Adds the spec and raises the upper bound of its kind. */
static void enter(struct side_layout *layout, const struct side_spec *spec)
{
    uint64_t end = spec->off + spec_size(layout, spec);
    uint64_t *bound = spec->is_global ? &layout->local_start : &layout->total_size;
    if (end > *bound)
        *bound = end;
    layout->specs[layout->spec_count++] = *spec;
}

struct crateld_error *side_layout_init(struct side_layout *layout, uintptr_t data_start, unsigned log_range,
                                       const struct side_spec *core, size_t count)
{
    *layout = (struct side_layout){.data_start = data_start, .log_range = (uint8_t)log_range};
    for (size_t i = 0; i < count; i++) {
        TRY(check_spec(layout, &core[i]));
        enter(layout, &core[i]);
    }
    layout->global_core_end = layout->local_start;
    layout->local_core_end = layout->total_size > layout->local_start ? layout->total_size : layout->local_start;
    return NULL;
}

struct crateld_error *side_layout_add(struct side_layout *layout, const struct side_spec *spec, struct side_spec *ret)
{
    TRY(check_spec(layout, spec));
    struct side_spec placed = *spec;
    if (placed.is_global) {
        /* The core's local specs are where the program was compiled for: behind the core's global ones. */
        for (size_t i = 0; i < layout->spec_count; i++)
            if (!layout->specs[i].is_global)
                return error_create(CRATELD_ERROR_USAGE, "side metadata: global '%s' comes after local '%s'",
                                    spec->name, layout->specs[i].name);
        placed.off = layout->local_start;
    } else {
        placed.off = side_layout_total_size(layout);
    }
    enter(layout, &placed);
    *ret = placed;
    return NULL;
}

struct crateld_error *side_layout_seal(struct side_layout *layout)
{
    for (size_t i = 0; i < layout->spec_count; i++)
        for (size_t k = i + 1; k < layout->spec_count; k++) {
            const struct side_spec *a = &layout->specs[i], *b = &layout->specs[k];
            if (a->off < b->off + spec_size(layout, b) && b->off < a->off + spec_size(layout, a))
                return error_create(CRATELD_ERROR_MISMATCH,
                                    "side metadata: %s '%s' at 0x%" PRIx64 " (0x%" PRIx64
                                    " bytes) overlaps %s '%s' at 0x%" PRIx64 " (0x%" PRIx64 " bytes)",
                                    a->is_global ? "global" : "local", a->name, a->off, spec_size(layout, a),
                                    b->is_global ? "global" : "local", b->name, b->off, spec_size(layout, b));
        }
    layout->total_size = side_layout_total_size(layout);
    layout->is_sealed = true;
    return NULL;
}

uint64_t side_layout_local_base(const struct side_layout *layout)
{
    return layout->local_start;
}

uint64_t side_layout_total_size(const struct side_layout *layout)
{
    return layout->total_size > layout->local_start ? layout->total_size : layout->local_start;
}

uint64_t side_layout_reserved_size(const struct side_layout *layout)
{
    return (side_layout_total_size(layout) + SIDE_PAGE_SIZE - 1) & ~(uint64_t)(SIDE_PAGE_SIZE - 1);
}

uint64_t side_layout_size_for(const struct side_layout *layout, uint64_t data_size)
{
    uint64_t size = 0;
    for (size_t i = 0; i < layout->spec_count; i++)
        size += (data_size >> layout->specs[i].log_region << layout->specs[i].log_bits) / 8;
    return size;
}

struct crateld_error *side_metadata_reserve(struct side_metadata *metadata, const struct side_layout *layout,
                                            void *wanted_base)
{
    if (!layout->is_sealed)
        return error_create(CRATELD_ERROR_USAGE, "side metadata: reserved before the layout was sealed");
    if (metadata->base)
        return error_create(CRATELD_ERROR_USAGE, "side metadata: its base is 0x%" PRIxPTR " already", metadata->base);
    uint64_t size = side_layout_reserved_size(layout);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (wanted_base ? MAP_FIXED_NOREPLACE : 0);
    void *base = mmap(wanted_base, size, PROT_NONE, flags, -1, 0);
    if (base == MAP_FAILED && errno == EEXIST)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "side metadata: something else is mapped within 0x%" PRIx64
                            " bytes at %p, which were wanted",
                            size, wanted_base);
    if (base == MAP_FAILED)
        return error_create(CRATELD_ERROR_MEMORY, "side metadata: cannot reserve 0x%" PRIx64 " bytes: %s", size,
                            strerror(errno));
    *metadata = (struct side_metadata){layout, (uintptr_t)base, size};
    return NULL;
}

void side_metadata_deinit(struct side_metadata *metadata)
{
    if (metadata->base)
        munmap((void *)metadata->base, metadata->reserved_size);
    *metadata = (struct side_metadata){0};
}

/* The bytes [*begin, *end) of `spec`, as addresses, that describe the data. */
static void bytes_for(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data, size_t size,
                      uintptr_t *begin, uintptr_t *end)
{
    struct bit_range range = side_range(metadata, spec, data, size);
    *begin = metadata->base + range.begin / 8;
    *end = metadata->base + (range.end + 7) / 8;
}

struct crateld_error *side_metadata_map(const struct side_metadata *metadata, uintptr_t data, size_t size)
{
    const struct side_layout *layout = metadata->layout;
    uint64_t range = UINT64_C(1) << layout->log_range;
    if (data < layout->data_start || data - layout->data_start > range || size > range - (data - layout->data_start))
        return error_create(CRATELD_ERROR_RANGE,
                            "side metadata: 0x%zx bytes at 0x%" PRIxPTR
                            " are not in the range of 2^%d bytes at 0x%" PRIxPTR,
                            size, data, layout->log_range, layout->data_start);
    for (size_t i = 0; i < layout->spec_count; i++) {
        uintptr_t begin, end;
        bytes_for(metadata, &layout->specs[i], data, size, &begin, &end);
        begin &= ~(uintptr_t)(SIDE_PAGE_SIZE - 1);
        end = (end + SIDE_PAGE_SIZE - 1) & ~(uintptr_t)(SIDE_PAGE_SIZE - 1);
        if (end > begin && mprotect((void *)begin, end - begin, PROT_READ | PROT_WRITE) != 0)
            return error_create(CRATELD_ERROR_MEMORY,
                                "side metadata: cannot map 0x%" PRIxPTR " bytes of '%s' at 0x%" PRIxPTR ": %s",
                                end - begin, layout->specs[i].name, begin, strerror(errno));
    }
    return NULL;
}

void side_metadata_unback(const struct side_metadata *metadata, uintptr_t data, size_t size)
{
    for (size_t i = 0; i < metadata->layout->spec_count; i++) {
        uintptr_t begin, end;
        bytes_for(metadata, &metadata->layout->specs[i], data, size, &begin, &end);
        bool is_whole = !((begin | end) & (SIDE_PAGE_SIZE - 1));
        if (!is_whole || madvise((void *)begin, end - begin, MADV_DONTNEED) != 0)
            memset((void *)begin, 0, end - begin);
    }
}

/* A field that is not zero has a bit that is 1: the searches look for bits, then for the field around it. */
static uintptr_t region_of_bit(const struct side_metadata *metadata, const struct side_spec *spec, uint64_t bit)
{
    return metadata->layout->data_start + (uintptr_t)((bit - spec->off * 8) >> spec->log_bits << spec->log_region);
}

static uintptr_t region_start(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data)
{
    return region_of_bit(metadata, spec, side_bit_of(metadata, spec, data));
}

uintptr_t side_find_previous_simple(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                                    uintptr_t limit)
{
    uintptr_t step = (uintptr_t)1 << spec->log_region, last = region_start(metadata, spec, limit);
    for (uintptr_t at = region_start(metadata, spec, data); at >= last; at -= step) {
        if (bit_field_load(side_field(metadata, spec, at)))
            return at;
        if (at < step)
            break;
    }
    return 0;
}

uintptr_t side_find_previous(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                             uintptr_t limit)
{
    uint64_t bit, width = UINT64_C(1) << spec->log_bits;
    struct bit_range range = {(uint8_t *)metadata->base, side_bit_of(metadata, spec, limit),
                              side_bit_of(metadata, spec, data) + width};
    return bit_range_last(range, &bit) ? region_of_bit(metadata, spec, bit) : 0;
}

uintptr_t side_find_next_simple(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                                uintptr_t limit)
{
    uintptr_t step = (uintptr_t)1 << spec->log_region;
    for (uintptr_t at = region_start(metadata, spec, data); data < limit && at < limit; at += step)
        if (bit_field_load(side_field(metadata, spec, at)))
            return at;
    return 0;
}

uintptr_t side_find_next(const struct side_metadata *metadata, const struct side_spec *spec, uintptr_t data,
                         uintptr_t limit)
{
    uint64_t bit;
    if (data >= limit)
        return 0;
    struct bit_range range = {(uint8_t *)metadata->base, side_bit_of(metadata, spec, data),
                              side_bit_of(metadata, spec, limit - 1) + (UINT64_C(1) << spec->log_bits)};
    return bit_range_first(range, &bit) ? region_of_bit(metadata, spec, bit) : 0;
}

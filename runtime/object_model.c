#include "runtime/object_model.h"

static const struct {
    const char *name;
    uint8_t log_bits;
    bool is_global;
} facts[OBJECT_SPEC_COUNT] = {
    [OBJECT_LOG_BIT] = {"log bit", 0, true},
    [OBJECT_FORWARDING_POINTER] = {"forwarding pointer", 6, false},
    [OBJECT_FORWARDING_BITS] = {"forwarding bits", 1, false},
    [OBJECT_MARK_BIT] = {"mark bit", 0, false},
    [OBJECT_PINNING_BIT] = {"pinning bit", 0, false},
    [OBJECT_LOS_MARK_NURSERY] = {"large object mark and nursery", 1, false},
};

const char *object_spec_name(enum object_spec_id id)
{
    return facts[id].name;
}

unsigned object_spec_log_bits(enum object_spec_id id)
{
    return facts[id].log_bits;
}

/* Fields are aligned to their size: so one that is smaller than a byte lies in one. */
static struct crateld_error *check_header_spec(const struct object_model *model, int id)
{
    int width = 1 << facts[id].log_bits, off = model->specs[id].bit_off;
    if (off % width)
        return error_create(CRATELD_ERROR_USAGE,
                            "object model '%s': the %s is at bit %d of the header, wanted a multiple of %d",
                            model->name, facts[id].name, off, width);
    for (int other = 0; other < id; other++) {
        int other_off = model->specs[other].bit_off, other_width = 1 << facts[other].log_bits;
        if (!model->specs[other].is_in_header || other == OBJECT_FORWARDING_POINTER || id == OBJECT_FORWARDING_POINTER)
            continue;
        if (off < other_off + other_width && other_off < off + width)
            return error_create(CRATELD_ERROR_USAGE,
                                "object model '%s': the %s at bit %d of the header overlaps the %s at bit %d",
                                model->name, facts[id].name, off, facts[other].name, other_off);
    }
    return NULL;
}

struct crateld_error *object_model_check(const struct object_model *model)
{
    if (!model->copy || !model->copy_to || !model->reference_when_copied_to || !model->current_size ||
        !model->size_when_copied || !model->align_when_copied || !model->align_off_when_copied ||
        !model->type_descriptor || !model->ref_to_object_start || !model->object_start_to_ref ||
        !model->ref_to_header || !model->scan || !model->dump)
        return error_create(CRATELD_ERROR_USAGE, "object model '%s': a required function is missing", model->name);
    if (model->worst_case_copy_expansion < 1)
        return error_create(CRATELD_ERROR_USAGE, "object model '%s': copies expand by %g at worst, wanted at least 1",
                            model->name, model->worst_case_copy_expansion);
    if (model->ref_off_lower_bound < 0 || (model->has_unified_address && model->ref_off_lower_bound))
        return error_create(CRATELD_ERROR_USAGE,
                            "object model '%s': references are at least %td behind the start, wanted %s 0", model->name,
                            model->ref_off_lower_bound, model->has_unified_address ? "exactly" : "at least");
    for (int id = 0; id < OBJECT_SPEC_COUNT; id++)
        if (model->specs[id].is_in_header)
            TRY(check_header_spec(model, id));
    return NULL;
}

struct crateld_error *object_metadata_init(struct object_metadata *metadata, const struct object_model *model,
                                           const struct side_metadata *side, struct side_layout *layout)
{
    *metadata = (struct object_metadata){.model = model, .side = side};
    for (int global = 1; global >= 0; global--)
        for (int id = 0; id < OBJECT_SPEC_COUNT; id++) {
            if (model->specs[id].is_in_header || facts[id].is_global != global)
                continue;
            struct side_spec spec = {facts[id].name, global, facts[id].log_bits, GC_GRANULE_LOG, 0};
            TRY(side_layout_add(layout, &spec, &metadata->placed[id]));
        }
    return NULL;
}

/* The field itself, wherever it is. */
static struct bit_field field_of(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref)
{
    const struct object_model *model = metadata->model;
    if (!model->specs[id].is_in_header)
        return side_field(metadata->side, &metadata->placed[id], model->ref_to_object_start(model, ref));
    int off = model->specs[id].bit_off;
    /* Rounded down, for offsets before the header too. */
    uintptr_t at = model->ref_to_header(model, ref) + (uintptr_t)(intptr_t)(off >> 3);
    return (struct bit_field){(void *)at, (uint8_t)(facts[id].log_bits < 3 ? off & 7 : 0), facts[id].log_bits};
}

static const struct object_header_access *access_of(const struct object_metadata *metadata, enum object_spec_id id)
{
    return metadata->model->specs[id].is_in_header ? metadata->model->header_access : NULL;
}

uint64_t object_metadata_load(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                              uint64_t mask, bool is_atomic)
{
    const struct object_header_access *access = access_of(metadata, id);
    if (access)
        return access->load(metadata, id, ref, mask, is_atomic);
    struct bit_field field = field_of(metadata, id, ref);
    return (is_atomic ? bit_field_load_atomic(field) : bit_field_load(field)) & mask;
}

struct masked {
    uint64_t mask, value;
};

static bool set_masked(uint64_t old, void *context, uint64_t *ret)
{
    const struct masked *masked = context;
    *ret = (old & ~masked->mask) | (masked->value & masked->mask);
    return true;
}

void object_metadata_store(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                           uint64_t mask, uint64_t value, bool is_atomic)
{
    const struct object_header_access *access = access_of(metadata, id);
    struct bit_field field;
    uint64_t old;
    if (access) {
        access->store(metadata, id, ref, mask, value, is_atomic);
        return;
    }
    field = field_of(metadata, id, ref);
    if (is_atomic)
        bit_field_update(field, set_masked, &(struct masked){mask, value}, &old);
    else
        bit_field_apply(field, BIT_STORE, (bit_field_load(field) & ~mask) | (value & mask));
}

bool object_metadata_cas(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                         uint64_t mask, uint64_t *expected, uint64_t value)
{
    const struct object_header_access *access = access_of(metadata, id);
    if (access)
        return access->cas(metadata, id, ref, mask, expected, value);
    struct bit_field field = field_of(metadata, id, ref);
    uint64_t whole = bit_field_load_atomic(field);
    while ((whole & mask) == (*expected & mask)) {
        /* Bits outside the mask may change meanwhile: then it is tried again with what they are. */
        if (bit_field_cas(field, &whole, (whole & ~mask) | (value & mask)))
            return true;
    }
    *expected = whole & mask;
    return false;
}

uint64_t object_metadata_fetch(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                               enum bit_op op, uint64_t value)
{
    const struct object_header_access *access = access_of(metadata, id);
    if (access)
        return access->fetch(metadata, id, ref, op, value);
    return bit_field_apply_atomic(field_of(metadata, id, ref), op, value);
}

bool object_metadata_update(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                            bit_update *update, void *context, uint64_t *ret)
{
    const struct object_header_access *access = access_of(metadata, id);
    if (access)
        return access->update(metadata, id, ref, update, context, ret);
    return bit_field_update(field_of(metadata, id, ref), update, context, ret);
}

bool object_is_sane(const struct object_model *model, struct gc_ref ref)
{
    return !model->is_object_sane || model->is_object_sane(model, ref);
}

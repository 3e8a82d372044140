#include "runtime/own_model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct own_type *type_of(const struct object_model *model, struct gc_ref ref)
{
    const struct own_model *own = (const struct own_model *)(const void *)model;
    return &own->types.at[own_type_of(*own_header(ref))];
}

static size_t current_size(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    return own_total_size(*own_header(ref));
}

/* Whether there is a word of padding in front. */
static size_t lead_of(struct gc_ref ref)
{
    return ref.address - own_start(ref);
}

static size_t align_when_copied(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    const uint64_t *padding = (const uint64_t *)own_start(ref);
    return lead_of(ref) == CRATELD_GC_WORD ? CRATELD_GC_GRANULE
                                           : (size_t)1 << (*padding >> OWN_PADDING_ALIGN_SHIFT & 0xff);
}

static size_t align_off_when_copied(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    const uint64_t *padding = (const uint64_t *)own_start(ref);
    return lead_of(ref) == CRATELD_GC_WORD ? 0 : lead_of(ref) + (*padding >> OWN_PADDING_OFF_SHIFT);
}

static const char *type_descriptor(const struct object_model *model, struct gc_ref ref)
{
    return type_of(model, ref)->description->name;
}

static uintptr_t ref_to_object_start(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    return own_start(ref);
}

static struct gc_ref object_start_to_ref(const struct object_model *model, uintptr_t start)
{
    (void)model;
    uint64_t first = *(uint64_t *)start;
    return (struct gc_ref){start + (first >> OWN_PADDING_BIT & 1 ? 2 * CRATELD_GC_WORD : CRATELD_GC_WORD)};
}

static uintptr_t ref_to_header(const struct object_model *model, struct gc_ref ref)
{
    (void)model;
    return ref.address - CRATELD_GC_WORD;
}

static struct gc_ref reference_when_copied_to(const struct object_model *model, struct gc_ref from, uintptr_t region)
{
    (void)model;
    return (struct gc_ref){region + lead_of(from)};
}

static uintptr_t copy_to(const struct object_model *model, struct gc_ref from, struct gc_ref to, uintptr_t region)
{
    size_t size = current_size(model, from);
    (void)to;
    memmove((void *)region, (void *)own_start(from), size);
    return region + size;
}

static struct gc_ref copy(const struct object_model *model, struct gc_ref from, enum object_copy_semantics semantics,
                          struct object_copy_context *context)
{
    size_t size = current_size(model, from);
    uintptr_t region =
        context->alloc(context, size, align_when_copied(model, from), align_off_when_copied(model, from), semantics);
    if (!region)
        return (struct gc_ref){0};
    struct gc_ref to = reference_when_copied_to(model, from, region);
    copy_to(model, from, to, region);
    context->post_copy(context, to, size);
    return to;
}

/* The edges of a type's fixed part. */
static void scan_pointers(const struct own_type *type, struct gc_ref ref, struct object_visitor *visitor)
{
    for (uint32_t i = 0; i < type->description->pointer_count; i++)
        visitor->edge(visitor, gc_edge_plain((void *)(ref.address + type->description->pointers[i])));
}

static void scan(const struct object_model *model, struct gc_ref ref, struct object_visitor *visitor)
{
    const struct own_type *type = type_of(model, ref);
    uintptr_t *words = (uintptr_t *)ref.address;
    size_t count = (current_size(model, ref) - lead_of(ref)) / sizeof *words;
    switch ((enum crateld_gc_kind)type->kind) {
    case CRATELD_GC_LEAF:
        break;
    case CRATELD_GC_WEAK:
        visitor->weak(visitor, gc_edge_plain(words));
        scan_pointers(type, ref, visitor);
        break;
    case CRATELD_GC_EPHEMERON:
        visitor->ephemeron(visitor, gc_edge_plain(words), gc_edge_plain(words + 1));
        break;
    case CRATELD_GC_CONSERVATIVE:
        for (size_t i = 0; i < count; i++)
            visitor->ambiguous(visitor, words[i]);
        break;
    case CRATELD_GC_FIXED:
    case CRATELD_GC_ARRAY:
        scan_pointers(type, ref, visitor);
        for (size_t i = type->tail; i < count; i++)
            visitor->edge(visitor, gc_edge_plain(words + i));
        break;
    }
}

static void dump(const struct object_model *model, struct gc_ref ref, FILE *to)
{
    const uintptr_t *words = (const uintptr_t *)ref.address;
    size_t count = (current_size(model, ref) - lead_of(ref)) / sizeof *words;
    fprintf(to, "%s at %p, %zu bytes, header 0x%" PRIx64 ":", type_descriptor(model, ref), (void *)ref.address,
            current_size(model, ref), *own_header(ref));
    for (size_t i = 0; i < count && i < 8; i++)
        fprintf(to, " 0x%" PRIxPTR, words[i]);
    fputs(count > 8 ? " ...\n" : "\n", to);
}

static bool is_object_sane(const struct object_model *model, struct gc_ref ref)
{
    const struct own_model *own = (const struct own_model *)(const void *)model;
    uint64_t header = *own_header(ref);
    if (own_type_of(header) >= own->types.count || !(header >> OWN_SIZE_SHIFT) || header & 3)
        return false;
    return own_total_size(header) - lead_of(ref) >= own->types.at[own_type_of(header)].description->size;
}

static const struct object_model own = {
    .name = "crateld",
    .specs = {[OBJECT_LOG_BIT] = OBJECT_IN_HEADER(5),
              [OBJECT_FORWARDING_POINTER] = OBJECT_IN_HEADER(0),
              [OBJECT_FORWARDING_BITS] = OBJECT_IN_HEADER(0),
              [OBJECT_MARK_BIT] = OBJECT_BESIDE,
              [OBJECT_PINNING_BIT] = OBJECT_IN_HEADER(4),
              [OBJECT_LOS_MARK_NURSERY] = OBJECT_IN_HEADER(2)},
    .ref_off_lower_bound = CRATELD_GC_WORD,
    .worst_case_copy_expansion = 1,
    .copy = copy,
    .copy_to = copy_to,
    .reference_when_copied_to = reference_when_copied_to,
    .current_size = current_size,
    .size_when_copied = current_size,
    .align_when_copied = align_when_copied,
    .align_off_when_copied = align_off_when_copied,
    .type_descriptor = type_descriptor,
    .ref_to_object_start = ref_to_object_start,
    .object_start_to_ref = object_start_to_ref,
    .ref_to_header = ref_to_header,
    .scan = scan,
    .dump = dump,
    .is_object_sane = is_object_sane,
};

void own_model_init(struct own_model *model)
{
    *model = (struct own_model){.base = own};
}

void own_model_deinit(struct own_model *model)
{
    for (size_t i = 0; i < model->types.count; i++)
        free((void *)model->types.at[i].description);
    free(model->types.at);
}

static struct crateld_error *check_type(const struct crateld_gc_type *type)
{
    if ((unsigned)type->kind > CRATELD_GC_EPHEMERON)
        return error_create(CRATELD_ERROR_USAGE, "gc type '%s': its kind is %d, wanted at most %d", type->name,
                            (int)type->kind, CRATELD_GC_EPHEMERON);
    if (type->size % CRATELD_GC_WORD && type->kind != CRATELD_GC_LEAF)
        return error_create(CRATELD_ERROR_USAGE, "gc type '%s': its size is %u, wanted a multiple of %d", type->name,
                            type->size, CRATELD_GC_WORD);
    if (type->kind == CRATELD_GC_EPHEMERON && (type->size != 2 * CRATELD_GC_WORD || type->pointer_count))
        return error_create(CRATELD_ERROR_USAGE,
                            "gc type '%s': an ephemeron has %u bytes and %u pointers, wanted %d and 0", type->name,
                            type->size, type->pointer_count, 2 * CRATELD_GC_WORD);
    if (type->kind == CRATELD_GC_WEAK && type->size < CRATELD_GC_WORD)
        return error_create(CRATELD_ERROR_USAGE, "gc type '%s': a weak reference has %u bytes, wanted at least %d",
                            type->name, type->size, CRATELD_GC_WORD);
    if (type->pointer_count && (type->kind == CRATELD_GC_LEAF || type->kind == CRATELD_GC_CONSERVATIVE))
        return error_create(CRATELD_ERROR_USAGE, "gc type '%s': it has %u pointers, but is of a kind that has none",
                            type->name, type->pointer_count);
    for (uint32_t i = 0; i < type->pointer_count; i++) {
        uint32_t off = type->pointers[i], least = type->kind == CRATELD_GC_WEAK ? CRATELD_GC_WORD : 0;
        if (off % CRATELD_GC_WORD || off < least || off >= type->size)
            return error_create(CRATELD_ERROR_USAGE,
                                "gc type '%s': pointer %u is at %u, wanted a multiple of %d from %u below %u",
                                type->name, i, off, CRATELD_GC_WORD, least, type->size);
    }
    return NULL;
}

static bool is_equal(const struct crateld_gc_type *a, const struct crateld_gc_type *b)
{
    return a->kind == b->kind && a->size == b->size && a->pointer_count == b->pointer_count &&
           !strcmp(a->name, b->name) &&
           (!a->pointer_count || !memcmp(a->pointers, b->pointers, a->pointer_count * sizeof *a->pointers));
}

/* The description with all that it refers to, as one allocation; NULL without memory. */
static struct crateld_gc_type *copy_type(const struct crateld_gc_type *type)
{
    size_t pointers_size = type->pointer_count * sizeof *type->pointers, name_size = strlen(type->name) + 1;
    struct crateld_gc_type *copied = malloc(sizeof *copied + pointers_size + name_size);
    if (!copied)
        return NULL;
    uint32_t *pointers = (uint32_t *)(copied + 1);
    char *name = (char *)pointers + pointers_size;
    *copied = *type;
    if (pointers_size)
        memcpy(pointers, type->pointers, pointers_size);
    memcpy(name, type->name, name_size);
    copied->pointers = pointers;
    copied->name = name;
    return copied;
}

struct crateld_error *own_model_add(struct own_model *model, const struct crateld_gc_type *type, uint32_t *ret)
{
    TRY(check_type(type));
    for (size_t i = 0; i < model->types.count; i++)
        if (is_equal(model->types.at[i].description, type)) {
            *ret = (uint32_t)i;
            return NULL;
        }
    if (model->types.count == OWN_TYPES_MAX)
        return error_create(CRATELD_ERROR_RANGE, "gc type '%s': there are %d types already", type->name, OWN_TYPES_MAX);
    struct own_type entry = {.tail = UINT32_MAX, .kind = (uint8_t)type->kind};
    if (type->kind == CRATELD_GC_ARRAY)
        entry.tail = type->size / CRATELD_GC_WORD;
    for (uint32_t i = 0; i < type->pointer_count; i++) {
        uint32_t word = type->pointers[i] / CRATELD_GC_WORD;
        if (word < OWN_MAP_WORDS)
            entry.map |= UINT64_C(1) << word;
        else
            entry.has_more = true;
    }
    if (!VEC_RESERVE(&model->types, 1) || !(entry.description = copy_type(type)))
        return error_memory();
    model->types.at[model->types.count++] = entry;
    *ret = (uint32_t)model->types.count - 1;
    return NULL;
}

/* The object model: what an embedder tells the collector about its objects. A table of functions, constants, and of six
 * specs of per-object metadata, each in a header or beside the heap.
 *
 * The collector knows three addresses of an object. Its start: the lowest of its storage, a multiple of the granule,
 * what allocation returns. Its reference: what programs hold; inside the object. Its header: from which the specs' bit
 * offsets count.
 */
#ifndef RUNTIME_OBJECT_MODEL_H
#define RUNTIME_OBJECT_MODEL_H

#include <stdio.h>

#include "runtime/ref.h"
#include "runtime/side_metadata.h"

enum {
    GC_GRANULE_LOG = 4, /* objects start at multiples of 16 */
    GC_GRANULE = 1 << GC_GRANULE_LOG,
};

enum object_spec_id {
    OBJECT_LOG_BIT,            /* global, 1 bit: 1 is "not logged", for generational plans */
    OBJECT_FORWARDING_POINTER, /* a word, where a copied object went; may overlap what the header holds else */
    OBJECT_FORWARDING_BITS,    /* 2 bits: OBJECT_NOT_FORWARDED and so on */
    OBJECT_MARK_BIT,           /* 1 bit */
    OBJECT_PINNING_BIT,        /* 1 bit: must not be moved */
    OBJECT_LOS_MARK_NURSERY,   /* 2 bits, of large objects: marked; new */
    OBJECT_SPEC_COUNT,
};

enum object_forwarding {
    OBJECT_NOT_FORWARDED = 0,
    OBJECT_BEING_FORWARDED = 2, /* by one of several collecting threads */
    OBJECT_FORWARDED = 3,
};

/* Where a spec's bits are. Their number follows from which spec it is. */
struct object_spec {
    bool is_in_header;
    int32_t bit_off; /* in header: from the header's address; may be negative */
};

#define OBJECT_IN_HEADER(off)                                                                                          \
    {                                                                                                                  \
        .is_in_header = true, .bit_off = (off)                                                                         \
    }
#define OBJECT_BESIDE                                                                                                  \
    {                                                                                                                  \
        .is_in_header = false                                                                                          \
    }

/* What a model's scan() reports; each may be called any number of times. */
struct object_visitor {
    void (*edge)(struct object_visitor *visitor, struct gc_edge edge);
    /* A word that may refer to an object, or into one, or not. Not for plans that move everything. */
    void (*ambiguous)(struct object_visitor *visitor, uintptr_t word);
    /* A reference that keeps nothing alive, and becomes null. */
    void (*weak)(struct object_visitor *visitor, struct gc_edge edge);
    /* One that keeps `value` alive as long as `key` is; when key dies, both become null. */
    void (*ephemeron)(struct object_visitor *visitor, struct gc_edge key, struct gc_edge value);
};

enum object_copy_semantics {
    OBJECT_COPY_DEFAULT,
};

/* How copy() gets memory, and says that it is done. */
struct object_copy_context {
    /* `size` zeroed bytes at a multiple of `align` after `align_off` bytes; 0: there is no memory. */
    uintptr_t (*alloc)(struct object_copy_context *context, size_t size, size_t align, size_t align_off,
                       enum object_copy_semantics semantics);
    void (*post_copy)(struct object_copy_context *context, struct gc_ref copy, size_t size);
};

struct object_metadata;
struct object_model;

/* Replaces how a header's bits are accessed: see object_metadata_load() and so on. All or none. */
struct object_header_access {
    uint64_t (*load)(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref, uint64_t mask,
                     bool is_atomic);
    void (*store)(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref, uint64_t mask,
                  uint64_t value, bool is_atomic);
    bool (*cas)(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref, uint64_t mask,
                uint64_t *expected, uint64_t value);
    uint64_t (*fetch)(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref, enum bit_op op,
                      uint64_t value);
    bool (*update)(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                   bit_update *update, void *context, uint64_t *ret);
};

struct object_model {
    const char *name;
    struct object_spec specs[OBJECT_SPEC_COUNT];

    ptrdiff_t ref_off_lower_bound;     /* reference >= start + this */
    bool needs_vo_bits_during_tracing; /* its scan() asks whether something is an object */
    double worst_case_copy_expansion;  /* how much larger a copy may be; at least 1 */
    bool has_unified_address;          /* reference == start, always */

    /* Required. */
    struct gc_ref (*copy)(const struct object_model *model, struct gc_ref from, enum object_copy_semantics semantics,
                          struct object_copy_context *context); /* null: no memory */
    /* For collectors that choose the place first: copies to the reserved `region`, so that the object's reference
     * becomes `to`; returns the end of the copy. The two may overlap if the copy lies below. */
    uintptr_t (*copy_to)(const struct object_model *model, struct gc_ref from, struct gc_ref to, uintptr_t region);
    struct gc_ref (*reference_when_copied_to)(const struct object_model *model, struct gc_ref from, uintptr_t region);
    size_t (*current_size)(const struct object_model *model, struct gc_ref ref);
    size_t (*size_when_copied)(const struct object_model *model, struct gc_ref ref);
    size_t (*align_when_copied)(const struct object_model *model, struct gc_ref ref);
    size_t (*align_off_when_copied)(const struct object_model *model, struct gc_ref ref);
    const char *(*type_descriptor)(const struct object_model *model, struct gc_ref ref);
    uintptr_t (*ref_to_object_start)(const struct object_model *model, struct gc_ref ref);
    struct gc_ref (*object_start_to_ref)(const struct object_model *model, uintptr_t start);
    uintptr_t (*ref_to_header)(const struct object_model *model, struct gc_ref ref);
    void (*scan)(const struct object_model *model, struct gc_ref ref, struct object_visitor *visitor);
    void (*dump)(const struct object_model *model, struct gc_ref ref, FILE *to);

    /* Provided; NULL: the default. */
    const struct object_header_access *header_access;
    bool (*is_object_sane)(const struct object_model *model, struct gc_ref ref);
};

/* A model's metadata in one heap: where its specs ended up. */
struct object_metadata {
    const struct object_model *model; /* borrowed */
    const struct side_metadata *side; /* borrowed */
    struct side_spec placed[OBJECT_SPEC_COUNT];
};

const char *object_spec_name(enum object_spec_id id);
unsigned object_spec_log_bits(enum object_spec_id id);

/* Checks a model: that nothing required lacks, that the constants make sense, and that fields in the header are aligned
 * to their size, lie in one byte if they are smaller, and share no bits, except with the forwarding pointer. Error
 * USAGE. */
MUST_CHECK struct crateld_error *object_model_check(const struct object_model *model);

/* Enters the model's specs that are beside the heap into `layout`: global ones first. */
MUST_CHECK struct crateld_error *object_metadata_init(struct object_metadata *metadata,
                                                      const struct object_model *model,
                                                      const struct side_metadata *side, struct side_layout *layout);

/* Accesses of an object's metadata. `mask` has the bits of the field that are meant: others read as 0, are not
 * compared, and stay. OBJECT_ALL_BITS: all. fetch wraps in the field and returns the old value; see runtime/bits.h. */
#define OBJECT_ALL_BITS UINT64_MAX
/* Of a forwarding pointer that shares its word with the forwarding bits. */
#define OBJECT_POINTER_BITS (~UINT64_C(3))

uint64_t object_metadata_load(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                              uint64_t mask, bool is_atomic);
void object_metadata_store(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                           uint64_t mask, uint64_t value, bool is_atomic);
bool object_metadata_cas(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                         uint64_t mask, uint64_t *expected, uint64_t value);
uint64_t object_metadata_fetch(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                               enum bit_op op, uint64_t value);
bool object_metadata_update(const struct object_metadata *metadata, enum object_spec_id id, struct gc_ref ref,
                            bit_update *update, void *context, uint64_t *ret);

/* The model's word on it, or true. */
bool object_is_sane(const struct object_model *model, struct gc_ref ref);

#endif

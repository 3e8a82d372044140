/* Fields of 1 to 64 bits in memory, plain and atomic; and ranges of bits, in bulk. */
#ifndef RUNTIME_BITS_H
#define RUNTIME_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A field of 2^log_bits bits: from bit `shift` of the byte at `at`, or 1 to 8 whole bytes, aligned, there. */
struct bit_field {
    void *at;
    uint8_t shift; /* 0 for fields of bytes */
    uint8_t log_bits;
};

enum bit_op { BIT_STORE, BIT_ADD, BIT_SUB, BIT_AND, BIT_OR };

/* Computes a field's new value from `old` in *ret; false: it is to stay as it is. */
typedef bool bit_update(uint64_t old, void *context, uint64_t *ret);

static inline uint64_t bit_field_max(struct bit_field field)
{
    return UINT64_MAX >> (64 - (1u << field.log_bits));
}

/* The field's value. The atomic ones are sequentially consistent. */
uint64_t bit_field_load(struct bit_field field);
uint64_t bit_field_load_atomic(struct bit_field field);

/* Sets the field to `old op value`, wrapping within the field, its neighbours untouched. Returns the old value.
 * BIT_STORE sets it to `value`, cut to the field. */
uint64_t bit_field_apply(struct bit_field field, enum bit_op op, uint64_t value);
uint64_t bit_field_apply_atomic(struct bit_field field, enum bit_op op, uint64_t value);

/* Sets the field to `value` if it is *expected, else *expected to what it is. Returns whether it did. */
bool bit_field_cas(struct bit_field field, uint64_t *expected, uint64_t value);

/* Calls `update` until what it made of the field's value could be stored, or it does not want to. *ret is the last
 * value it was given; returns whether it was replaced. */
bool bit_field_update(struct bit_field field, bit_update *update, void *context, uint64_t *ret);

/* The bits [begin, end) counted from bit 0 of the byte at `base`. Empty if begin >= end. */
struct bit_range {
    uint8_t *base;
    uint64_t begin, end;
};

/* A piece of a range: `count` whole bytes, or (count 0) those bits of the byte at `at` that `mask` has. */
struct bit_piece {
    uint8_t *at;
    size_t count;
    uint8_t mask;
};

/* Returns true to stop the walk. */
typedef bool bit_visit(struct bit_piece piece, void *context);

/* Visits the pieces of `range`, at most three, from its begin on, or from its end. Returns whether it was stopped. */
bool bit_range_walk(struct bit_range range, bool is_backward, bit_visit *visit, void *context);

/* Makes all bits of the range 0, or 1. */
void bit_range_zero(struct bit_range range);
void bit_range_set(struct bit_range range);

/* Copies the bits of `from` to the same places relative to `to_base`. The two do not overlap, or are the same. */
void bit_range_copy(uint8_t *to_base, struct bit_range from);

/* The number of the highest (lowest) bit of the range that is 1; false if there is none. */
bool bit_range_last(struct bit_range range, uint64_t *ret);
bool bit_range_first(struct bit_range range, uint64_t *ret);

#endif

#include "runtime/bits.h"

#include <string.h>

static uint64_t apply(enum bit_op op, uint64_t old, uint64_t value)
{
    switch (op) {
    case BIT_STORE:
        return value;
    case BIT_ADD:
        return old + value;
    case BIT_SUB:
        return old - value;
    case BIT_AND:
        return old & value;
    case BIT_OR:
        break;
    }
    return old | value;
}

/* The number of bytes to read for a field. */
static unsigned width_of(struct bit_field field)
{
    return field.log_bits < 3 ? 1 : 1u << (field.log_bits - 3);
}

static uint64_t load_word(struct bit_field field)
{
    switch (width_of(field)) {
    case 1:
        return *(uint8_t *)field.at;
    case 2:
        return *(uint16_t *)field.at;
    case 4:
        return *(uint32_t *)field.at;
    default:
        return *(uint64_t *)field.at;
    }
}

static uint64_t load_word_atomic(struct bit_field field)
{
    switch (width_of(field)) {
    case 1:
        return __atomic_load_n((uint8_t *)field.at, __ATOMIC_SEQ_CST);
    case 2:
        return __atomic_load_n((uint16_t *)field.at, __ATOMIC_SEQ_CST);
    case 4:
        return __atomic_load_n((uint32_t *)field.at, __ATOMIC_SEQ_CST);
    default:
        return __atomic_load_n((uint64_t *)field.at, __ATOMIC_SEQ_CST);
    }
}

static void store_word(struct bit_field field, uint64_t word)
{
    switch (width_of(field)) {
    case 1:
        *(uint8_t *)field.at = (uint8_t)word;
        break;
    case 2:
        *(uint16_t *)field.at = (uint16_t)word;
        break;
    case 4:
        *(uint32_t *)field.at = (uint32_t)word;
        break;
    default:
        *(uint64_t *)field.at = word;
    }
}

#define CAS_AS(type)                                                                                                   \
    {                                                                                                                  \
        type seen = (type)*word;                                                                                       \
        bool did = __atomic_compare_exchange_n((type *)field.at, &seen, (type)next, false, __ATOMIC_SEQ_CST,           \
                                               __ATOMIC_SEQ_CST);                                                      \
        *word = seen;                                                                                                  \
        return did;                                                                                                    \
    }

/* Replaces *word by `next`, or sets *word to what is there. */
static bool cas_word(struct bit_field field, uint64_t *word, uint64_t next)
{
    switch (width_of(field)) {
    case 1:
        CAS_AS(uint8_t)
    case 2:
        CAS_AS(uint16_t)
    case 4:
        CAS_AS(uint32_t)
    default:
        CAS_AS(uint64_t)
    }
}

/* The field's value in the word that holds it, and the word with another value there. */
static uint64_t value_in(struct bit_field field, uint64_t word)
{
    return word >> field.shift & bit_field_max(field);
}

static uint64_t with_value(struct bit_field field, uint64_t word, uint64_t value)
{
    uint64_t mask = bit_field_max(field) << field.shift;
    return (word & ~mask) | (value << field.shift & mask);
}

uint64_t bit_field_load(struct bit_field field)
{
    return value_in(field, load_word(field));
}

uint64_t bit_field_load_atomic(struct bit_field field)
{
    return value_in(field, load_word_atomic(field));
}

uint64_t bit_field_apply(struct bit_field field, enum bit_op op, uint64_t value)
{
    uint64_t word = load_word(field), old = value_in(field, word);
    store_word(field, with_value(field, word, apply(op, old, value)));
    return old;
}

uint64_t bit_field_apply_atomic(struct bit_field field, enum bit_op op, uint64_t value)
{
    uint64_t word = load_word_atomic(field), old;
    do
        old = value_in(field, word);
    while (!cas_word(field, &word, with_value(field, word, apply(op, old, value))));
    return old;
}

bool bit_field_cas(struct bit_field field, uint64_t *expected, uint64_t value)
{
    uint64_t word = load_word_atomic(field);
    do {
        if (value_in(field, word) != *expected) {
            *expected = value_in(field, word);
            return false;
        }
        /* Where only a neighbour has changed, it is tried again. */
    } while (!cas_word(field, &word, with_value(field, word, value)));
    return true;
}

bool bit_field_update(struct bit_field field, bit_update *update, void *context, uint64_t *ret)
{
    uint64_t word = load_word_atomic(field), next;
    do {
        *ret = value_in(field, word);
        if (!update(*ret, context, &next))
            return false;
    } while (!cas_word(field, &word, with_value(field, word, next)));
    return true;
}

bool bit_range_walk(struct bit_range range, bool is_backward, bit_visit *visit, void *context)
{
    struct bit_piece pieces[3];
    unsigned count = 0;
    if (range.begin >= range.end)
        return false;
    uint8_t *first = range.base + range.begin / 8, *last = range.base + range.end / 8;
    uint8_t from = (uint8_t)(0xff << range.begin % 8), below = (uint8_t)((1u << range.end % 8) - 1);
    if (first == last) {
        pieces[count++] = (struct bit_piece){first, 0, from & below};
    } else {
        if (range.begin % 8)
            pieces[count++] = (struct bit_piece){first++, 0, from};
        if (last > first)
            pieces[count++] = (struct bit_piece){first, (size_t)(last - first), 0xff};
        if (below)
            pieces[count++] = (struct bit_piece){last, 0, below};
    }
    for (unsigned i = 0; i < count; i++)
        if (visit(pieces[is_backward ? count - 1 - i : i], context))
            return true;
    return false;
}

static bool zero_piece(struct bit_piece piece, void *context)
{
    (void)context;
    if (piece.count)
        memset(piece.at, 0, piece.count);
    else
        *piece.at &= (uint8_t)~piece.mask;
    return false;
}

static bool set_piece(struct bit_piece piece, void *context)
{
    (void)context;
    if (piece.count)
        memset(piece.at, 0xff, piece.count);
    else
        *piece.at |= piece.mask;
    return false;
}

void bit_range_zero(struct bit_range range)
{
    bit_range_walk(range, false, zero_piece, NULL);
}

void bit_range_set(struct bit_range range)
{
    bit_range_walk(range, false, set_piece, NULL);
}

struct copying {
    const uint8_t *from_base;
    uint8_t *to_base;
};

static bool copy_piece(struct bit_piece piece, void *context)
{
    const struct copying *copying = context;
    uint8_t *to = copying->to_base + (piece.at - copying->from_base);
    if (piece.count)
        memmove(to, piece.at, piece.count);
    else
        *to = (uint8_t)((*to & ~piece.mask) | (*piece.at & piece.mask));
    return false;
}

void bit_range_copy(uint8_t *to_base, struct bit_range from)
{
    bit_range_walk(from, false, copy_piece, &(struct copying){from.base, to_base});
}

/* A word of bytes in the order of their bits. */
static uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(word) : word;
}

static bool last_in_piece(struct bit_piece piece, void *context)
{
    uint8_t **ret = context;
    size_t left = piece.count;
    if (!left) {
        *ret = piece.at;
        return *piece.at & piece.mask;
    }
    while (left >= 8 && !word_at(piece.at + left - 8))
        left -= 8;
    while (left && !piece.at[left - 1])
        left--;
    *ret = piece.at + left - 1;
    return left;
}

static bool first_in_piece(struct bit_piece piece, void *context)
{
    uint8_t **ret = context;
    size_t i = 0;
    if (!piece.count) {
        *ret = piece.at;
        return *piece.at & piece.mask;
    }
    while (piece.count - i >= 8 && !word_at(piece.at + i))
        i += 8;
    while (i < piece.count && !piece.at[i])
        i++;
    *ret = piece.at + i;
    return i < piece.count;
}

/* The bits of the byte at `at` that belong to `range`. */
static unsigned own_bits(struct bit_range range, const uint8_t *at)
{
    uint64_t bit = (uint64_t)(at - range.base) * 8;
    unsigned bits = *at;
    if (bit < range.begin)
        bits &= 0xffu << (range.begin - bit);
    if (range.end - bit < 8)
        bits &= (1u << (range.end - bit)) - 1;
    return bits & 0xff;
}

bool bit_range_last(struct bit_range range, uint64_t *ret)
{
    uint8_t *at;
    if (!bit_range_walk(range, true, last_in_piece, &at))
        return false;
    *ret = (uint64_t)(at - range.base) * 8 + (31 - (unsigned)__builtin_clz(own_bits(range, at)));
    return true;
}

bool bit_range_first(struct bit_range range, uint64_t *ret)
{
    uint8_t *at;
    if (!bit_range_walk(range, false, first_in_piece, &at))
        return false;
    *ret = (uint64_t)(at - range.base) * 8 + (unsigned)__builtin_ctz(own_bits(range, at));
    return true;
}

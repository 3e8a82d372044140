/* Bit fields and bit ranges against bit-by-bit references. CRATELD_TEST_LONG: ten million cases. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "runtime/bits.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(runtime_bits, .fini = require_no_leaks);

enum { SIZE = 96, BITS = SIZE * 8 };

static bool bit_at(const uint8_t *bytes, uint64_t i)
{
    return bytes[i / 8] >> i % 8 & 1;
}

static void set_bit(uint8_t *bytes, uint64_t i, bool value)
{
    bytes[i / 8] = (uint8_t)((bytes[i / 8] & ~(1u << i % 8)) | (unsigned)value << i % 8);
}

static void fill(uint8_t *bytes, uint64_t *seed)
{
    uint64_t kind = random_below(seed, 4);
    for (int i = 0; i < SIZE; i++)
        bytes[i] = kind == 0 ? 0 : kind == 1 && random_below(seed, 30) ? 0 : (uint8_t)random_next(seed);
}

static uint64_t field_in(const uint8_t *bytes, uint64_t bit, unsigned width)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)bit_at(bytes, bit + i) << i;
    return value;
}

/* What an operation on a field has to make of it, by its definition. */
static uint64_t expected(enum bit_op op, uint64_t old, uint64_t value, unsigned width)
{
    uint64_t result = op == BIT_STORE ? value
                      : op == BIT_ADD ? old + value
                      : op == BIT_SUB ? old - value
                      : op == BIT_AND ? (old & value)
                                      : (old | value);
    return width == 64 ? result : result & ((UINT64_C(1) << width) - 1);
}

struct doubling {
    bool is_wanted;
};

static bool twice(uint64_t old, void *context, uint64_t *ret)
{
    const struct doubling *doubling = context;
    *ret = old * 2;
    return doubling->is_wanted;
}

static void one_field(uint64_t *seed)
{
    _Alignas(8) uint8_t bytes[SIZE], want[SIZE];
    unsigned log_bits = (unsigned)random_below(seed, 7), width = 1u << log_bits;
    uint64_t bit = random_below(seed, BITS / width) * width, value = random_next(seed) >> random_below(seed, 64), seen;
    fill(bytes, seed);
    memcpy(want, bytes, SIZE);
    struct bit_field field = {bytes + bit / 8, (uint8_t)(log_bits < 3 ? bit % 8 : 0), (uint8_t)log_bits};
    uint64_t old = field_in(bytes, bit, width), expected_old = random_below(seed, 2) ? old : random_next(seed);
    enum bit_op op = (enum bit_op)random_below(seed, 5);
    uint64_t result = old;
    cr_assert_eq(bit_field_load(field), old);
    cr_assert_eq(bit_field_load_atomic(field), old);
    cr_assert_eq(bit_field_max(field), width == 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1);
    switch (random_below(seed, 4)) {
    case 0:
        cr_assert_eq(bit_field_apply(field, op, value), old);
        result = expected(op, old, value, width);
        break;
    case 1:
        cr_assert_eq(bit_field_apply_atomic(field, op, value), old);
        result = expected(op, old, value, width);
        break;
    case 2:
        seen = expected_old;
        cr_assert_eq(bit_field_cas(field, &seen, value), expected_old == old);
        cr_assert_eq(seen, old);
        result = expected_old == old ? expected(BIT_STORE, old, value, width) : old;
        break;
    default: {
        struct doubling doubling = {random_below(seed, 2)};
        cr_assert_eq(bit_field_update(field, twice, &doubling, &seen), doubling.is_wanted);
        cr_assert_eq(seen, old);
        result = doubling.is_wanted ? expected(BIT_STORE, old, old * 2, width) : old;
    }
    }
    for (unsigned i = 0; i < width; i++)
        set_bit(want, bit + i, result >> i & 1);
    cr_assert_arr_eq(bytes, want, SIZE, "%u bits at %zu", width, (size_t)bit);
}

Test(runtime_bits, fields_change_as_defined_and_neighbours_stay)
{
    uint64_t seed = 21;
    fprintf(stderr, "# seed 21\n");
    for (long i = random_rounds(300000, 10000000); i; i--)
        one_field(&seed);
}

static bool stop_at_piece(struct bit_piece piece, void *context)
{
    int *left = context;
    (void)piece;
    return (*left)-- == 0;
}

/* Marks the piece's bits in an array, each once. */
static bool mark_piece(struct bit_piece piece, void *context)
{
    uint8_t *seen = context;
    for (size_t i = 0; i < (piece.count ? piece.count : 1); i++)
        for (unsigned k = 0; k < 8; k++)
            if (piece.count || piece.mask >> k & 1)
                seen[(size_t)(piece.at - (seen + BITS) + (ptrdiff_t)i) * 8 + k]++;
    return false;
}

static void check_walks(struct bit_range range)
{
    /* The bytes lie behind the array of marks, so that the visitor knows both. */
    uint8_t both[BITS + SIZE] = {0};
    struct bit_range own = {both + BITS, range.begin, range.end};
    for (int backward = 0; backward < 2; backward++) {
        memset(both, 0, BITS);
        cr_assert_not(bit_range_walk(own, backward, mark_piece, both));
        for (uint64_t i = 0; i < BITS; i++)
            cr_assert_eq(both[i], i >= range.begin && i < range.end);
        int left = 0;
        cr_assert_eq(bit_range_walk(own, backward, stop_at_piece, &left), range.begin < range.end);
        cr_assert_eq(left, range.begin < range.end ? -1 : 0, "the walk went on");
    }
}

static void one_range(uint64_t *seed)
{
    uint8_t bytes[SIZE], other[SIZE], want[SIZE];
    uint64_t begin = random_below(seed, BITS + 1), found = 0, nearest = 0;
    uint64_t end = random_below(seed, 3) ? random_below(seed, BITS + 1) : begin + random_below(seed, 20);
    end = end > BITS ? BITS : end; /* may lie before begin: empty */
    struct bit_range range = {bytes, begin, end};
    fill(bytes, seed);
    fill(other, seed);
    bool has_first = false, has_last = false;
    for (uint64_t i = begin; i < end && !has_first; i++)
        if (bit_at(bytes, i))
            has_first = true, nearest = i;
    cr_assert_eq(bit_range_first(range, &found), has_first);
    cr_assert(!has_first || found == nearest);
    for (uint64_t i = end; i > begin && !has_last; i--)
        if (bit_at(bytes, i - 1))
            has_last = true, nearest = i - 1;
    cr_assert_eq(bit_range_last(range, &found), has_last);
    cr_assert(!has_last || found == nearest);
    uint64_t kind = random_below(seed, 3);
    memcpy(want, kind == 2 ? other : bytes, SIZE);
    for (uint64_t i = begin; i < end; i++)
        set_bit(want, i, kind == 2 ? bit_at(bytes, i) : kind == 1);
    if (kind == 0)
        bit_range_zero(range);
    else if (kind == 1)
        bit_range_set(range);
    else
        bit_range_copy(other, range);
    cr_assert_arr_eq(kind == 2 ? other : bytes, want, SIZE, "[%zu, %zu) kind %d", (size_t)begin, (size_t)end,
                     (int)kind);
}

Test(runtime_bits, ranges_equal_bit_by_bit)
{
    uint64_t seed = 22;
    fprintf(stderr, "# seed 22\n");
    for (long i = random_rounds(300000, 10000000); i; i--)
        one_range(&seed);
}

Test(runtime_bits, walks_visit_each_bit_once_and_stop_when_told)
{
    for (uint64_t begin = 0; begin < 40; begin++)
        for (uint64_t end = 0; end < 60; end++)
            check_walks((struct bit_range){NULL, begin, end});
}

static uint8_t shared[8];
enum { ADDS = 20000 };

static void *add_many(void *argument)
{
    unsigned nibble = *(unsigned *)argument;
    for (int i = 0; i < ADDS; i++)
        bit_field_apply_atomic((struct bit_field){shared + nibble / 2, (uint8_t)(nibble % 2 * 4), 2}, BIT_ADD, 1);
    return NULL;
}

Test(runtime_bits, atomic_fields_in_one_byte_do_not_disturb_each_other)
{
    pthread_t threads[2];
    unsigned nibbles[2] = {0, 1};
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, add_many, &nibbles[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(shared[0], ADDS % 16 * 17);
}

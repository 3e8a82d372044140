/* Side metadata: layout, the 47-bit one to the number, addresses and back, searches, mapping and its faults. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/side_metadata.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"
#include "tests/unit/random.h"

TestSuite(runtime_side_metadata, .fini = require_no_leaks);

enum { CHUNK = 1 << SIDE_CHUNK_LOG };

/* The core's specs over a 47-bit address space, offsets by a chain known when this is compiled. */
#define WORD_SPECS WORD(0), WORD(1), WORD(2), WORD(3), WORD(4), WORD(5), WORD(6), WORD(7), WORD(8), WORD(9)
#define OFF_LOCAL  (SIDE_SPEC_SIZE(47, 0, 3) + 2 * SIDE_SPEC_SIZE(47, 3, 22))
#define OFF_LINE   (OFF_LOCAL + 3 * SIDE_SPEC_SIZE(47, 0, 3))
#define OFF_BLOCK  (OFF_LINE + SIDE_SPEC_SIZE(47, 3, 8))
#define OFF_MARK   (OFF_BLOCK + 2 * SIDE_SPEC_SIZE(47, 3, 15))
#define OFF_WORD   (OFF_MARK + SIDE_SPEC_SIZE(47, 3, 16))
#define WORD(i)                                                                                                        \
    {                                                                                                                  \
        "word" #i, false, 6, 16, OFF_WORD + (i)*SIDE_SPEC_SIZE(47, 6, 16)                                              \
    }
static const struct side_spec core47[] = {
    {"valid object", true, 0, 3, 0},
    {"chunk index", true, 3, 22, SIDE_SPEC_SIZE(47, 0, 3)},
    {"chunk mark", true, 3, 22, SIDE_SPEC_SIZE(47, 0, 3) + SIDE_SPEC_SIZE(47, 3, 22)},
    {"offsets", false, 0, 3, OFF_LOCAL},
    {"compaction mark", false, 0, 3, OFF_LOCAL + SIDE_SPEC_SIZE(47, 0, 3)},
    {"compaction offsets", false, 6, 9, OFF_LOCAL + 2 * SIDE_SPEC_SIZE(47, 0, 3)},
    {"line mark", false, 3, 8, OFF_LINE},
    {"block defrag", false, 3, 15, OFF_BLOCK},
    {"block mark", false, 3, 15, OFF_BLOCK + SIDE_SPEC_SIZE(47, 3, 15)},
    {"size class block mark", false, 3, 16, OFF_MARK},
    WORD_SPECS,
};

Test(runtime_side_metadata, the_47_bit_layout_is_the_design_s_to_the_number)
{
    struct side_layout layout;
    require_success(side_layout_init(&layout, 0, 47, core47, sizeof core47 / sizeof core47[0]));
    cr_assert_eq(core47[0].off, 0);
    cr_assert_eq(SIDE_SPEC_SIZE(47, 0, 3), UINT64_C(2) << 40);
    cr_assert_eq(layout.global_core_end, UINT64_C(0x20004000000));
    cr_assert_eq(side_layout_local_base(&layout), UINT64_C(0x20004000000));
    cr_assert_eq(layout.local_core_end, UINT64_C(0x8aa84000000));
    struct side_spec added;
    require_success(side_layout_add(&layout, &(struct side_spec){"mark", false, 0, 3, 0}, &added));
    cr_assert_eq(added.off, UINT64_C(0x8aa84000000));
    require_success(side_layout_seal(&layout));
    cr_assert_eq(side_layout_total_size(&layout), UINT64_C(0x8aa84000000) + (UINT64_C(2) << 40));
    cr_assert_eq(side_layout_reserved_size(&layout), side_layout_total_size(&layout));
    for (size_t i = 1; i < layout.spec_count; i++)
        cr_assert_eq(layout.specs[i].off,
                     layout.specs[i - 1].off +
                         SIDE_SPEC_SIZE(47, layout.specs[i - 1].log_bits, layout.specs[i - 1].log_region),
                     "'%s' does not start where the one before ends", layout.specs[i].name);
}

Test(runtime_side_metadata, embedders_specs_follow_the_core_s_of_their_kind)
{
    static const struct side_spec core[] = {{"vo", true, 0, 4, 0}};
    struct side_layout layout;
    struct side_spec global, local, second;
    require_success(side_layout_init(&layout, 0, 30, core, 1));
    require_success(side_layout_add(&layout, &(struct side_spec){"log", true, 0, 3, 77}, &global));
    cr_assert_eq(global.off, SIDE_SPEC_SIZE(30, 0, 4));
    require_success(side_layout_add(&layout, &(struct side_spec){"mark", false, 0, 4, 77}, &local));
    cr_assert_eq(local.off, SIDE_SPEC_SIZE(30, 0, 4) + SIDE_SPEC_SIZE(30, 0, 3));
    cr_assert_eq(local.off, side_layout_local_base(&layout));
    require_success(side_layout_add(&layout, &(struct side_spec){"pin", false, 0, 4, 0}, &second));
    cr_assert_eq(second.off, local.off + SIDE_SPEC_SIZE(30, 0, 4));
    require_error(side_layout_add(&layout, &(struct side_spec){"late", true, 0, 3, 0}, &global), CRATELD_ERROR_USAGE,
                  "side metadata: global 'late' comes after local 'mark'");
    require_success(side_layout_seal(&layout));
    require_error(side_layout_add(&layout, &(struct side_spec){"later", false, 0, 3, 0}, &global), CRATELD_ERROR_USAGE,
                  "'later' comes after the layout was sealed");
    cr_assert_eq(side_layout_size_for(&layout, CHUNK), CHUNK / 128 * 3 + CHUNK / 64);
}

static void require_overlap(const struct side_spec *specs, const char *text)
{
    struct side_layout layout;
    require_success(side_layout_init(&layout, 0, 30, specs, 2));
    require_error(side_layout_seal(&layout), CRATELD_ERROR_MISMATCH, text);
}

Test(runtime_side_metadata, all_pairs_are_checked_for_overlap)
{
    uint64_t size = SIDE_SPEC_SIZE(30, 0, 4);
    require_overlap((struct side_spec[]){{"a", true, 0, 4, 0}, {"b", true, 0, 4, size - 1}},
                    "global 'a' at 0x0 (0x800000 bytes) overlaps global 'b' at 0x7fffff (0x800000 bytes)");
    require_overlap((struct side_spec[]){{"a", false, 0, 4, 5}, {"b", false, 0, 4, 5}}, "local 'a' at 0x5");
    require_overlap((struct side_spec[]){{"a", true, 0, 4, size}, {"b", false, 3, 15, size + 9}},
                    "global 'a' at 0x800000 (0x800000 bytes) overlaps local 'b' at 0x800009 (0x8000 bytes)");
    struct side_layout layout;
    require_success(
        side_layout_init(&layout, 0, 30, (struct side_spec[]){{"a", true, 0, 4, 0}, {"b", false, 0, 4, size}}, 2));
    require_success(side_layout_seal(&layout));
}

Test(runtime_side_metadata, impossible_specs_are_refused)
{
    struct side_layout layout;
    require_error(side_layout_init(&layout, 0, 30, (struct side_spec[]){{"wide", true, 7, 4, 0}}, 1),
                  CRATELD_ERROR_USAGE, "'wide' wants 2^7 bits for 2^4 bytes");
    require_error(side_layout_init(&layout, 0, 30, (struct side_spec[]){{"coarse", true, 0, 31, 0}}, 1),
                  CRATELD_ERROR_USAGE, "'coarse' wants 2^0 bits for 2^31 bytes");
    struct side_spec many[SIDE_SPECS_MAX + 1];
    for (int i = 0; i <= SIDE_SPECS_MAX; i++)
        many[i] = (struct side_spec){"many", true, 0, 4, 0};
    require_error(side_layout_init(&layout, 0, 30, many, SIDE_SPECS_MAX + 1), CRATELD_ERROR_RANGE, "one spec too many");
    cr_assert_eq(SIDE_SPEC_SIZE(10, 0, 10), 1);
    cr_assert_eq(SIDE_SPEC_SIZE(10, 0, 4), 8);
}

enum { RANGE_LOG = 24 };
#define DATA ((uintptr_t)0x500000000000)

/* A spec of each width, in a range of 16 MiB, mapped. Nothing is mapped at the data itself: metadata does not care. */
static struct side_layout layout;
static struct side_metadata metadata;

static void make_all_widths(void)
{
    struct side_spec specs[7];
    uint64_t off = 0;
    for (uint8_t i = 0; i < 7; i++) {
        specs[i] = (struct side_spec){"width", i < 3, i, (uint8_t)(3 + i), off};
        off += SIDE_SPEC_SIZE(RANGE_LOG, i, 3 + i);
    }
    require_success(side_layout_init(&layout, DATA, RANGE_LOG, specs, 7));
    require_success(side_layout_seal(&layout));
    require_success(side_metadata_reserve(&metadata, &layout, NULL));
    require_success(side_metadata_map(&metadata, DATA, 1 << RANGE_LOG));
}

Test(runtime_side_metadata, addresses_are_computed_and_turned_back)
{
    uint64_t seed = 31;
    make_all_widths();
    fprintf(stderr, "# seed 31\n");
    for (int i = 0; i < 100000; i++) {
        const struct side_spec *spec = &layout.specs[random_below(&seed, 7)];
        uintptr_t data = DATA + random_below(&seed, 1 << RANGE_LOG);
        uint64_t index = (data - DATA) >> spec->log_region, bits = index * (1u << spec->log_bits);
        cr_assert_eq((uintptr_t)side_address(&metadata, spec, data), metadata.base + spec->off + bits / 8);
        cr_assert_eq(side_shift(&metadata, spec, data), bits % 8);
        if (spec->log_bits < 3)
            cr_assert_eq(side_mask(&metadata, spec, data), (((1 << (1 << spec->log_bits)) - 1) << bits % 8) & 0xff);
        cr_assert_eq(side_data_of(&metadata, spec, side_address(&metadata, spec, data), (unsigned)(bits % 8)),
                     DATA + (index << spec->log_region));
    }
    cr_assert_eq(side_vo_bit_address(&metadata), metadata.base);
    side_metadata_deinit(&metadata);
}

Test(runtime_side_metadata, fast_searches_find_what_simple_ones_find)
{
    uint64_t seed = 32;
    long found_count = 0;
    make_all_widths();
    fprintf(stderr, "# seed 32\n");
    for (int i = 0; i < 3000; i++) {
        const struct side_spec *spec = &layout.specs[random_below(&seed, 7)];
        uintptr_t area = DATA + random_below(&seed, 1 << 22), size = 1 + random_below(&seed, 1 << 14);
        bit_range_zero(
            (struct bit_range){(uint8_t *)metadata.base, spec->off * 8,
                               (spec->off + SIDE_SPEC_SIZE(RANGE_LOG, spec->log_bits, spec->log_region)) * 8});
        for (uint64_t k = random_below(&seed, 5); k; k--)
            bit_field_apply(side_field(&metadata, spec, area + random_below(&seed, size)), BIT_STORE,
                            UINT64_C(1) << random_below(&seed, UINT64_C(1) << spec->log_bits));
        for (int k = 0; k < 10; k++) {
            uintptr_t a = area + random_below(&seed, size), b = area + random_below(&seed, size);
            uintptr_t previous = side_find_previous(&metadata, spec, a, b),
                      next = side_find_next(&metadata, spec, b, a);
            cr_assert_eq(previous, side_find_previous_simple(&metadata, spec, a, b));
            cr_assert_eq(next, side_find_next_simple(&metadata, spec, b, a));
            found_count += (previous != 0) + (next != 0);
        }
    }
    cr_assert_gt(found_count, 1000);
    side_metadata_deinit(&metadata);
}

Test(runtime_side_metadata, bulk_operations_cover_the_data_range)
{
    make_all_widths();
    const struct side_spec *spec = &layout.specs[1];
    bit_range_set(side_range(&metadata, spec, DATA + 4096, 8192));
    for (uintptr_t at = DATA; at < DATA + 20000; at += 16)
        cr_assert_eq(bit_field_load(side_field(&metadata, spec, at)), at >= DATA + 4096 && at < DATA + 12288 ? 3 : 0);
    side_metadata_deinit(&metadata);
}

/* Which pages of the metadata are accessible; msync fails with ENOMEM where nothing is mapped, but not for PROT_NONE,
 * so it is mincore's and the kernel's word from /proc/self/maps that counts. */
static size_t writable_bytes(uintptr_t begin, uintptr_t end)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512], mode[5];
    size_t sum = 0;
    unsigned long from, to;
    cr_assert_not_null(maps);
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || mode[1] != 'w')
            continue;
        from = from < begin ? begin : from;
        to = to > end ? end : to;
        sum += from < to ? to - from : 0;
    }
    fclose(maps);
    return sum;
}

Test(runtime_side_metadata, exactly_what_describes_a_chunk_is_mapped)
{
    static const struct side_spec core[] = {{"vo", true, 0, 4, 0}, {"line", false, 3, 8, SIDE_SPEC_SIZE(26, 0, 4)}};
    struct side_layout own;
    struct side_metadata mapped = {0};
    require_success(side_layout_init(&own, DATA, 26, core, 2));
    require_error(side_metadata_reserve(&mapped, &own, NULL), CRATELD_ERROR_USAGE,
                  "reserved before the layout was sealed");
    require_success(side_layout_seal(&own));
    require_success(side_metadata_reserve(&mapped, &own, NULL));
    require_error(side_metadata_reserve(&mapped, &own, NULL), CRATELD_ERROR_USAGE, "already");
    uintptr_t end = mapped.base + mapped.reserved_size;
    cr_assert_eq(writable_bytes(mapped.base, end), 0);
    require_success(side_metadata_map(&mapped, DATA + 3 * CHUNK, 2 * CHUNK));
    cr_assert_eq(writable_bytes(mapped.base, end), side_layout_size_for(&own, 2 * CHUNK));
    uint8_t *vo = side_address(&mapped, &core[0], DATA + 3 * CHUNK);
    cr_assert_eq(writable_bytes((uintptr_t)vo, (uintptr_t)vo + 2 * CHUNK / 128), 2 * CHUNK / 128);
    memset(vo, 0xff, 2 * CHUNK / 128);
    require_success(side_metadata_map(&mapped, DATA + 3 * CHUNK, CHUNK));
    cr_assert_eq(vo[5], 0xff, "what is mapped already stays");
    side_metadata_unback(&mapped, DATA + 3 * CHUNK, CHUNK);
    cr_assert_eq(vo[5], 0);
    cr_assert_eq(vo[CHUNK / 128], 0xff, "the next chunk's was given back too");
    require_error(side_metadata_map(&mapped, DATA + 15 * CHUNK, 2 * CHUNK), CRATELD_ERROR_RANGE,
                  "are not in the range of 2^26 bytes at 0x500000000000");
    require_error(side_metadata_map(&mapped, DATA - 1, 1), CRATELD_ERROR_RANGE, "0x1 bytes at 0x4fffffffffff");
    side_metadata_deinit(&mapped);
}

Test(runtime_side_metadata, a_foreign_mapping_is_named_and_left_alone)
{
    static const struct side_spec core[] = {{"vo", true, 0, 4, 0}};
    struct side_layout own;
    struct side_metadata mapped = {0};
    char want[100];
    char *foreign = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(foreign, MAP_FAILED);
    *foreign = 42;
    require_success(side_layout_init(&own, DATA, 26, core, 1));
    require_success(side_layout_seal(&own));
    snprintf(want, sizeof want, "something else is mapped within 0x80000 bytes at %p", (void *)foreign);
    require_error(side_metadata_reserve(&mapped, &own, foreign), CRATELD_ERROR_MISMATCH, want);
    cr_assert_eq(*foreign, 42);
    munmap(foreign, 4096);
    void *wanted = (void *)UINT64_C(0x3f0000000000);
    require_success(side_metadata_reserve(&mapped, &own, wanted));
    cr_assert_eq(mapped.base, (uintptr_t)wanted);
    side_metadata_deinit(&mapped);
}

Test(runtime_side_metadata, no_address_space_is_an_error)
{
    struct side_layout own;
    struct side_metadata mapped = {0};
    struct side_spec spec;
    require_success(side_layout_init(&own, 0, 47, core47, sizeof core47 / sizeof core47[0]));
    for (int i = 0; i < 4; i++)
        require_success(side_layout_add(&own, &(struct side_spec){"word", false, 6, 3, 0}, &spec));
    require_success(side_layout_seal(&own));
    require_error(side_metadata_reserve(&mapped, &own, NULL), CRATELD_ERROR_MEMORY, "side metadata: cannot reserve 0x");
    cr_assert_eq(mapped.base, 0);
}

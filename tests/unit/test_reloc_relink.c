/* The relink section, built and read back: random contents, both ways round, and damaged bytes. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdio.h>

#include "reloc/relink_builder.h"
#include "reloc/relink_hash.h"
#include "reloc/relink_reader.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(reloc_relink, .fini = require_no_leaks);

/* A small deterministic generator (splitmix64). */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)(random_next(state) % limit);
}

enum { MAX_MODULES = 8, MAX_SECTIONS = 120, MAX_SYMBOLS = 300, MAX_RELOCS = 3000 };

/* What a relink section says, as arrays; relocations in the order in which they were added. */
struct contents {
    struct relink_module modules[MAX_MODULES];
    struct relink_section sections[MAX_SECTIONS];
    struct relink_symbol symbols[MAX_SYMBOLS];
    struct relink_reloc relocs[MAX_RELOCS];
    uint32_t module_count, section_count, symbol_count, reloc_count;
    char names[MAX_SECTIONS + MAX_SYMBOLS + 2 * MAX_MODULES][32];
    uint32_t name_count;
};

static struct contents given; /* too big for a worker's stack */

static const char *random_name(uint64_t *seed, const char *prefix)
{
    char *name = given.names[given.name_count++];
    snprintf(name, sizeof given.names[0], "%s%x", prefix, random_below(seed, 500));
    return random_below(seed, 10) ? name : "";
}

static void random_sections(uint64_t *seed, uint32_t module, uint32_t count)
{
    for (uint32_t i = 0; i < count && given.section_count < MAX_SECTIONS; i++) {
        given.sections[given.section_count++] = (struct relink_section){
            .name = random_name(seed, ".text.f"),
            .rva = random_below(seed, 10) ? random_below(seed, 1u << 31) : RELINK_NONE,
            .size = random_below(seed, 1u << 16),
            .capacity = random_below(seed, 1u << 17),
            .flags = random_below(seed, RELINK_SECTION_ALL_FLAGS + 1),
            .align_log2 = (uint8_t)random_below(seed, 32),
            .hash = random_next(seed),
            .module = module,
        };
    }
}

static void random_symbol(uint64_t *seed, uint32_t module)
{
    static const uint8_t bindings[] = {STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE};
    struct relink_symbol *symbol = &given.symbols[given.symbol_count++];
    *symbol = (struct relink_symbol){
        .name = random_name(seed, "f"),
        .where = given.section_count ? random_below(seed, 4) : RELINK_IMPORTED,
        .section = RELINK_NONE,
        .value = random_next(seed) >> random_below(seed, 64),
        .size = random_next(seed) >> random_below(seed, 64),
        .type = (uint8_t)random_below(seed, 16),
        .binding = bindings[random_below(seed, 4)],
        .visibility = (uint8_t)random_below(seed, 4),
        .flags = random_below(seed, 4) ? 0 : random_below(seed, RELINK_SYMBOL_ALL_FLAGS + 1),
        .module = module,
    };
    if (symbol->where == RELINK_IN_SECTION)
        symbol->section = random_below(seed, given.section_count);
    for (int ref = 0; ref < RELINK_REF_COUNT; ref++)
        symbol->refs[ref] = random_below(seed, 8) ? RELINK_NONE : random_below(seed, RELINK_NONE);
}

static void random_contents(uint64_t seed)
{
    given = (struct contents){0};
    uint32_t modules = random_below(&seed, MAX_MODULES + 1), sections = random_below(&seed, 30),
             symbols = random_below(&seed, 60), relocs = random_below(&seed, MAX_RELOCS);
    for (uint32_t m = 0; m < modules; m++) {
        given.modules[m] = (struct relink_module){
            .path = random_name(&seed, "lib/"),
            .member = random_name(&seed, ""),
            .hash = random_next(&seed),
            .first_section = given.section_count,
            .first_symbol = given.symbol_count,
            .debug_off = random_below(&seed, 1 << 20),
            .debug_size = random_below(&seed, 1 << 20),
        };
        random_sections(&seed, m, random_below(&seed, sections + 1));
        given.modules[m].section_count = given.section_count - given.modules[m].first_section;
        for (uint32_t left = random_below(&seed, symbols + 1); left && given.symbol_count < MAX_SYMBOLS; left--)
            random_symbol(&seed, m);
        given.modules[m].symbol_count = given.symbol_count - given.modules[m].first_symbol;
        given.module_count++;
    }
    if (!given.section_count || !given.symbol_count)
        return;
    for (uint32_t i = 0; i < relocs; i++) {
        given.relocs[given.reloc_count++] = (struct relink_reloc){
            .section = random_below(&seed, random_below(&seed, 2) ? given.section_count : 1),
            .off = random_below(&seed, 1u << (1 + random_below(&seed, 30))),
            .symbol = random_below(&seed, given.symbol_count),
            .type = 1 + random_below(&seed, 42),
            .addend = random_below(&seed, 2) ? -4 : (int64_t)random_next(&seed) >> random_below(&seed, 64),
        };
    }
}

/* Builds `given`; *ret is the bytes in a block of their own size, for the sanitizer to watch; to be freed. */
static struct span build_given(void)
{
    struct relink_builder *builder;
    size_t size;
    uint32_t number;
    require_success(relink_builder_create(&builder));
    for (uint32_t m = 0; m < given.module_count; m++) {
        const struct relink_module *module = &given.modules[m];
        require_success(relink_builder_add_module(builder, module, &number));
        cr_assert_eq(number, m);
        for (uint32_t i = 0; i < module->section_count; i++)
            require_success(relink_builder_add_section(builder, &given.sections[module->first_section + i], NULL));
        for (uint32_t i = 0; i < module->symbol_count; i++) {
            require_success(relink_builder_add_symbol(builder, &given.symbols[module->first_symbol + i], &number));
            cr_assert_eq(number, module->first_symbol + i);
        }
    }
    for (uint32_t i = 0; i < given.reloc_count; i++)
        require_success(relink_builder_add_reloc(builder, &given.relocs[i]));
    require_success(relink_builder_end_names(builder));
    require_success(relink_builder_end_relocs(builder));
    require_success(relink_builder_finish(builder, 2, &size));
    uint8_t *bytes = calloc(size, 1);
    cr_assert_not_null(bytes);
    for (size_t i = 0; i < RELINK_PIECES; i++) {
        uint64_t off;
        struct span piece = relink_builder_piece(builder, i, &off);
        if (piece.size)
            memcpy(bytes + off, piece.data, piece.size);
    }
    relink_builder_destroy(builder);
    return (struct span){bytes, size};
}

static void require_same_modules(const struct relink_view *view)
{
    cr_assert_eq(view->module_count, given.module_count);
    for (uint32_t i = 0; i < given.module_count; i++) {
        struct relink_module module;
        require_success(relink_view_module(view, i, &module));
        cr_assert_str_eq(module.path, given.modules[i].path);
        cr_assert_str_eq(module.member, given.modules[i].member);
        cr_assert_eq(module.hash, given.modules[i].hash);
        cr_assert_eq(module.debug_off, given.modules[i].debug_off);
        cr_assert_eq(module.debug_size, given.modules[i].debug_size);
        cr_assert_eq(module.first_section, given.modules[i].first_section);
        cr_assert_eq(module.section_count, given.modules[i].section_count);
        cr_assert_eq(module.first_symbol, given.modules[i].first_symbol);
        cr_assert_eq(module.symbol_count, given.modules[i].symbol_count);
    }
}

static void require_same_sections(const struct relink_view *view)
{
    cr_assert_eq(view->section_count, given.section_count);
    for (uint32_t i = 0; i < given.section_count; i++) {
        const struct relink_section *want = &given.sections[i];
        struct relink_section section;
        require_success(relink_view_section(view, i, &section));
        cr_assert_str_eq(section.name, want->name);
        cr_assert(section.rva == want->rva && section.size == want->size && section.capacity == want->capacity);
        cr_assert(section.flags == want->flags && section.align_log2 == want->align_log2);
        cr_assert(section.hash == want->hash && section.module == want->module);
    }
}

static void require_same_symbols(const struct relink_view *view)
{
    cr_assert_eq(view->header.symbol_count, given.symbol_count);
    for (uint32_t i = 0; i < given.symbol_count; i++) {
        const struct relink_symbol *want = &given.symbols[i];
        struct relink_symbol symbol;
        uint32_t found;
        require_success(relink_view_symbol(view, i, &symbol));
        cr_assert_str_eq(symbol.name, want->name);
        cr_assert(symbol.where == want->where && symbol.section == want->section && symbol.module == want->module);
        cr_assert(symbol.value == want->value && symbol.size == want->size && symbol.flags == want->flags);
        cr_assert(symbol.type == want->type && symbol.binding == want->binding);
        cr_assert_eq(symbol.visibility, want->visibility);
        cr_assert_arr_eq(symbol.refs, want->refs, sizeof symbol.refs);
        if (!*want->name)
            continue;
        require_success(relink_view_find(view, want->name, 0, &found));
        if (want->binding != STB_LOCAL)
            cr_assert(found <= i && strcmp(given.symbols[found].name, want->name) == 0);
    }
}

/* The numbers of `given`'s relocations that are in [begin, end) of `section`, and against `symbol` unless
 * that is RELINK_NONE, by a look at each; in the order of places, equals in the order in which they were
 * added. */
static uint32_t expected_relocs(uint32_t section, uint32_t begin, uint32_t end, uint32_t symbol, uint32_t *ret)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < given.reloc_count; i++) {
        const struct relink_reloc *reloc = &given.relocs[i];
        if (reloc->section != section || reloc->off < begin || reloc->off >= end ||
            (symbol != RELINK_NONE && reloc->symbol != symbol))
            continue;
        uint32_t at = count++;
        for (; at && given.relocs[ret[at - 1]].off > reloc->off; at--)
            ret[at] = ret[at - 1];
        ret[at] = i;
    }
    return count;
}

static uint32_t expected[MAX_RELOCS];

/* The walk must give `count` relocations, those whose numbers are in `expected`, and end. */
static void require_walk(struct relink_cursor *cursor, uint32_t count)
{
    struct relink_reloc reloc;
    bool is_end = false;
    for (uint32_t i = 0; i < count; i++) {
        require_success(relink_cursor_next(cursor, &reloc, &is_end));
        cr_assert_not(is_end, "%u of %u relocations", i, count);
        cr_assert_arr_eq(&reloc, &given.relocs[expected[i]], sizeof reloc);
    }
    require_success(relink_cursor_next(cursor, &reloc, &is_end));
    cr_assert(is_end);
}

static void require_same_relocs(const struct relink_view *view, uint64_t seed)
{
    struct relink_cursor cursor;
    for (uint32_t section = 0; section < given.section_count; section++) {
        require_success(relink_view_relocs_in(view, section, 0, UINT32_MAX, &cursor));
        require_walk(&cursor, expected_relocs(section, 0, UINT32_MAX, RELINK_NONE, expected));
        uint32_t begin = random_below(&seed, 1u << 20), end = begin + random_below(&seed, 1u << 28);
        require_success(relink_view_relocs_in(view, section, begin, end, &cursor));
        require_walk(&cursor, expected_relocs(section, begin, end, RELINK_NONE, expected));
    }
    for (uint32_t symbol = 0; symbol < given.symbol_count; symbol++) {
        uint32_t count = 0;
        for (uint32_t section = 0; section < given.section_count; section++)
            count += expected_relocs(section, 0, UINT32_MAX, symbol, expected + count);
        require_success(relink_view_relocs_to(view, symbol, &cursor));
        require_walk(&cursor, count);
    }
}

Test(reloc_relink, random_contents_come_back)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        random_contents(seed);
        struct span bytes = build_given();
        struct relink_view view;
        require_success(relink_view_open("test.crate", bytes, &view));
        require_success(relink_view_check_all(&view));
        require_same_modules(&view);
        require_same_sections(&view);
        require_same_symbols(&view);
        require_same_relocs(&view, seed);
        free((void *)bytes.data);
    }
}

Test(reloc_relink, the_same_calls_make_the_same_bytes)
{
    random_contents(7);
    struct span first = build_given(), second = build_given();
    cr_assert_eq(first.size, second.size);
    cr_assert_arr_eq(first.data, second.data, first.size);
    free((void *)first.data);
    free((void *)second.data);
}

Test(reloc_relink, an_empty_section_can_be_read)
{
    given = (struct contents){0};
    struct span bytes = build_given();
    struct relink_view view;
    struct relink_symbol symbol;
    uint32_t found;
    require_success(relink_view_open("test.crate", bytes, &view));
    require_success(relink_view_check_all(&view));
    require_success(relink_view_find(&view, "main", 0, &found));
    cr_assert_eq(found, RELINK_NONE);
    require_error(relink_view_symbol(&view, 0, &symbol), CRATELD_ERROR_FORMAT,
                  "test.crate: relink section: symbol 0 of 0");
    free((void *)bytes.data);
}

/* Usual relocations: calls and references from functions of 200 bytes to near and far symbols. */
Test(reloc_relink, a_usual_relocation_takes_at_most_eight_bytes)
{
    uint64_t seed = 5;
    given = (struct contents){.module_count = 1, .section_count = 100, .symbol_count = 200, .reloc_count = MAX_RELOCS};
    given.modules[0] = (struct relink_module){.path = "a.o", .member = "", .section_count = 100, .symbol_count = 200};
    for (uint32_t i = 0; i < given.section_count; i++)
        given.sections[i] = (struct relink_section){.name = ".text", .size = 200, .flags = RELINK_SECTION_TEXT};
    for (uint32_t i = 0; i < given.symbol_count; i++) {
        given.symbols[i] = (struct relink_symbol){.name = "f", .section = i / 2, .type = STT_FUNC};
        memset(given.symbols[i].refs, 0xff, sizeof given.symbols[i].refs);
    }
    struct span without = (given.reloc_count = 0, build_given());
    for (given.reloc_count = 0; given.reloc_count < MAX_RELOCS; given.reloc_count++)
        given.relocs[given.reloc_count] = (struct relink_reloc){
            .section = given.reloc_count / 30,
            .off = given.reloc_count % 30 * 7,
            .symbol = random_below(&seed, 200),
            .type = given.reloc_count % 3 ? R_X86_64_PC32 : R_X86_64_PLT32,
            .addend = random_below(&seed, 4) ? -4 : random_below(&seed, 4000),
        };
    struct span with = build_given();
    cr_assert_leq(with.size - without.size, 8 * given.reloc_count, "%zu bytes", with.size - without.size);
    free((void *)without.data);
    free((void *)with.data);
}

/* Reads all that can be read, whatever it says. */
static void read_everything(struct span bytes)
{
    struct relink_view view;
    uint32_t found;
    struct crateld_error *error = relink_view_open("test.crate", bytes, &view);
    if (!error) {
        crateld_error_destroy(relink_view_find(&view, "f12", 0, &found));
        error = relink_view_check_all(&view);
    }
    if (error)
        cr_assert(strncmp(crateld_error_message(error), "test.crate: ", 12) == 0);
    crateld_error_destroy(error);
}

/* Small contents, so that every byte can be damaged. */
static struct span build_small(void)
{
    uint64_t seed = 1;
    do
        random_contents(seed++);
    while (!given.reloc_count || given.section_count > 20 || given.symbol_count < 40);
    given.reloc_count = given.reloc_count < 150 ? given.reloc_count : 150;
    return build_given();
}

Test(reloc_relink, flipped_bits_are_errors_or_other_contents)
{
    struct span bytes = build_small();
    uint8_t *writable = (uint8_t *)bytes.data;
    for (size_t bit = 0; bit < bytes.size * 8; bit++) {
        writable[bit / 8] ^= (uint8_t)(1u << bit % 8);
        read_everything(bytes);
        writable[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(writable);
}

Test(reloc_relink, truncations_are_errors)
{
    struct span bytes = build_small();
    for (size_t size = 0; size < bytes.size; size++) {
        uint8_t *cut = malloc(size + !size);
        struct relink_view view;
        cr_assert_not_null(cut);
        memcpy(cut, bytes.data, size);
        require_error(relink_view_open("test.crate", (struct span){cut, size}, &view), CRATELD_ERROR_FORMAT,
                      "test.crate: relink section: ");
        free(cut);
    }
    free((void *)bytes.data);
}

Test(reloc_relink, another_version_is_unsupported)
{
    struct span bytes = build_small();
    struct relink_view view;
    ((uint8_t *)bytes.data)[offsetof(struct relink_header, version)]++;
    require_error(relink_view_open("test.crate", bytes, &view), CRATELD_ERROR_UNSUPPORTED,
                  "test.crate: relink section of version 3, this crateld reads 2");
    free((void *)bytes.data);
}

static uint64_t hash_of(const char *bytes, uint64_t size, uint32_t off, int64_t addend, const char *target)
{
    struct relink_hash hash;
    relink_hash_init(&hash, (struct span){(const uint8_t *)bytes, strlen(bytes)}, size, RELINK_SECTION_TEXT);
    relink_hash_reloc(&hash, off, R_X86_64_PC32, addend, (struct span){(const uint8_t *)target, strlen(target)});
    return relink_hash_finish(&hash);
}

Test(reloc_relink, the_content_hash_sees_bytes_and_relocations)
{
    uint64_t hash = hash_of("code", 4, 1, -4, "f");
    cr_assert_eq(hash, hash_of("code", 4, 1, -4, "f"));
    cr_assert_neq(hash, hash_of("cods", 4, 1, -4, "f"));
    cr_assert_neq(hash, hash_of("code", 5, 1, -4, "f"));
    cr_assert_neq(hash, hash_of("code", 4, 2, -4, "f"));
    cr_assert_neq(hash, hash_of("code", 4, 1, -5, "f"));
    cr_assert_neq(hash, hash_of("code", 4, 1, -4, "g"));
}

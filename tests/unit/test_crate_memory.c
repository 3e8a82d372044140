/* Relink sections, strip and inspect, with each allocation failing in turn. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/inspect_crate.h"
#include "crate/strip.h"
#include "reloc/relink_builder.h"
#include "tests/unit/crate_builder.h"
#include "tests/unit/errors.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/leaks.h"
#include "tests/unit/scratch.h"

TestSuite(crate_memory, .fini = require_no_leaks);

static struct crateld_error *add_records(struct relink_builder *builder)
{
    struct relink_symbol symbol = {.name = "main", .where = RELINK_IN_SECTION, .type = STT_FUNC, .binding = STB_GLOBAL};
    memset(symbol.refs, 0xff, sizeof symbol.refs);
    symbol.refs[RELINK_REF_ENTRY_STUB] = 0x2040;
    TRY(relink_builder_add_module(builder, &(struct relink_module){.path = "m.o", .member = ""}, NULL));
    for (uint32_t i = 0; i < 20; i++) {
        struct relink_section section = {
            .name = ".text", .rva = 0x2100 + i, .size = 16, .capacity = 16, .flags = RELINK_SECTION_TEXT};
        TRY(relink_builder_add_section(builder, &section, NULL));
        symbol.section = i;
        TRY(relink_builder_add_symbol(builder, &symbol, NULL));
    }
    for (uint32_t i = 0; i < 100; i++) {
        struct relink_reloc reloc = {.section = i % 20, .off = i % 7, .symbol = i % 11, .type = 2, .addend = i};
        TRY(relink_builder_add_reloc(builder, &reloc));
    }
    return NULL;
}

/* Makes a relink section; *ret is a copy of its bytes, which the caller frees. NULL: it is not wanted. */
static struct crateld_error *build(struct span *ret)
{
    struct relink_builder *builder = NULL;
    size_t size = 0;
    TRY(relink_builder_create(&builder));
    struct crateld_error *error = add_records(builder);
    if (!error)
        error = relink_builder_end_names(builder);
    if (!error)
        error = relink_builder_end_relocs(builder);
    if (!error)
        error = relink_builder_finish(builder, 2, &size);
    if (!error && ret) {
        uint8_t *bytes = calloc(size, 1);
        for (size_t i = 0; i < RELINK_PIECES; i++) {
            uint64_t off;
            struct span piece = relink_builder_piece(builder, i, &off);
            if (piece.size)
                memcpy(bytes + off, piece.data, piece.size);
        }
        *ret = (struct span){bytes, size};
    }
    relink_builder_destroy(builder);
    return error;
}

static struct crateld_error *build_only(void)
{
    return build(NULL);
}

Test(crate_memory, a_relink_section_is_built_without_memory)
{
    cr_assert_gt(failing_memory_try_all(build_only), 0);
}

/* A crate with everything. */
static struct span make_crate(void)
{
    struct span relink = {0};
    require_success(build(&relink));
    struct span file = crate_builder_make(&(struct crate_builder_opts){relink, 100});
    free((void *)relink.data);
    return file;
}

static struct span input;

static struct crateld_error *strip_input(void)
{
    struct crate_stripped stripped = {0};
    TRY(crate_strip("shapes.crate", input, CRATE_STRIP_DEBUG, &stripped));
    free(stripped.bytes);
    return NULL;
}

Test(crate_memory, a_crate_is_stripped_without_memory)
{
    input = make_crate();
    cr_assert_gt(failing_memory_try_all(strip_input), 0);
    free((void *)input.data);
}

static const char *input_path;
static FILE *nowhere;

static struct crateld_error *report_input(struct report *report)
{
    struct inspected_crate crate = {0};
    TRY(inspected_crate_open(input_path, &crate));
    report_begin_object(report, NULL, crate.path);
    struct crateld_error *error = inspect_crate(report, &crate, INSPECT_ALL);
    report_end_object(report);
    inspected_crate_close(&crate);
    TRY(error);
    return report_finish(report);
}

static struct crateld_error *inspect_input(bool is_json)
{
    struct report *report = NULL;
    TRY(report_create(nowhere, is_json, &report));
    struct crateld_error *error = report_input(report);
    report_destroy(report);
    return error;
}

static struct crateld_error *inspect_as_text(void)
{
    return inspect_input(false);
}

static struct crateld_error *inspect_as_json(void)
{
    return inspect_input(true);
}

Test(crate_memory, a_crate_is_inspected_without_memory)
{
    struct scratch scratch;
    struct span file = make_crate();
    scratch_init(&scratch);
    scratch_write(&scratch, "shapes.crate", file.data, file.size);
    input_path = scratch_path(&scratch, "shapes.crate");
    nowhere = fopen("/dev/null", "w");
    cr_assert_gt(failing_memory_try_all(inspect_as_text), 0);
    cr_assert_gt(failing_memory_try_all(inspect_as_json), 0);
    fclose(nowhere);
    scratch_deinit(&scratch);
    free((void *)file.data);
}

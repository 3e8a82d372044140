/* Crates as the linker reads them: no more than it needs, and what is wrong with what it reads. */
#include <criterion/criterion.h>
#include <stddef.h>
#include <unistd.h>

#include "base/hash.h"
#include "linker/crate_source.h"
#include "tests/unit/crate_builder.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"
#include "tests/unit/scratch.h"

static struct arena arena;
static struct span file;
static struct crate_view view; /* of it */

static void set_up(void)
{
    arena_init(&arena);
    file = crate_builder_make(NULL);
    require_success(crate_view_open("shapes.crate", file, &view));
}

static void tear_down(void)
{
    arena_deinit(&arena);
    free((void *)file.data);
    require_no_leaks();
}

TestSuite(linker_crate_source, .init = set_up, .fini = tear_down);

static void want(struct name_filter *names, const char *name)
{
    name_filter_add(names, (uint32_t)(hash_string(name) >> 32));
}

static struct name_filter *want_one(const char *name)
{
    struct name_filter *names = name_filter_create(&arena, 64);
    cr_assert_not_null(names);
    want(names, name);
    return names;
}

/* Reads the file's bytes. */
static struct crateld_error *read_bytes(const struct name_filter *wanted, struct crate_source *ret)
{
    *ret = (struct crate_source){.path = "shapes.crate", .contents = file};
    return crate_source_read(&arena, NULL, file, wanted, ret);
}

static const struct source_export *find(struct crate_source *source, const char *name)
{
    const struct source_export *found;
    require_success(crate_source_find(&arena, source, hash_string(name), name, &found));
    return found;
}

/* The number of an export in the tables. */
static uint32_t number_of(const char *name)
{
    uint32_t i = crate_view_find_export(&view, hash_string(name), name);
    cr_assert_neq(i, CRATE_NONE);
    return i;
}

/* Changes element `i` of table `kind`, `size` bytes in each, from `off` on. */
static void poke(enum crate_table_kind kind, uint32_t i, size_t size, size_t off, const void *bytes, size_t count)
{
    memcpy((uint8_t *)file.data + view.header.tables[kind].rva + i * size + off, bytes, count);
}

Test(linker_crate_source, what_is_wanted_is_read_and_no_more)
{
    struct crate_source source;
    require_success(read_bytes(want_one("table"), &source));
    cr_assert_str_eq(source.name, "shapes");
    cr_assert_eq(source.export_count, 1);
    const struct source_export *table = find(&source, "table");
    cr_assert(table && table->kind == CRATE_EXPORT_DATA && table->size == 64);
    cr_assert_str_eq(table->name, "table");
    cr_assert_eq(source.export_count, 1);
}

Test(linker_crate_source, another_name_has_all_exports_read_if_it_is_one)
{
    struct crate_source source;
    require_success(read_bytes(want_one("table"), &source));
    cr_assert_null(find(&source, "tables"));
    cr_assert_eq(source.export_count, 1);
    cr_assert_eq(find(&source, "counter")->kind, CRATE_EXPORT_TLS);
    cr_assert_eq(source.export_count, CRATE_BUILDER_EXPORTS);
    cr_assert_not_null(find(&source, "table"));
}

Test(linker_crate_source, each_export_is_found_whatever_else_is_wanted)
{
    for (uint32_t i = 0; i < CRATE_BUILDER_EXPORTS; i++)
        for (uint32_t k = 0; k <= CRATE_BUILDER_EXPORTS; k += 3) {
            const char *name = crate_view_string(&view, view.exports[i].name);
            struct name_filter *names = want_one(name);
            for (uint32_t j = 0; j < k; j++)
                want(names, crate_view_string(&view, view.exports[(i * 7 + j * 5) % CRATE_BUILDER_EXPORTS].name));
            struct crate_source source;
            require_success(read_bytes(names, &source));
            const struct source_export *found = find(&source, name);
            cr_assert(found && found->kind == view.exports[i].kind && found->size == view.exports[i].size);
        }
}

Test(linker_crate_source, of_a_file_only_the_parts_that_are_wanted_are_read)
{
    struct scratch scratch;
    struct open_file handle;
    scratch_init(&scratch);
    scratch_write(&scratch, "shapes.crate", file.data, file.size);
    require_success(file_open_only(scratch_path(&scratch, "shapes.crate"), &handle));
    struct crate_source source = {.path = scratch_path(&scratch, "shapes.crate"), .stamp = handle.stamp};
    require_success(
        crate_source_read(&arena, &handle, (struct span){file.data, CRATE_START_SIZE}, want_one("draw"), &source));
    close(handle.fd);
    cr_assert_eq(find(&source, "draw")->kind, CRATE_EXPORT_FUNCTION_TOC);
    cr_assert_eq(find(&source, "answer")->kind, CRATE_EXPORT_ABSOLUTE);
    source.wanted = want_one("draw");
    scratch_run(&scratch, "echo more >> shapes.crate");
    const struct source_export *found;
    require_error(crate_source_find(&arena, &source, hash_string("main"), "main", &found), CRATELD_ERROR_IO,
                  "has changed during the link");
    scratch_deinit(&scratch);
}

Test(linker_crate_source, hashes_that_lie_are_told)
{
    struct crate_source source;
    uint32_t i = number_of("table"), wrong = 7;
    uint64_t hash = hash_string("table"), low = 1;
    poke(CRATE_TABLE_HASHES, i, sizeof wrong, 0, &wrong, sizeof wrong);
    require_error(read_bytes(NULL, &source), CRATELD_ERROR_FORMAT, "and 0x00000007 in the hashes");
    uint32_t right = (uint32_t)(hash >> 32);
    poke(CRATE_TABLE_HASHES, i, sizeof right, 0, &right, sizeof right);
    poke(CRATE_TABLE_EXPORTS, i, sizeof(struct crate_export), 0, &low, sizeof low);
    require_error(read_bytes(want_one("table"), &source), CRATELD_ERROR_FORMAT, "hash 0x0000000000000001 behind");
}

Test(linker_crate_source, exports_that_are_not_sorted_are_told)
{
    struct crate_source source;
    struct crate_export first = view.exports[3], second = view.exports[4];
    uint32_t swapped[] = {(uint32_t)(second.hash >> 32), (uint32_t)(first.hash >> 32)};
    poke(CRATE_TABLE_EXPORTS, 3, sizeof first, 0, &second, sizeof second);
    poke(CRATE_TABLE_EXPORTS, 4, sizeof first, 0, &first, sizeof first);
    poke(CRATE_TABLE_HASHES, 3, sizeof *swapped, 0, swapped, sizeof swapped);
    require_error(read_bytes(NULL, &source), CRATELD_ERROR_FORMAT, "exports[4]: hash 0x");
}

Test(linker_crate_source, a_hash_without_its_name_is_no_definition)
{
    struct crate_source source;
    uint32_t name = view.exports[number_of("draw")].name;
    poke(CRATE_TABLE_EXPORTS, number_of("table"), sizeof(struct crate_export), offsetof(struct crate_export, name),
         &name, sizeof name);
    require_success(read_bytes(want_one("table"), &source));
    cr_assert_eq(source.export_count, 1);
    cr_assert_null(find(&source, "table"));
}

Test(linker_crate_source, faults_of_what_is_wanted_are_told)
{
    struct crate_source source;
    uint32_t i = number_of("table"), far = 1u << 20;
    uint16_t kind = 9;
    poke(CRATE_TABLE_EXPORTS, i, sizeof(struct crate_export), offsetof(struct crate_export, kind), &kind, sizeof kind);
    require_error(read_bytes(want_one("table"), &source), CRATELD_ERROR_FORMAT, "exports: unknown kind 9");
    require_success(read_bytes(want_one("draw"), &source));
    kind = CRATE_EXPORT_DATA;
    poke(CRATE_TABLE_EXPORTS, i, sizeof(struct crate_export), offsetof(struct crate_export, kind), &kind, sizeof kind);
    poke(CRATE_TABLE_EXPORTS, i, sizeof(struct crate_export), offsetof(struct crate_export, name), &far, sizeof far);
    require_error(read_bytes(want_one("table"), &source), CRATELD_ERROR_FORMAT, "string 0x100000 of 0x");
}

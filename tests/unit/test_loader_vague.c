#include <criterion/criterion.h>
#include <stdio.h>

#include "base/hash.h"
#include "loader/vague.h"
#include "tests/unit/leaks.h"

TestSuite(loader_vague, .fini = require_no_leaks);

static struct vague_definition enter(struct vague_table *table, const char *name, uint64_t value)
{
    struct vague_definition candidate = {.name = name, .value = value}, result = {0};
    cr_assert_null(vague_table_enter(table, hash_string(name), &candidate, &result));
    return result;
}

Test(loader_vague, the_first_definition_wins)
{
    struct vague_table table;
    vague_table_init(&table);
    cr_assert_eq(enter(&table, "_ZN1a1bE", 1).value, 1);
    cr_assert_eq(enter(&table, "_ZN1a1cE", 2).value, 2);
    cr_assert_eq(enter(&table, "_ZN1a1bE", 3).value, 1);
    cr_assert_eq(enter(&table, "_ZN1a1cE", 3).value, 2);
    vague_table_deinit(&table);
}

Test(loader_vague, names_are_compared_and_not_only_hashed)
{
    struct vague_table table;
    vague_table_init(&table);
    struct vague_definition a = {.name = "a", .value = 1}, b = {.name = "b", .value = 2}, result;
    cr_assert_null(vague_table_enter(&table, 7, &a, &result));
    cr_assert_null(vague_table_enter(&table, 7, &b, &result));
    cr_assert_eq(result.value, 2);
    cr_assert_null(vague_table_enter(&table, 7, &a, &result));
    cr_assert_eq(result.value, 1);
    vague_table_deinit(&table);
}

Test(loader_vague, thousands_of_names_are_told_apart)
{
    static char names[5000][16];
    struct vague_table table;
    vague_table_init(&table);
    for (uint64_t round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < 5000; i++) {
            snprintf(names[i], sizeof names[i], "v%llu", (unsigned long long)i);
            cr_assert_eq(enter(&table, names[i], i + round * 10000).value, i);
        }
    }
    vague_table_deinit(&table);
}

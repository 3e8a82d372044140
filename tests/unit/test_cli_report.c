/* Reports: as text, as JSON, and with names that are not text. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/report.h"
#include "cli/symbol_map.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(cli_report, .fini = require_no_leaks);

/* A report with one of each, about something called `name`. */
static char *make_report(bool is_json, const char *name)
{
    static const char *const colours[] = {"red", NULL, "blue"};
    static const uint8_t bytes[] = {0, 0xab, 0x10};
    char *text = NULL;
    size_t size;
    struct report *report;
    FILE *stream = open_memstream(&text, &size);
    cr_assert_not_null(stream);
    require_success(report_create(stream, is_json, &report));
    report_begin_object(report, NULL, "Things");
    report_string(report, "name", name);
    report_string(report, "nothing", NULL);
    report_bool(report, "is_good", true);
    report_address(report, "place", 0x1234);
    report_bytes(report, "build_id", bytes, sizeof bytes);
    report_set(report, "colours", 5, colours, 3);
    report_begin_table(report, "rows", "Rows");
    report_row(report);
    report_string(report, "what", "a");
    report_number(report, "count", 7);
    report_row(report);
    report_string(report, "what", "long");
    report_number(report, "count", 12345);
    report_end_table(report);
    report_begin_table(report, "none", "None");
    report_end_table(report);
    report_end_object(report);
    require_success(report_finish(report));
    report_destroy(report);
    fclose(stream);
    return text;
}

Test(cli_report, text_is_aligned)
{
    char *text = make_report(false, "x");
    cr_assert_str_eq(text, "Things\n"
                           "  name                 x\n"
                           "  is good              yes\n"
                           "  place                0x1234\n"
                           "  build id             00ab10\n"
                           "  colours              red blue\n"
                           "\nRows\n"
                           "  what  count\n"
                           "  a         7\n"
                           "  long  12345\n"
                           "\nNone\n"
                           "  none\n");
    free(text);
}

Test(cli_report, json_has_the_same_values)
{
    char *text = make_report(true, "x");
    cr_assert_str_eq(text, "{\n"
                           "  \"name\": \"x\",\n"
                           "  \"nothing\": null,\n"
                           "  \"is_good\": true,\n"
                           "  \"place\": \"0x1234\",\n"
                           "  \"build_id\": \"00ab10\",\n"
                           "  \"colours\": [\"red\", \"blue\"],\n"
                           "  \"rows\": [\n"
                           "    {\n"
                           "      \"what\": \"a\",\n"
                           "      \"count\": 7\n"
                           "    },\n"
                           "    {\n"
                           "      \"what\": \"long\",\n"
                           "      \"count\": 12345\n"
                           "    }\n"
                           "  ],\n"
                           "  \"none\": []\n"
                           "}\n");
    free(text);
}

Test(cli_report, names_that_are_no_text_are_escaped)
{
    static const struct {
        const char *name, *text, *json;
    } cases[] = {
        {"a\"b\\c", "a\"b\\c", "a\\\"b\\\\c"},
        {"\033[31m", "\\x1b[31m", "\\u001b[31m"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"cut \xc3", "cut \\xc3", "cut \\u00c3"},
        {"long \xc0\xaf", "long \\xc0\\xaf", "long \\u00c0\\u00af"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\u00ed\\u00a0\\u0080"},
        {"\xc2\x9b", "\\xc2\\x9b", "\\u00c2\\u009b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = make_report(false, cases[i].name), *json = make_report(true, cases[i].name);
        cr_assert(strstr(text, cases[i].text), "%s", text);
        cr_assert(strstr(json, cases[i].json), "%s", json);
        free(text);
        free(json);
    }
}

Test(cli_report, symbols_are_found_by_address)
{
    struct symbol_map map = {0};
    require_success(symbol_map_add(&map, (struct symbol_map_entry){0x20, SYMBOL_MAP_FUNCTION, 8, "second"}));
    require_success(symbol_map_add(&map, (struct symbol_map_entry){0x10, SYMBOL_MAP_FUNCTION, 0, "first"}));
    require_success(symbol_map_add(&map, (struct symbol_map_entry){0x20, SYMBOL_MAP_ENTRY_STUB, 4, "stub"}));
    require_success(symbol_map_add(&map, (struct symbol_map_entry){0x20, SYMBOL_MAP_FUNCTION, 8, "second"}));
    symbol_map_sort(&map);
    cr_assert_eq(map.count, 3);
    cr_assert_null(symbol_map_find(&map, 0xf));
    cr_assert_str_eq(symbol_map_find(&map, 0x10)->name, "first");
    cr_assert_str_eq(symbol_map_find(&map, 0x1f)->name, "first");
    cr_assert_str_eq(symbol_map_find(&map, 0x27)->name, "second");
    cr_assert_null(symbol_map_find(&map, 0x28));
    free(map.at);
}

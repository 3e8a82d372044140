/* Text linker scripts, the system's own and broken ones. */
#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "linker/ldscript.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(linker_ldscript, .fini = require_no_leaks);

static struct crateld_error *parse(const char *text, struct ldscript *ret)
{
    struct span span = {(const uint8_t *)text, strlen(text)};
    return ldscript_parse(span, "libx.so", "elf64-x86-64", ret);
}

static void require_input(const struct ldscript *script, size_t idx, const struct ldscript_input *expected)
{
    cr_assert_lt(idx, script->input_count);
    const struct ldscript_input *input = &script->inputs[idx];
    cr_assert_str_eq(input->name, expected->name);
    cr_assert_eq(input->is_library, expected->is_library);
    cr_assert_eq(input->as_needed, expected->as_needed);
    cr_assert_eq(input->in_group, expected->in_group);
}

Test(linker_ldscript, glibc_s_script_is_understood)
{
    struct ldscript script;
    require_success(parse("/* GNU ld script\n   text */\nOUTPUT_FORMAT(elf64-x86-64)\n"
                          "GROUP ( /lib/libc.so.6 /usr/lib/libc_nonshared.a  AS_NEEDED ( /lib64/ld.so ) )\n",
                          &script));
    cr_assert_eq(script.input_count, 3);
    require_input(&script, 0, &(struct ldscript_input){.name = "/lib/libc.so.6", .in_group = true});
    require_input(&script, 1, &(struct ldscript_input){.name = "/usr/lib/libc_nonshared.a", .in_group = true});
    require_input(&script, 2, &(struct ldscript_input){.name = "/lib64/ld.so", .in_group = true, .as_needed = true});
    ldscript_deinit(&script);
}

Test(linker_ldscript, libraries_quotes_commas_and_sysroots_are_understood)
{
    struct ldscript script;
    require_success(
        parse("SEARCH_DIR(\"=/opt/my lib\"); INPUT(-ltinfo,-l:y.a \"a b.o\" =/lib/z.so $SYSROOT/w.so \"-lq\")"
              "INPUT(AS_NEEDED(-la AS_NEEDED(b.so)) c.so)",
              &script));
    cr_assert_eq(script.search_dir_count, 1);
    cr_assert_str_eq(script.search_dirs[0], "=/opt/my lib");
    cr_assert_eq(script.input_count, 9);
    require_input(&script, 0, &(struct ldscript_input){.name = "tinfo", .is_library = true});
    require_input(&script, 1, &(struct ldscript_input){.name = ":y.a", .is_library = true});
    require_input(&script, 2, &(struct ldscript_input){.name = "a b.o"});
    require_input(&script, 3, &(struct ldscript_input){.name = "/lib/z.so"});
    require_input(&script, 4, &(struct ldscript_input){.name = "/w.so"});
    require_input(&script, 5, &(struct ldscript_input){.name = "-lq"});
    require_input(&script, 6, &(struct ldscript_input){.name = "a", .is_library = true, .as_needed = true});
    require_input(&script, 7, &(struct ldscript_input){.name = "b.so", .as_needed = true});
    require_input(&script, 8, &(struct ldscript_input){.name = "c.so"});
    ldscript_deinit(&script);
}

Test(linker_ldscript, one_of_three_output_formats_suffices)
{
    struct ldscript script;
    require_success(
        parse("OUTPUT_FORMAT(\"elf32-i386\", \"elf32-big\", \"elf64-x86-64\") OUTPUT_ARCH(i386:x86-64)", &script));
    cr_assert_eq(script.input_count, 0);
    ldscript_deinit(&script);
}

static void require_broken(const char *text, enum crateld_error_code code, const char *message)
{
    struct ldscript script;
    require_error(parse(text, &script), code, message);
}

Test(linker_ldscript, anything_else_is_an_error_with_line_and_column)
{
    require_broken("\n\n  SECTIONS { }", CRATELD_ERROR_FORMAT,
                   "libx.so:3:3: found 'SECTIONS', wanted a command of a library's linker script");
    require_broken("GROUP ( a.so", CRATELD_ERROR_FORMAT, "libx.so:1:13: found the end, wanted a file or ')'");
    require_broken("GROUP a.so", CRATELD_ERROR_FORMAT, "1:7: found 'a.so', wanted '('");
    require_broken("INPUT(a.so;)", CRATELD_ERROR_FORMAT, "1:11: found ';', wanted a file or ')'");
    require_broken("INPUT(AS_NEEDED a.so)", CRATELD_ERROR_FORMAT, "found 'a.so', wanted '('");
    require_broken("SEARCH_DIR()", CRATELD_ERROR_FORMAT, "1:12: found ')', wanted a name");
    require_broken("SEARCH_DIR(a b)", CRATELD_ERROR_FORMAT, "found 'b', wanted ')'");
    require_broken("/* abc\n", CRATELD_ERROR_FORMAT, "1:1: the comment has no end");
    require_broken("INPUT(\"a\n\")", CRATELD_ERROR_FORMAT, "1:7: the quote has no end in its line");
    require_broken("INPUT(a\x01)", CRATELD_ERROR_FORMAT, "1:8: byte 0x01 is no text");
    require_broken("OUTPUT_FORMAT(elf32-i386)", CRATELD_ERROR_MISMATCH,
                   "1:15: format is elf32-i386, wanted elf64-x86-64");
}

Test(linker_ldscript, all_scripts_of_the_system_are_understood)
{
    static const char *const patterns[] = {"/usr/lib/x86_64-linux-gnu/*.so", "/usr/lib/x86_64-linux-gnu/*.a",
                                           "/usr/lib/gcc/x86_64-linux-gnu/*/*.so"};
    for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
        glob_t found;
        if (glob(patterns[p], 0, NULL, &found) != 0)
            continue;
        for (size_t i = 0; i < found.gl_pathc; i++) {
            struct file file;
            struct ldscript script;
            require_success(file_open(found.gl_pathv[i], &file));
            if (file.data.size > 8 && !memchr(file.data.data, 0, file.data.size) &&
                memcmp(file.data.data, "!<arch>", 7) != 0) {
                require_success(ldscript_parse(file.data, file.path, "elf64-x86-64", &script));
                cr_assert_gt(script.input_count, 0, "%s", file.path);
                ldscript_deinit(&script);
            }
            file_close(&file);
        }
        globfree(&found);
    }
}

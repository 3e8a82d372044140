/* Library search, compared with the compiler driver's where it has an answer. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "linker/search.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct search search;

static void set_up(void)
{
    scratch_init(&scratch);
    search_init(&search);
}

static void tear_down(void)
{
    search_deinit(&search);
    scratch_deinit(&scratch);
    require_no_leaks();
}

TestSuite(linker_search, .init = set_up, .fini = tear_down);

/* -l`name` must be the file `expected` of the scratch folder. */
static void require_library(const char *name, enum search_kind kind, const char *expected)
{
    char *path;
    require_success(search_library(&search, name, kind, &path));
    cr_assert_str_eq(path, scratch_path(&scratch, expected));
    free(path);
}

static void add_dirs(void)
{
    require_success(search_add_dir(&search, scratch_path(&scratch, "nowhere")));
    require_success(search_add_dir(&search, scratch_path(&scratch, "one")));
    require_success(search_add_dir(&search, scratch_path(&scratch, "two")));
}

Test(linker_search, folders_are_searched_in_order_and_shared_libraries_come_first_in_each)
{
    scratch_run(&scratch, "mkdir one two; touch one/liba.a two/liba.so two/libb.so two/libb.a; mkdir one/libb.so");
    add_dirs();
    require_library("a", SEARCH_ANY, "one/liba.a");
    require_library("b", SEARCH_ANY, "two/libb.so"); /* a folder is no library */
    require_library("b", SEARCH_STATIC, "two/libb.a");
}

Test(linker_search, crates_come_first)
{
    scratch_run(&scratch,
                "mkdir one two; touch one/liba.so one/liba.a one/a.crate two/libb.crate two/b.crate two/libb.a");
    add_dirs();
    require_library("a", SEARCH_ANY, "one/a.crate");
    require_library("a", SEARCH_STATIC, "one/liba.a");
    require_library("b", SEARCH_ANY, "two/libb.crate");
}

Test(linker_search, a_colon_asks_for_the_very_file)
{
    scratch_run(&scratch, "mkdir one two; touch two/x.o two/libx.so");
    add_dirs();
    require_library(":x.o", SEARCH_ANY, "two/x.o");
    require_library(":x.o", SEARCH_STATIC, "two/x.o");
}

Test(linker_search, what_is_missing_is_reported_with_the_folders)
{
    char *path;
    require_error(search_library(&search, "x", SEARCH_ANY, &path), CRATELD_ERROR_NOT_FOUND,
                  "-lx: not found: no libx.crate, x.crate, libx.so or libx.a in the search path, which is empty");
    require_success(search_add_dir(&search, "/nowhere"));
    require_success(search_add_dir(&search, "=/else"));
    require_success(search_add_dir(&search, "$SYSROOT/third"));
    require_error(search_library(&search, "x", SEARCH_STATIC, &path), CRATELD_ERROR_NOT_FOUND,
                  "-lx: not found: no libx.a in /nowhere, /else, /third");
    require_error(search_library(&search, ":x.o", SEARCH_ANY, &path), CRATELD_ERROR_NOT_FOUND,
                  "-l:x.o: not found: no x.o in /nowhere, /else, /third");
}

static void require_script_input(const char *name, const char *expected)
{
    char *path;
    require_success(search_script_input(&search, scratch_path(&scratch, "script/libx.so"), name, &path));
    cr_assert_str_eq(path, expected);
    free(path);
}

Test(linker_search, files_of_scripts_are_found_beside_them_and_in_the_folders)
{
    scratch_run(&scratch, "mkdir one two script; touch one/a.so script/a.so two/b.so");
    add_dirs();
    require_script_input("a.so", scratch_path(&scratch, "script/a.so"));
    require_script_input("b.so", scratch_path(&scratch, "two/b.so"));
    require_script_input("/absolute/c.so", "/absolute/c.so");
    char *path;
    require_error(search_script_input(&search, "s.so", "c.so", &path), CRATELD_ERROR_NOT_FOUND,
                  "s.so: c.so: not found: no such file in ");
}

/* The first line of a command's output, or "" */
static char *first_line(const char *command)
{
    static char line[PATH_MAX];
    FILE *stream = popen(command, "r");
    line[0] = 0;
    cr_assert_not_null(stream);
    if (fgets(line, sizeof line, stream))
        line[strcspn(line, "\n")] = 0;
    pclose(stream);
    return line;
}

Test(linker_search, the_defaults_find_what_the_compiler_finds)
{
    static const char *const files[] = {"libgcc.a",    "libgcc_s.so", "libgcc_eh.a",  "libc.so",      "libc.a",
                                        "libm.so",     "libz.so",     "libz.a",       "libstdc++.so", "libstdc++.a",
                                        "crtbeginS.o", "crti.o",      "libpthread.a", "libatomic.so"};
    require_success(search_add_defaults(&search, "x86_64-linux-gnu"));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char command[128], wanted[PATH_MAX], found[PATH_MAX], *path;
        snprintf(command, sizeof command, "gcc -print-file-name=%s", files[i]);
        char *answer = first_line(command);
        require_success(search_file(&search, files[i], &path));
        if (answer[0] != '/') { /* gcc does not know it */
            cr_assert_null(path, "%s", files[i]);
            continue;
        }
        cr_assert_not_null(path, "%s", files[i]);
        cr_assert_not_null(realpath(answer, wanted));
        cr_assert_not_null(realpath(path, found));
        cr_assert_str_eq(found, wanted);
        free(path);
    }
}

Test(linker_search, default_folders_exist_and_appear_once)
{
    char paths[16][PATH_MAX];
    require_success(search_add_defaults(&search, "x86_64-linux-gnu"));
    cr_assert_leq(search.dirs.count, 16);
    for (size_t i = 0; i < search.dirs.count; i++) {
        cr_assert_not_null(realpath(search.dirs.at[i], paths[i]));
        for (size_t other = 0; other < i; other++)
            cr_assert_str_neq(paths[i], paths[other]);
    }
}

Test(linker_search, another_machine_s_folders_need_not_exist)
{
    require_success(search_add_defaults(&search, "vax-unknown-ultrix"));
    for (size_t i = 0; i < search.dirs.count; i++)
        cr_assert_null(strstr(search.dirs.at[i], "vax"));
}

/* The readers of linker inputs, with each allocation failing in turn. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "linker/archive.h"
#include "linker/ldscript.h"
#include "linker/lto.h"
#include "linker/near_match.h"
#include "linker/search.h"
#include "linker/shared_closure.h"
#include "linker/version_script.h"
#include "tests/unit/errors.h"
#include "tests/unit/failing_memory.h"
#include "tests/unit/leaks.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;

/* Paths are made before memory fails. */
static char input_path[256], other_path[256];

static void set_up(void)
{
    scratch_init(&scratch);
}

static void tear_down(void)
{
    scratch_deinit(&scratch);
    require_no_leaks();
}

TestSuite(linker_memory, .init = set_up, .fini = tear_down);

static struct crateld_error *read_archive(void)
{
    struct archive archive;
    TRY(archive_open(input_path, &archive));
    struct crateld_error *error = NULL;
    for (uint32_t i = 0; !error && i < archive.member_count; i++) {
        struct span data;
        error = archive_member_data(&archive, i, &data);
    }
    archive_deinit(&archive);
    return error;
}

Test(linker_memory, archives_are_read_without_memory)
{
    scratch_run(&scratch,
                "echo 'int f;' | gcc -c -x c - -o f.o; cp f.o a_name_longer_than_sixteen.o; ar rcs inner.a f.o;"
                "ar rcsT x.a a_name_longer_than_sixteen.o inner.a");
    strcpy(input_path, scratch_path(&scratch, "x.a"));
    cr_assert_gt(failing_memory_try_all(read_archive), 0);
}

static struct crateld_error *read_ldscript(void)
{
    static const char text[] = "SEARCH_DIR(a) GROUP ( b AS_NEEDED ( -lc ) )";
    struct ldscript script;
    TRY(ldscript_parse((struct span){(const uint8_t *)text, sizeof text - 1}, "x.so", "elf64-x86-64", &script));
    ldscript_deinit(&script);
    return NULL;
}

static struct crateld_error *read_version_script(void)
{
    static const char text[] = "V1 { f; g*; extern \"C++\" { ns::h; n*; }; local: *; };";
    struct version_script *script;
    TRY(version_script_create(&script));
    struct crateld_error *error =
        version_script_add(script, (struct span){(const uint8_t *)text, sizeof text - 1}, "x.map");
    if (!error)
        version_script_scope(script, "_ZN2ns1hEv");
    version_script_destroy(script);
    return error;
}

Test(linker_memory, scripts_are_read_without_memory)
{
    cr_assert_gt(failing_memory_try_all(read_ldscript), 0);
    cr_assert_gt(failing_memory_try_all(read_version_script), 0);
}

static struct crateld_error *read_library(void)
{
    struct shared_library library;
    struct search search;
    bool has_initialisers;
    search_init(&search);
    struct crateld_error *error = search_add_defaults(&search, "x86_64-linux-gnu");
    if (!error)
        error = shared_library_open(input_path, EM_X86_64, &library);
    if (!error) {
        error = shared_closure_has_initialisers(&library, &search, &has_initialisers);
        shared_library_deinit(&library);
    }
    search_deinit(&search);
    return error;
}

Test(linker_memory, shared_libraries_are_read_without_memory)
{
    scratch_run(&scratch,
                "echo 'V1 { f; };' >x.map; echo 'int f;' | "
                "gcc -shared -Wl,--version-script=x.map,--hash-style=sysv,--no-as-needed -x c - -lz -lm -o x.so");
    strcpy(input_path, scratch_path(&scratch, "x.so"));
    cr_assert_gt(failing_memory_try_all(read_library), 0);
}

static struct crateld_error *search_libraries(void)
{
    struct search search;
    char *path = NULL;
    search_init(&search);
    struct crateld_error *error = search_add_dir(&search, "/usr/lib");
    if (!error)
        error = search_add_defaults(&search, "x86_64-linux-gnu");
    if (!error)
        error = search_library(&search, "m", SEARCH_ANY, &path);
    free(path);
    path = NULL;
    if (!error)
        error = search_script_input(&search, "/usr/x", "libc.so.6", &path);
    free(path);
    search_deinit(&search);
    return error;
}

Test(linker_memory, libraries_are_searched_without_memory)
{
    cr_assert_gt(failing_memory_try_all(search_libraries), 0);
}

static struct crateld_error *compile_lto(void)
{
    struct file file, output;
    struct lto_object object;
    struct arena arena;
    arena_init(&arena);
    TRY(file_open(other_path, &file));
    struct crateld_error *error = lto_object_read(file.data, "f.o", &arena, &object);
    struct lto_input inputs[] = {{.path = input_path, .name = "x.o"}, {.data = file.data, .name = "l.a(f.o)"}};
    if (!error)
        error = lto_compile(inputs, 2, NULL, &output);
    if (!error)
        file_close(&output);
    file_close(&file);
    arena_deinit(&arena);
    return error;
}

Test(linker_memory, lto_objects_are_compiled_without_memory)
{
    scratch_run(&scratch, "echo 'int f(void){return 1;}' | gcc -flto -c -x c - -o f.o; echo 'int x;' | gcc "
                          "-flto -c -x c - -o x.o");
    strcpy(input_path, scratch_path(&scratch, "x.o"));
    strcpy(other_path, scratch_path(&scratch, "f.o"));
    cr_assert_gt(failing_memory_try_all(compile_lto), 0);
}

static struct crateld_error *match_names(void)
{
    static const char *const names[] = {"malloc", "_ZN3foo3barEi"};
    struct near_matcher *matcher;
    TRY(near_matcher_create(names, 2, &matcher));
    struct near_match match = near_match_find(matcher, "maloc");
    free(near_match_describe(&match));
    near_matcher_destroy(matcher);
    return NULL;
}

Test(linker_memory, names_are_matched_without_memory)
{
    cr_assert_gt(failing_memory_try_all(match_names), 0);
}

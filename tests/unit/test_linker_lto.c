/* gcc's LTO objects: the symbols, compared with gcc-nm, and the compiler's run. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dirent.h>
#include <elf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "linker/lto.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;

static void set_up(void)
{
    scratch_init(&scratch);
    scratch_run(&scratch, "mkdir tmp");
    setenv("TMPDIR", scratch_path(&scratch, "tmp"), 1);
}

/* Whatever the test did, no temporary file may be left. */
static void tear_down(void)
{
    scratch_run(&scratch, "rmdir tmp");
    scratch_deinit(&scratch);
    require_no_leaks();
}

TestSuite(linker_lto, .init = set_up, .fini = tear_down, .timeout = 120);

static const char c_source[] =
    "int common_; int def_ = 3; __attribute__((weak)) int weak_def(void){return 1;}\n"
    "extern int undefined(int); extern int weak_undefined(void) __attribute__((weak)); extern int datum; int "
    "zero = 0;\n"
    "__attribute__((visibility(\"hidden\"))) int hidden(void){return 2;}\n"
    "__attribute__((visibility(\"protected\"))) int protected_(void){return 2;}\n"
    "int f(void){ return undefined(datum) + (weak_undefined ? weak_undefined() : 0) + hidden(); }\n";
static const char cxx_source[] = "inline int in_line(int x){static int n; return n += x;}\n"
                                 "template<class T> struct S { virtual ~S(){} T t; };\n"
                                 "int g(int x){ S<int> s; return in_line(x) + s.t; }\n";

static struct file open_object(const char *name)
{
    struct file file;
    require_success(file_open(scratch_path(&scratch, name), &file));
    return file;
}

static void make_objects(void)
{
    scratch_write(&scratch, "c.c", c_source, strlen(c_source));
    scratch_write(&scratch, "cxx.cc", cxx_source, strlen(cxx_source));
    scratch_run(&scratch,
                "gcc -flto -fcommon -O2 -c c.c -o slim.o; gcc -flto -fcommon -ffat-lto-objects -c c.c -o fat.o;"
                "gcc -c c.c -o plain.o; g++ -flto -c cxx.cc -o cxx.o; ld -r slim.o cxx.o -o merged.o 2>/dev/null || "
                "true");
}

static const struct lto_symbol *find_symbol(const struct lto_object *object, const char *name)
{
    for (uint32_t i = 0; i < object->symbol_count; i++)
        if (strcmp(object->symbols[i].name, name) == 0)
            return &object->symbols[i];
    cr_assert_fail("no symbol %s", name);
    return NULL;
}

static enum lto_kind kind_of(const char *name)
{
    struct file file = open_object(name);
    struct arena arena;
    struct lto_object object;
    arena_init(&arena);
    require_success(lto_object_read(file.data, name, &arena, &object));
    arena_deinit(&arena);
    file_close(&file);
    return object.kind;
}

Test(linker_lto, slim_fat_and_plain_objects_are_told_apart)
{
    make_objects();
    cr_assert_eq(kind_of("slim.o"), LTO_SLIM);
    cr_assert_eq(kind_of("fat.o"), LTO_FAT);
    cr_assert_eq(kind_of("plain.o"), LTO_NONE);
    cr_assert_eq(kind_of("cxx.o"), LTO_SLIM);
}

Test(linker_lto, symbols_are_described)
{
    make_objects();
    struct file file = open_object("slim.o");
    struct arena arena;
    struct lto_object object;
    arena_init(&arena);
    require_success(lto_object_read(file.data, "slim.o", &arena, &object));
    cr_assert_eq(find_symbol(&object, "f")->kind, LTO_DEF);
    cr_assert_eq(find_symbol(&object, "f")->type, LTO_TYPE_FUNCTION);
    cr_assert_eq(find_symbol(&object, "weak_def")->kind, LTO_WEAK_DEF);
    cr_assert_eq(find_symbol(&object, "undefined")->kind, LTO_UNDEF);
    cr_assert_eq(find_symbol(&object, "weak_undefined")->kind, LTO_WEAK_UNDEF);
    cr_assert_eq(find_symbol(&object, "common_")->kind, LTO_COMMON);
    cr_assert_eq(find_symbol(&object, "common_")->size, 4);
    cr_assert_eq(find_symbol(&object, "def_")->type, LTO_TYPE_VARIABLE);
    cr_assert(find_symbol(&object, "zero")->is_bss);
    cr_assert_eq(find_symbol(&object, "hidden")->visibility, LTO_VISIBILITY_HIDDEN);
    cr_assert_eq(find_symbol(&object, "protected_")->visibility, LTO_VISIBILITY_PROTECTED);
    cr_assert_null(find_symbol(&object, "f")->comdat);
    file_close(&file);
    file = open_object("cxx.o");
    require_success(lto_object_read(file.data, "cxx.o", &arena, &object));
    cr_assert_str_eq(find_symbol(&object, "_Z7in_linei")->comdat, "_Z7in_linei");
    arena_deinit(&arena);
    file_close(&file);
}

/* As nm prints them, less what depends on code that does not exist yet. */
static void compare_with_nm(const char *name)
{
    struct file file = open_object(name);
    struct arena arena;
    struct lto_object object;
    arena_init(&arena);
    require_success(lto_object_read(file.data, name, &arena, &object));
    FILE *stream = fopen(scratch_path(&scratch, "ours"), "w");
    for (uint32_t i = 0; i < object.symbol_count; i++)
        fprintf(stream, "%c %s\n", "dWUwC"[object.symbols[i].kind], object.symbols[i].name);
    fclose(stream);
    scratch_run(&scratch,
                "LC_ALL=C sort ours >ours.sorted;"
                "gcc-nm %s | sed 's/^[0-9a-f ]* \\([A-Za-z] \\)/\\1/; s/^[TDB] /d /' | LC_ALL=C sort "
                ">theirs; diff ours.sorted theirs",
                name);
    arena_deinit(&arena);
    file_close(&file);
}

Test(linker_lto, symbols_are_those_of_gcc_nm)
{
    make_objects();
    compare_with_nm("slim.o");
    compare_with_nm("cxx.o");
}

Test(linker_lto, broken_objects_are_reported)
{
    make_objects();
    struct file file = open_object("slim.o");
    struct arena arena;
    struct lto_object object;
    arena_init(&arena);
    require_error(lto_object_read((struct span){file.data.data, 20}, "x.o", &arena, &object), CRATELD_ERROR_FORMAT,
                  "x.o: no 64-bit little-endian ELF object");
    require_error(lto_object_read((struct span){file.data.data, 1000}, "x.o", &arena, &object), CRATELD_ERROR_FORMAT,
                  "x.o: no section headers at 0x");
    arena_deinit(&arena);
    file_close(&file);
}

/* main in a file, f in an archive. */
static void make_program(void)
{
    scratch_run(&scratch, "echo 'int f(int); int main(void){return f(3);}' | gcc -O2 -flto -fPIC -x c -c - -o main.o;"
                          "echo 'int f(int x){return x + 4;}' | gcc -O2 -flto -fPIC -x c -c - -o f.o");
}

Test(linker_lto, objects_become_one_ordinary_object)
{
    make_program();
    struct file member = open_object("f.o"), output;
    char path[256];
    strcpy(path, scratch_path(&scratch, "main.o"));
    struct lto_input inputs[] = {{.path = path, .name = "main.o"},
                                 {.data = member.data, .name = "lib/libx.a(f o'\".o)"}};
    static const char *const flags[] = {"-fPIC", "-ffixed-r15", "-ffunction-sections", NULL};
    require_success(lto_compile(inputs, 2, &(struct lto_opts){.flags = flags}, &output));
    scratch_write(&scratch, "output.o", output.data.data, output.data.size);
    file_close(&output);
    file_close(&member);
    cr_assert_eq(kind_of("output.o"), LTO_NONE);
    scratch_run(&scratch,
                "gcc output.o -o program; ./program; test $? = 7; readelf -SW output.o | grep -q text.startup.main");
}

Test(linker_lto, a_compiler_that_fails_is_reported)
{
    make_program();
    char path[256];
    strcpy(path, scratch_path(&scratch, "main.o"));
    struct lto_input input = {.path = path, .name = "main.o"};
    static const char *const failing[] = {"sh", "-c", "touch $TMPDIR/left; exit 3", NULL};
    static const char *const absent[] = {"crateld-no-such-compiler", NULL};
    static const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    static const char *const idle[] = {"true", NULL};
    struct file output;
    require_error(lto_compile(&input, 1, &(struct lto_opts){.compiler = failing}, &output), CRATELD_ERROR_UNSUPPORTED,
                  "sh: exit status 3; it could not compile 1 LTO objects");
    require_error(lto_compile(&input, 1, &(struct lto_opts){.compiler = absent}, &output), CRATELD_ERROR_NOT_FOUND,
                  "crateld-no-such-compiler: not found");
    require_error(lto_compile(&input, 1, &(struct lto_opts){.compiler = killed}, &output), CRATELD_ERROR_UNSUPPORTED,
                  "sh: killed by signal 9");
    require_error(lto_compile(&input, 1, &(struct lto_opts){.compiler = idle}, &output), CRATELD_ERROR_IO,
                  "output.o: cannot open");
}

Test(linker_lto, an_unusable_temporary_folder_is_reported)
{
    setenv("TMPDIR", "/proc/nowhere", 1);
    struct lto_input input = {.path = "x.o", .name = "x.o"};
    struct file output;
    require_error(lto_compile(&input, 1, NULL, &output), CRATELD_ERROR_IO, "/proc/nowhere/crateld-lto.");
}

Test(linker_lto, a_signal_stops_the_compiler_and_leaves_no_files)
{
    static const char *const slow[] = {"sh", "-c", "touch $TMPDIR/left ../started; sleep 60", NULL};
    char started[256];
    strcpy(started, scratch_path(&scratch, "started"));
    pid_t pid = fork();
    if (pid == 0) {
        struct lto_input input = {.path = "x.o", .name = "x.o"};
        struct file output;
        if (chdir(getenv("TMPDIR")) != 0)
            _exit(1);
        crateld_error_destroy(lto_compile(&input, 1, &(struct lto_opts){.compiler = slow}, &output));
        _exit(0);
    }
    while (access(started, F_OK) != 0)
        usleep(10000);
    kill(pid, SIGTERM);
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(WTERMSIG(status), SIGTERM);
}

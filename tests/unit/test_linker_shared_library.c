/* Shared libraries: the system's, compared with readelf, and small ones that show one thing each. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <elf.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linker/shared_closure.h"
#include "linker/shared_library.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;

static void set_up(void)
{
    scratch_init(&scratch);
}

static void tear_down(void)
{
    scratch_deinit(&scratch);
    require_no_leaks();
}

TestSuite(linker_shared_library, .init = set_up, .fini = tear_down, .timeout = 300);

/* Writes x.c and x.map, compiles them to x.so with `flags`, and opens that. */
static struct shared_library build(const char *source, const char *map, const char *flags)
{
    struct shared_library library;
    scratch_write(&scratch, "x.c", source, strlen(source));
    scratch_write(&scratch, "x.map", map, strlen(map));
    scratch_run(&scratch, "gcc -shared -fPIC %s %s x.c -o x.so", *map ? "-Wl,--version-script=x.map" : "", flags);
    require_success(shared_library_open(scratch_path(&scratch, "x.so"), EM_X86_64, &library));
    return library;
}

static struct shared_symbol find(const struct shared_library *library, const char *name, const char *version)
{
    struct shared_symbol symbol;
    cr_assert(shared_library_find(library, name, version, &symbol), "%s is not found", name);
    cr_assert_str_eq(symbol.name, name);
    return symbol;
}

static bool has(const struct shared_library *library, const char *name, const char *version)
{
    struct shared_symbol symbol;
    return shared_library_find(library, name, version, &symbol);
}

Test(linker_shared_library, names_needs_and_build_id_are_read)
{
    scratch_run(&scratch, "echo 'int b;' | gcc -shared -x c - -o libb.so -Wl,-soname,libb.so.7");
    struct shared_library library =
        build("extern int b; int f(void){return b;}", "",
              "-L. -Wl,--no-as-needed -lb -Wl,-soname,libx.so.2,-rpath,/opt/lib,--build-id=0x0123 "
              "-fcf-protection=none");
    cr_assert_str_eq(library.soname, "libx.so.2");
    cr_assert(library.has_soname);
    cr_assert_str_eq(library.needed[0], "libb.so.7");
    cr_assert_eq(library.needed_count, 2);
    cr_assert_str_eq(library.needed[1], "libc.so.6");
    cr_assert_str_eq(library.runpath, "/opt/lib");
    cr_assert_eq(library.build_id.size, 2);
    cr_assert_eq(memcmp(library.build_id.data, "\x01\x23", 2), 0);
    cr_assert_not(library.is_pie);
    shared_library_deinit(&library);
}

Test(linker_shared_library, without_soname_the_file_name_counts)
{
    struct shared_library library = build("int f;", "", "-Wl,--build-id=none");
    cr_assert_str_eq(library.soname, "x.so");
    cr_assert_not(library.has_soname);
    cr_assert_eq(library.build_id.size, 0);
    shared_library_deinit(&library);
}

Test(linker_shared_library, types_bindings_and_sizes_are_told)
{
    struct shared_library library =
        build("int f(void){return 1;} __thread int t; char data[12]; __attribute__((weak)) int w = 1;"
              "static void *pick(void){return f;} void g(void) __attribute__((ifunc(\"pick\")));"
              "__attribute__((visibility(\"protected\"))) int p(void){return 2;}"
              "__attribute__((visibility(\"hidden\"))) int h; extern int u; int *pu(void){return &u;}"
              "__asm__(\".globl q; .type q, @gnu_unique_object; .data; q: .long 1; .size q, 4\");",
              "", "");
    cr_assert_eq(find(&library, "f", NULL).type, STT_FUNC);
    cr_assert_eq(find(&library, "t", NULL).type, STT_TLS);
    cr_assert_eq(find(&library, "g", NULL).type, STT_GNU_IFUNC);
    cr_assert_eq(find(&library, "data", NULL).size, 12);
    cr_assert_eq(find(&library, "w", NULL).binding, STB_WEAK);
    cr_assert_eq(find(&library, "q", NULL).binding, STB_GNU_UNIQUE);
    cr_assert_eq(find(&library, "p", NULL).visibility, STV_PROTECTED);
    cr_assert_not(has(&library, "h", NULL));
    cr_assert_not(has(&library, "u", NULL));
    cr_assert_not(has(&library, "nothing", NULL));
    cr_assert(library.has_tls);
    cr_assert(shared_library_is_writable(&library, find(&library, "data", NULL).value));
    cr_assert_not(shared_library_is_writable(&library, find(&library, "f", NULL).value));
    bool has_undefined = false;
    for (uint32_t i = 0; i < library.symbol_count; i++) {
        struct shared_symbol symbol;
        if (shared_library_symbol(&library, i, &symbol) && strcmp(symbol.name, "u") == 0)
            has_undefined = !symbol.is_defined && symbol.binding == STB_GLOBAL;
    }
    cr_assert(has_undefined);
    shared_library_deinit(&library);
}

static const char versioned_source[] = "__asm__(\".symver f1,f@V1\"); __asm__(\".symver f2,f@@V2\");"
                                       "__asm__(\".symver g1,g@V1\");"
                                       "int f1(void){return 1;} int f2(void){return 2;} int g1(void){return 3;}";
static const char versioned_map[] = "V1 { global: f; g; local: *; }; V2 { f; } V1;";

static void check_versions(const char *flags)
{
    struct shared_library library = build(versioned_source, versioned_map, flags);
    struct shared_symbol def = find(&library, "f", NULL), old = find(&library, "f", "V1");
    cr_assert_str_eq(def.version, "V2");
    cr_assert(def.is_default);
    cr_assert_eq(find(&library, "f", "V2").idx, def.idx);
    cr_assert_str_eq(old.version, "V1");
    cr_assert_not(old.is_default);
    cr_assert_neq(old.value, def.value);
    cr_assert_not(has(&library, "g", NULL)); /* there is no default version */
    cr_assert(has(&library, "g", "V1"));
    cr_assert_not(has(&library, "f", "V3"));
    cr_assert_not(has(&library, "f1", NULL));
    shared_library_deinit(&library);
}

Test(linker_shared_library, default_and_hidden_versions_are_told_apart)
{
    check_versions("-Wl,--hash-style=gnu");
}

Test(linker_shared_library, libraries_with_only_a_sysv_hash_are_searched_by_an_own_index)
{
    check_versions("-Wl,--hash-style=sysv");
}

Test(linker_shared_library, a_library_without_exports_tells_what_it_wants)
{
    struct shared_library library = build("extern int u(void); static __attribute__((constructor)) void c(void){u();}",
                                          "", "-nostdlib -Wl,--hash-style=gnu");
    struct shared_symbol symbol;
    cr_assert_eq(library.symbol_count, 2);
    cr_assert(shared_library_symbol(&library, 1, &symbol));
    cr_assert_str_eq(symbol.name, "u");
    cr_assert_not(symbol.is_defined);
    cr_assert_not(has(&library, "u", NULL));
    shared_library_deinit(&library);
}

Test(linker_shared_library, aliases_of_a_datum_are_found)
{
    struct shared_library library = build("int a = 1; extern int b __attribute__((alias(\"a\"))); int c = 2;"
                                          "extern int d __attribute__((weak, alias(\"a\")));",
                                          "", "");
    struct shared_symbol a = find(&library, "a", NULL), alias;
    unsigned count = 0, names = 0;
    for (uint32_t cursor = 0; shared_library_next_alias(&library, &a, &cursor, &alias); count++)
        names |= 1u << (alias.name[0] - 'a');
    cr_assert_eq(count, 3);
    cr_assert_eq(names, 1 + 2 + 8);
    shared_library_deinit(&library);
}

static void require_initialisers(const char *source, const char *flags, bool expected)
{
    struct shared_library library = build(source, "", flags);
    cr_assert_eq(library.has_initialisers, expected, "%s %s", source, flags);
    shared_library_deinit(&library);
}

Test(linker_shared_library, the_compiler_s_own_start_code_is_no_initialiser)
{
    require_initialisers("int f;", "", false);
    require_initialisers("int f;", "-fcf-protection -O2", false);
    require_initialisers("int f;", "-nostdlib", false);
    require_initialisers("int f;", "-nostartfiles", false);
    require_initialisers("int f;", "-Wl,-z,pack-relative-relocs", false);
    require_initialisers("__attribute__((constructor)) void c(void){}", "", true);
    require_initialisers("__attribute__((constructor)) void c(void){}", "-nostdlib", true);
    require_initialisers("__asm__(\".section .init; nop; .text\");", "", true);
    require_initialisers("void i(void){}", "-nostdlib -Wl,-init,i", true);
}

Test(linker_shared_library, start_code_of_other_linkers_is_recognised)
{
    scratch_run(&scratch, "command -v ld.gold >gold || true; command -v ld.lld >lld || true");
    require_initialisers("int f;", "$(test -s gold && echo -fuse-ld=gold)", false);
    require_initialisers("int f;", "$(test -s lld && echo -fuse-ld=lld)", false);
}

Test(linker_shared_library, initialisers_of_needed_libraries_count)
{
    struct search search;
    search_init(&search);
    require_success(search_add_defaults(&search, "x86_64-linux-gnu"));
    scratch_run(&scratch,
                "echo '__attribute__((constructor)) void c(void){}' | gcc -shared -x c - -o libc1.so;"
                "echo 'int plain;' | gcc -shared -x c - -o libplain.so;"
                "echo 'int b;' | gcc -shared -x c - -o libb.so -L. -Wl,--no-as-needed -lc1 -Wl,-rpath,'$ORIGIN'");
    static const struct {
        const char *flags;
        bool expected;
    } cases[] = {
        {"-Wl,-rpath,'$ORIGIN' -L. -lplain", false},
        {"-Wl,-rpath,'$ORIGIN' -L. -lb", true},
        {"-L. -lplain", true}, /* it is not found: nobody knows */
        {"-lz -lm", false},
        {"-lstdc++", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char flags[256];
        snprintf(flags, sizeof flags, "-Wl,--no-as-needed %s", cases[i].flags);
        struct shared_library library = build("int f;", "", flags);
        bool has_initialisers;
        require_success(shared_closure_has_initialisers(&library, &search, &has_initialisers));
        cr_assert_eq(has_initialisers, cases[i].expected, "%s", cases[i].flags);
        shared_library_deinit(&library);
    }
    search_deinit(&search);
}

Test(linker_shared_library, other_files_are_refused)
{
    struct shared_library library;
    scratch_run(&scratch,
                "echo 'int f;' | gcc -c -x c - -o f.o; echo >text; echo 'int f;' | gcc -shared -x c - -o f.so");
    require_error(shared_library_open(scratch_path(&scratch, "f.o"), EM_X86_64, &library), CRATELD_ERROR_FORMAT,
                  "f.o: ELF type 1, a shared library has 3");
    require_error(shared_library_open(scratch_path(&scratch, "text"), EM_X86_64, &library), CRATELD_ERROR_FORMAT,
                  "no ELF file");
    require_error(shared_library_open(scratch_path(&scratch, "f.so"), EM_AARCH64, &library), CRATELD_ERROR_MISMATCH,
                  "is for machine 62, wanted 183");
    require_error(shared_library_open(scratch_path(&scratch, "absent"), EM_X86_64, &library), CRATELD_ERROR_IO,
                  "absent: cannot open");
}

static const char *type_name(const struct shared_symbol *symbol)
{
    static const char *const names[] = {"NOTYPE", "OBJECT", "FUNC", "SECTION", "FILE", "COMMON", "TLS"};
    return symbol->type == STT_GNU_IFUNC ? "IFUNC" : symbol->type < 7 ? names[symbol->type] : "?";
}

static const char *binding_name(const struct shared_symbol *symbol)
{
    static const char *const names[] = {"LOCAL", "GLOBAL", "WEAK"};
    return symbol->binding == STB_GNU_UNIQUE ? "UNIQUE" : symbol->binding < 3 ? names[symbol->binding] : "?";
}

static const char *visibility_name(const struct shared_symbol *symbol)
{
    static const char *const names[] = {"DEFAULT", "INTERNAL", "HIDDEN", "PROTECTED"};
    return names[symbol->visibility];
}

/* `symbol` as readelf prints it, from the value on. */
static char *print_symbol(const struct shared_symbol *symbol)
{
    char *text;
    /* The symbol that stands for a version itself is printed without it. */
    bool is_version = symbol->is_absolute && symbol->version && strcmp(symbol->name, symbol->version) == 0;
    const char *at = !symbol->version || is_version ? "" : symbol->is_defined && symbol->is_default ? "@@" : "@";
    cr_assert_geq(asprintf(&text, "%016" PRIx64 " %" PRIu64 " %s %s %s %s %s%s%s", symbol->value, symbol->size,
                           type_name(symbol), binding_name(symbol), visibility_name(symbol),
                           symbol->is_defined ? symbol->is_absolute ? "ABS" : "defined" : "UND", symbol->name, at,
                           symbol->version && !is_version ? symbol->version : ""),
                  0);
    return text;
}

/* A line of readelf in the same form; NULL: no symbol's. */
static char *normalise_line(char *line)
{
    /* What readelf calls STB_GNU_UNIQUE in a file whose OS ABI is not GNU's. */
    static const char unknown[] = "<OS specific>: 10";
    char *unique = strstr(line, unknown);
    if (unique)
        memcpy(unique, "UNIQUE           ", sizeof unknown - 1);
    unsigned idx;
    uint64_t value;
    char size[32], type[16], binding[16], visibility[16], section[16], name[8192], *text;
    int count = sscanf(line, " %u: %" SCNx64 " %31s %15s %15s %15s %15s %8191s", &idx, &value, size, type, binding,
                       visibility, section, name);
    if (count != 8)
        return NULL;
    cr_assert_geq(asprintf(&text, "%016" PRIx64 " %" PRIu64 " %s %s %s %s %s", value, (uint64_t)strtoull(size, NULL, 0),
                           type, binding, visibility, section[0] >= '0' && section[0] <= '9' ? "defined" : section,
                           name),
                  0);
    return text;
}

/* Whatever is defined and visible must be found by name, and by name and version. */
static void require_found(const struct shared_library *library, const struct shared_symbol *symbol)
{
    struct shared_symbol found;
    if (!symbol->is_defined || symbol->binding == STB_LOCAL || symbol->visibility == STV_HIDDEN)
        return;
    if (symbol->version) {
        cr_assert(shared_library_find(library, symbol->name, symbol->version, &found), "%s: %s", library->path,
                  symbol->name);
        cr_assert_eq(found.idx, symbol->idx, "%s: %s", library->path, symbol->name);
    }
    if (symbol->is_default) {
        cr_assert(shared_library_find(library, symbol->name, NULL, &found), "%s: %s", library->path, symbol->name);
        cr_assert(found.is_default);
        cr_assert_eq(found.idx, symbol->idx, "%s: %s", library->path, symbol->name);
    }
}

static void compare_with_readelf(const struct shared_library *library)
{
    char *command, *line = NULL;
    size_t size = 0;
    uint32_t idx = 1;
    cr_assert_geq(asprintf(&command, "readelf --dyn-syms -W %s", library->path), 0);
    FILE *stream = popen(command, "r");
    while (getline(&line, &size, stream) > 0) {
        char *expected = normalise_line(line);
        if (!expected)
            continue;
        struct shared_symbol symbol;
        cr_assert(shared_library_symbol(library, idx, &symbol), "%s: %s", library->path, expected);
        char *found = print_symbol(&symbol);
        cr_assert_str_eq(found, expected, "%s[%u]: %s, wanted %s", library->path, idx, found, expected);
        require_found(library, &symbol);
        free(found);
        free(expected);
        idx++;
    }
    cr_assert_eq(idx, library->symbol_count, "%s: %u, wanted %u", library->path, library->symbol_count, idx);
    pclose(stream);
    free(command);
    free(line);
}

Test(linker_shared_library, all_libraries_of_the_system_read_as_readelf_reads_them)
{
    glob_t found;
    if (glob("/usr/lib/x86_64-linux-gnu/*.so", 0, NULL, &found) != 0 ||
        glob("/lib/x86_64-linux-gnu/lib[cmg]*.so.[0-9]", GLOB_APPEND, NULL, &found) != 0)
        cr_skip_test("no libraries");
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct shared_library library;
        struct crateld_error *error = shared_library_open(found.gl_pathv[i], EM_X86_64, &library);
        if (error && strstr(crateld_error_message(error), "no ELF file")) { /* a linker script */
            crateld_error_destroy(error);
            continue;
        }
        require_success(error);
        compare_with_readelf(&library);
        shared_library_deinit(&library);
    }
    globfree(&found);
}

/* Version scripts and dynamic lists; the choice between rules is compared with GNU ld's. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "linker/version_script.h"
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

TestSuite(linker_version_script, .init = set_up, .fini = tear_down);

static struct span span_of(const char *text)
{
    return (struct span){(const uint8_t *)text, strlen(text)};
}

static struct version_script *make(const char *text)
{
    struct version_script *script;
    require_success(version_script_create(&script));
    require_success(version_script_add(script, span_of(text), "x.map"));
    return script;
}

static void require_scope(const struct version_script *script, const char *name, enum version_scope scope)
{
    enum version_scope found = version_script_scope(script, name);
    cr_assert_eq(found, scope, "%s: scope is %d, wanted %d", name, found, scope);
}

Test(linker_version_script, without_rules_everything_is_unspecified)
{
    struct version_script *script = make(" # nothing\n/* at all */");
    require_scope(script, "f", VERSION_UNSPECIFIED);
    version_script_destroy(script);
}

Test(linker_version_script, an_anonymous_node_lists_global_and_local_names)
{
    struct version_script *script = make("{ global: f; g*; local: h; };");
    require_scope(script, "f", VERSION_GLOBAL);
    require_scope(script, "gg", VERSION_GLOBAL);
    require_scope(script, "h", VERSION_LOCAL);
    require_scope(script, "other", VERSION_UNSPECIFIED);
    version_script_destroy(script);
}

Test(linker_version_script, named_nodes_with_ancestors_are_read)
{
    struct version_script *script = make("LIB_1.0 { f; local: *; };\nLIB_1.1 { global: g; } LIB_1.0;\n# end\n");
    require_scope(script, "f", VERSION_GLOBAL);
    require_scope(script, "g", VERSION_GLOBAL);
    require_scope(script, "h", VERSION_LOCAL);
    version_script_destroy(script);
}

Test(linker_version_script, quoted_and_escaped_names_are_exact)
{
    struct version_script *script = make("{ \"a*\"; b\\*; local: *; };");
    require_scope(script, "a*", VERSION_GLOBAL);
    require_scope(script, "ab", VERSION_LOCAL);
    require_scope(script, "b*", VERSION_GLOBAL);
    require_scope(script, "bc", VERSION_LOCAL);
    version_script_destroy(script);
}

Test(linker_version_script, keywords_may_be_symbols)
{
    struct version_script *script = make("{ global; local; extern; local: *; };");
    require_scope(script, "global", VERSION_GLOBAL);
    require_scope(script, "local", VERSION_GLOBAL);
    require_scope(script, "extern", VERSION_GLOBAL);
    require_scope(script, "x", VERSION_LOCAL);
    version_script_destroy(script);
}

Test(linker_version_script, cxx_names_match_the_demangled_symbol)
{
    struct version_script *script = make("{ global: extern \"C++\" { \"ns::f(int)\"; ns::g*; typeinfo?for?*; "
                                         "plain; }; extern \"C\" { c; }; local: *; };");
    require_scope(script, "_ZN2ns1fEi", VERSION_GLOBAL);
    require_scope(script, "_ZN2ns1fEj", VERSION_LOCAL);
    require_scope(script, "_ZN2ns1gEj", VERSION_GLOBAL);
    require_scope(script, "_ZTI3foo", VERSION_GLOBAL);
    require_scope(script, "plain", VERSION_GLOBAL);
    require_scope(script, "c", VERSION_GLOBAL);
    require_scope(script, "_ZN2ns", VERSION_LOCAL); /* mangled, but not rightly */
    version_script_destroy(script);
}

Test(linker_version_script, dynamic_lists_and_single_patterns_add_to_it)
{
    struct version_script *script = make("{ local: *; };");
    require_success(version_script_add_dynamic_list(script, span_of("{ f; extern \"C++\" { ns::*; }; };"), "x.list"));
    require_success(version_script_add_export(script, "g?"));
    require_scope(script, "f", VERSION_GLOBAL);
    require_scope(script, "_ZN2ns1fEi", VERSION_GLOBAL);
    require_scope(script, "g1", VERSION_GLOBAL);
    require_scope(script, "g12", VERSION_LOCAL);
    require_error(version_script_add_dynamic_list(script, span_of("V { f; };"), "x.list"), CRATELD_ERROR_FORMAT,
                  "x.list:1:1: found 'V', wanted '{'");
    version_script_destroy(script);
}

static void append_name(const char *name, void *context)
{
    strcat(strcat(context, name), " ");
}

Test(linker_version_script, exact_globals_are_listed)
{
    struct version_script *script = make("{ a; b*; \"c*\"; local: d; };");
    char names[64] = "";
    version_script_each_exact_global(script, append_name, names);
    cr_assert_str_eq(names, "a c* ");
    version_script_destroy(script);
}

static void require_broken(const char *text, const char *message)
{
    struct version_script *script;
    require_success(version_script_create(&script));
    require_error(version_script_add(script, span_of(text), "x.map"), CRATELD_ERROR_FORMAT, message);
    version_script_destroy(script);
}

Test(linker_version_script, broken_scripts_are_reported_with_their_place)
{
    require_broken("{ f; }", "x.map:1:7: found the end, wanted ';'");
    require_broken("{ f;\n  g h; };", "x.map:2:5: found 'h', wanted ';'");
    require_broken("{ f", "1:4: found the end, wanted ';'");
    require_broken("{ : };", "1:3: found ':', wanted a symbol, a pattern or '}'");
    require_broken("{ extern \"Java\" { f; }; };", "1:10: found 'Java', wanted \"C++\" or \"C\"");
    require_broken("{ extern \"C++\" f; };", "found 'f', wanted '{'");
    require_broken("V1 V2 { f; };", "1:4: found 'V2', wanted '{'");
    require_broken("{ \"f; };", "1:3: the quote has no end");
    require_broken("\x7f", "byte 0x7f is no text");
}

/* Each script is given to GNU ld, with a library of these symbols; what it exports must be what is global
 * here, or unspecified. */
static const char *const oracle_symbols[] = {"foo", "foo1",       "foo2",       "bar",       "bar_x",
                                             "baz", "_ZN2ns1fEi", "_ZN2ns1gEv", "_ZN2ns1gEi"};
static const char *const oracle_scripts[] = {
    "{ global: foo*; local: *; };",
    "{ global: *; local: foo*; };",
    "{ global: foo; local: foo*; };",
    "{ global: foo*; local: foo1; };",
    "{ global: *; local: foo?; };",
    "{ global: foo1; foo*; local: *o*; };",
    "{ global: ba[rz]; local: b*; };",
    "{ local: ba[!r]; };",
    "{ global: ba[^z]*; local: *; };",
    "{ local: foo; bar; };",
    "{ global: *; local: *1; \"foo2\"; };",
    "V1 { local: foo*; }; V2 { global: foo1; } V1;",
    "V1 { global: foo*; }; V2 { local: foo1; } V1;",
    "V1 { local: foo*; }; V2 { global: foo?; } V1;",
    "V1 { global: *; }; V2 { local: foo?; } V1;",
    "{ global: extern \"C++\" { ns::f*; }; local: *; };",
    "{ global: extern \"C++\" { \"ns::g(int)\"; foo*; }; local: *; };",
    "{ global: *; local: extern \"C++\" { *g*; bar; }; };",
    "{ global: extern \"C++\" { *; }; local: foo; };",
    "{ global: _ZN2ns*; local: extern \"C++\" { \"ns::g()\"; }; };",
};

/* Whether nm's output, the file x.nm, has `name` as a symbol, with or without version. */
static bool is_listed(const char *name)
{
    FILE *stream = fopen(scratch_path(&scratch, "x.nm"), "r");
    char line[256];
    bool is_found = false;
    while (fgets(line, sizeof line, stream)) {
        char *symbol = strrchr(line, ' ');
        is_found |=
            symbol && strcspn(symbol + 1, "@\n") == strlen(name) && strncmp(symbol + 1, name, strlen(name)) == 0;
    }
    fclose(stream);
    return is_found;
}

Test(linker_version_script, rules_are_chosen_as_gnu_ld_chooses)
{
    scratch_run(&scratch, "printf 'int foo, foo1, foo2, bar, bar_x, baz; int a __asm__(\"_ZN2ns1fEi\"), "
                          "b __asm__(\"_ZN2ns1gEv\"), c __asm__(\"_ZN2ns1gEi\");' >x.c && gcc -c -fPIC x.c");
    for (size_t i = 0; i < sizeof oracle_scripts / sizeof oracle_scripts[0]; i++) {
        struct version_script *script = make(oracle_scripts[i]);
        scratch_write(&scratch, "x.map", oracle_scripts[i], strlen(oracle_scripts[i]));
        scratch_run(&scratch, "gcc -shared -nostdlib -Wl,--version-script=x.map x.o -o x.so && nm -D x.so >x.nm");
        for (size_t s = 0; s < sizeof oracle_symbols / sizeof oracle_symbols[0]; s++) {
            bool is_exported = is_listed(oracle_symbols[s]);
            cr_assert_eq(is_exported, version_script_scope(script, oracle_symbols[s]) != VERSION_LOCAL, "%s: %s",
                         oracle_scripts[i], oracle_symbols[s]);
        }
        version_script_destroy(script);
    }
}

/* crateld ld: a link in the words of ld, so that compilers and build systems can have crateld as their linker. It says
 * the same in those of `crateld link`; what each option becomes is in cli/ld_options.c.
 *
 * A program becomes a crate that is an executable file, -shared makes a crate that programs need; both have the file
 * names that were asked for. What there is no crate of (-r) is left to the system's ld. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/vec.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/ld_options.h"
#include "cli/tool_path.h"

static const char usage_text[] =
    "usage: crateld ld [option]... file...\n"
    "\n"
    "Links as ld does, into a crate: a program is an executable file, -shared makes a library.\n"
    "For compilers: gcc -B\"$(crateld ld --print-folder)\" or crateld cc -fuse-ld=crateld.\n"
    "crateld: supported targets: elf64-x86-64\n";

/* A command line on its way from ld's words to those of `crateld link`. */
struct translation {
    VEC(char *) list;        /* owned; strings are borrowed */
    const char *own_support; /* archive that must stand before libgcc */
    const char *output;
    const char *folders;
    bool is_shared;
    bool allows_undefined;
    bool forbids_undefined;
    bool collects_garbage;
    bool has_input;
    bool has_program_start; /* the start file of a program, which calls main */
    bool has_entry;
    bool has_version; /* was printed */
    bool is_done;     /* all that was asked for was printed */
    bool is_delegated;
};

static struct crateld_error *emit(struct translation *t, const char *word)
{
    return VEC_PUSH(&t->list, (char *)word) ? NULL : error_memory();
}

static struct crateld_error *emit_pair(struct translation *t, const char *word, const char *value)
{
    TRY(emit(t, word));
    return emit(t, value);
}

static struct crateld_error *refuse(const char *option, const char *value, const char *advice)
{
    return error_create(CRATELD_ERROR_USAGE, "ld: '%s%s%s' is not possible for a crate: %s", option, value ? " " : "",
                        value ? value : "", advice);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Start files of the C library and of gcc: what they do crateld does itself. */
static bool is_start_file(const char *path)
{
    static const char *const names[] = {"crt1.o",     "Scrt1.o",     "rcrt1.o",     "crti.o",   "crtn.o",
                                        "crtbegin.o", "crtbeginS.o", "crtbeginT.o", "crtend.o", "crtendS.o"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(base_name(path), names[i]))
            return true;
    return false;
}

static struct crateld_error *take_input(struct translation *t, const char *path)
{
    if (!strcmp(base_name(path), "gcrt1.o"))
        return refuse("-pg", NULL, "gprof's start file counts the calls of programs only; use perf");
    t->has_input = true;
    t->has_program_start |= !strcmp(base_name(path), "crt1.o") || !strcmp(base_name(path), "Scrt1.o");
    return is_start_file(path) ? NULL : emit(t, path);
}

static struct crateld_error *take_keyword(struct translation *t, const char *keyword)
{
    const char *advice;
    switch (ld_keyword_find(keyword, &advice)) {
    case LD_PASS:
        return emit_pair(t, "-z", keyword);
    case LD_UNRESOLVED:
        t->allows_undefined = true;
        return NULL;
    case LD_DEFINED:
        t->forbids_undefined = true;
        return NULL;
    case LD_IGNORE:
        return NULL;
    default:
        if (advice)
            return refuse("-z", keyword, advice);
        return error_create(CRATELD_ERROR_USAGE,
                            "ld: unknown keyword '-z %s': drop it, or link with another linker (-fuse-ld=bfd); crateld "
                            "ld --help lists those that are known",
                            keyword);
    }
}

/* The value of an option that may have one only. */
static struct crateld_error *expect(const char *option, const char *value, const char *wanted)
{
    if (!strcmp(value, wanted))
        return NULL;
    return error_create(CRATELD_ERROR_USAGE, "ld: '%s %s' is not possible for a crate: wanted %s", option, value,
                        wanted);
}

static struct crateld_error *take_dynamic_linker(struct translation *t, const char *option, const char *path)
{
    const char *name = base_name(path);
    if (!strcmp(name, "crateld-exec"))
        return emit_pair(t, "--interpreter", path);
    if (!strncmp(name, "ld-linux", 8) || !strncmp(name, "ld.so", 5))
        return NULL; /* the one that crateld itself is started by */
    return refuse(option, path, "a crate is started by crateld-exec; say where another one is, or drop it");
}

static struct crateld_error *take_unresolved(struct translation *t, const char *option, const char *value)
{
    if (value && !strcmp(value, "report-all"))
        t->forbids_undefined = true;
    else if (!value || !strcmp(value, "ignore-all") || !strcmp(value, "ignore-in-object-files"))
        t->allows_undefined = true;
    else if (strcmp(value, "ignore-in-shared-libs") != 0)
        return refuse(option, value, "wanted ignore-all, report-all, ignore-in-object-files or ignore-in-shared-libs");
    return NULL;
}

static struct crateld_error *pass(struct translation *t, const struct ld_option *option, const char *value)
{
    if (option->value != LD_VALUE)
        return emit(t, option->more);
    if (!strcmp(option->more, "-o"))
        t->output = value;
    if (!strcmp(option->more, "-l")) {
        t->has_input = true;
        /* libgcc has a __morestack of its own, which does not know crates. */
        if (!strncmp(value, "gcc", 3))
            TRY(emit(t, t->own_support));
    }
    return emit_pair(t, option->more, value);
}

static struct crateld_error *print_version(struct translation *t)
{
    /* Build systems look for GNU, and take the first number for its version: Meson as it is, libtool what comes behind
     * the parentheses, and any " 0." or " 1." there for a linker that has no version scripts. */
    if (!t->has_version)
        puts("crateld ld (compatible with GNU ld) 2.40, crateld-" VERSION);
    t->has_version = true;
    return NULL;
}

static struct crateld_error *take_option(struct translation *t, const struct ld_option *option, const char *argument,
                                         const char *value)
{
    switch (option->action) {
    case LD_PASS:
        return pass(t, option, value);
    case LD_IGNORE:
        return NULL;
    case LD_REFUSE:
        return refuse(argument, NULL, option->more);
    case LD_SHARED:
        t->is_shared = true;
        return NULL;
    case LD_DELEGATE:
        t->is_delegated = true;
        return NULL;
    case LD_KEYWORD:
        return take_keyword(t, value);
    case LD_EMULATION:
        return expect("-m", value, "elf_x86_64");
    case LD_FORMAT:
        return expect("--oformat", value, "elf64-x86-64");
    case LD_SYSROOT:
        return *value && strcmp(value, "/") != 0 ? refuse(argument, NULL, "there is no sysroot; name folders with -L")
                                                 : NULL;
    case LD_DYNAMIC_LINKER:
        return take_dynamic_linker(t, argument, value);
    case LD_UNRESOLVED:
        return take_unresolved(t, argument, value);
    case LD_ENTRY:
        if (!strcmp(value, "_start"))
            return NULL; /* ld's default, which calls main */
        t->has_entry = true;
        return emit_pair(t, "-e", value);
    case LD_DEFAULT:
        return expect(argument, value, option->more);
    case LD_DEFINED:
        t->forbids_undefined = true;
        return NULL;
    case LD_COLLECT:
        t->collects_garbage = !strcmp(option->more, "--gc-sections");
        return NULL;
    case LD_PRINT_MAP:
        return emit_pair(t, "--map", "-");
    case LD_VERSION:
        return print_version(t);
    case LD_ONLY_VERSION:
        t->is_done = true;
        return print_version(t);
    case LD_HELP:
        fputs(usage_text, stdout);
        ld_options_print();
        t->is_done = true;
        return NULL;
    case LD_REFUSED:
        ld_options_print_refused();
        t->is_done = true;
        return NULL;
    case LD_FOLDER:
        puts(t->folders);
        t->is_done = true;
        return NULL;
    }
    return NULL;
}

static struct crateld_error *translate_all(struct translation *t, struct arguments *arguments)
{
    for (int i = 1; i < arguments->count && !t->is_done && !t->is_delegated; i++) {
        const char *argument = arguments->at[i], *value;
        if (argument[0] != '-' || !argument[1]) {
            TRY(take_input(t, argument));
            continue;
        }
        const struct ld_option *option = ld_option_find(argument, &value);
        if (!option)
            return error_create(CRATELD_ERROR_USAGE,
                                "ld: unknown option '%s': drop it, or link with another linker (-fuse-ld=bfd); crateld "
                                "ld --help lists those that are known",
                                argument);
        if (option->value == LD_VALUE && !value && !(value = arguments->at[++i]))
            return error_create(CRATELD_ERROR_USAGE, "ld: '%s' wants a value", argument);
        TRY(take_option(t, option, argument, value));
    }
    return NULL;
}

/* What ld does without being told. */
static struct crateld_error *add_defaults(struct translation *t)
{
    if (!t->output)
        TRY(emit_pair(t, "-o", "a.out"));
    TRY(emit(t, "--nodefaultlibs"));
    TRY(emit(t, "--dynamic-symbols"));
    TRY(emit(t, t->own_support));
    TRY(emit(t, t->collects_garbage ? "--gc-sections" : "--no-gc-sections"));
    if (t->is_shared)
        TRY(emit(t, "--no-entry"));
    else if (t->has_program_start && !t->has_entry && !t->allows_undefined)
        TRY(emit_pair(t, "-e", "main"));
    if (t->allows_undefined || (t->is_shared && !t->forbids_undefined))
        TRY(emit_pair(t, "-z", "undefs"));
    return emit(t, NULL);
}

static struct crateld_error *link_translated(struct translation *t, int *status)
{
    if (!t->has_input)
        return error_create(CRATELD_ERROR_USAGE, "ld: no input files");
    TRY(add_defaults(t));
    *status = cmd_link((int)t->list.count - 1, t->list.at);
    return NULL;
}

static struct crateld_error *execute_real(char **argv)
{
    char *path AUTO_FREE = NULL;
    TRY(tool_find_other("ld", &path));
    argv[0] = path;
    signal(SIGXFSZ, SIG_DFL);
    return tool_execute(path, argv);
}

static struct crateld_error *run(struct translation *t, struct arguments *arguments, int argc, char **argv, int *status)
{
    TRY(arguments_expand(argc, argv, arguments));
    TRY(emit(t, "link"));
    TRY(translate_all(t, arguments));
    if (t->is_done)
        return NULL;
    if (t->is_delegated)
        return execute_real(argv);
    return t->has_version && !t->has_input ? NULL : link_translated(t, status);
}

int cmd_ld(int argc, char **argv)
{
    struct translation t = {0};
    struct arguments arguments = {0};
    char *support AUTO_FREE = NULL, *folder AUTO_FREE = NULL;
    int status = EXIT_STATUS_DONE;
    struct crateld_error *error = tool_path("libcrateld_cc.a", &support);
    if (!error)
        error = tool_path("gcc-ld/", &folder);
    t.own_support = support;
    t.folders = folder;
    if (!error)
        error = run(&t, &arguments, argc, argv, &status);
    free(t.list.at);
    arguments_deinit(&arguments);
    return error ? command_failed(error) : status;
}

/* crateld link: the command line of a link, in the manner of ld and of compiler drivers. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/tool_path.h"
#include "linker/link.h"

static const char help[] =
    "usage: crateld link -o app.crate [options] objects, archives, crates, ELF libraries...\n"
    "\n"
    "Links relocatable objects into a crate.\n"
    "\n"
    "  -o FILE                  the crate to be written (required)\n"
    "  --name NAME              the crate's identity (default: from the file name)\n"
    "  --soname NAME            the crate's identity, and the file that those who need it look for\n"
    "  --rpath FOLDERS          where it looks for what it needs, with $ORIGIN for its own folder\n"
    "  --no-entry               make a library, whatever it defines\n"
    "  -e, --entry SYMBOL       what `crateld run` calls (default: main, if there is one)\n"
    "  -l NAME, -L FOLDER       library to link with, folder to look for libraries in\n"
    "  -Bstatic, -Bdynamic      take archives only, or shared libraries too, for the -l that follow\n"
    "  --whole-archive, --no-whole-archive   take every member of the archives that follow\n"
    "  --as-needed, --no-as-needed           need the libraries that follow only if they are used\n"
    "  --push-state, --pop-state             keep these choices, and return to them\n"
    "  --exclude-libs NAMES     export nothing of these archives (ALL: of any)\n"
    "  --wrap SYMBOL            let references to SYMBOL mean __wrap_SYMBOL, and __real_SYMBOL mean SYMBOL\n"
    "  -u SYMBOL                look for SYMBOL in archives as if it were referred to\n"
    "  --defsym NAME=VALUE      define a symbol: a number, or another symbol\n"
    "  --declare CRATE:SYMBOL   SYMBOL will come from a crate that does not exist yet\n"
    "  -z undefs                leave symbols that nothing defines to be found when they are used\n"
    "  -z execstack             the program puts code on its stacks; -z noexecstack: whatever objects say, it does "
    "not\n"
    "  --gc-sections, --no-gc-sections       leave out what cannot be reached (default), or not\n"
    "  --export SYMBOL          export SYMBOL (or pattern), and of all others none that is not named\n"
    "  --version-script FILE    export what FILE says is global\n"
    "  --dynamic-list FILE      likewise, for a list\n"
    "  --no-relink              leave out the relink section: the crate can not be reloaded\n"
    "  -s, -S                   leave out symbols and debug information, or debug information\n"
    "  --dynamic-symbols        list what the crate exports in .dynsym too, for tools that look there\n"
    "  --nodefaultlibs          do not add libc, libgcc and libgcc_s\n"
    "  --interpreter PATH       what the kernel runs the crate with (default: the crateld-exec beside this program)\n"
    "  --map FILE               write what went where (- is standard output)\n"
    "  --incremental, --no-incremental       update the crate where little has changed, or never (default: when\n"
    "                           it is made of many objects)\n"
    "  --threads NUMBER         use so many threads (default: one for each processor)\n"
    "  --fatal-warnings         treat warnings as errors\n"
    "  -v                       say which files and archive members are taken\n"
    "  --time-passes            say how long each pass took\n"
    "  @FILE                    more arguments from FILE\n";

/* The options as they are gathered; the lists belong to it. */
struct gathering {
    struct link_options options;
    VEC(struct link_argument) arguments;
    VEC(const char *)
    library_dirs, version_scripts, dynamic_lists, exports, declares, undefined, defsyms, wraps, excluded;
    struct arena arena;              /* of strings that no argument holds */
    struct link_argument mode;       /* flags for the inputs that follow */
    VEC(struct link_argument) modes; /* --push-state */
};

enum option_kind {
    OPTION_HELP,
    OPTION_OUTPUT,
    OPTION_NAME,
    OPTION_SONAME,
    OPTION_RUNPATH,
    OPTION_WRAP,
    OPTION_EXCLUDE,
    OPTION_ENTRY,
    OPTION_MAP,
    OPTION_INTERPRETER,
    OPTION_LIBRARY,
    OPTION_LIBRARY_DIR,
    OPTION_UNDEFINED,
    OPTION_DEFSYM,
    OPTION_DECLARE,
    OPTION_EXPORT,
    OPTION_VERSION_SCRIPT,
    OPTION_DYNAMIC_LIST,
    OPTION_Z,
    OPTION_WHOLE_ARCHIVE,
    OPTION_NO_WHOLE_ARCHIVE,
    OPTION_AS_NEEDED,
    OPTION_NO_AS_NEEDED,
    OPTION_STATIC,
    OPTION_DYNAMIC,
    OPTION_GC,
    OPTION_NO_GC,
    OPTION_NO_RELINK,
    OPTION_DYNAMIC_SYMBOLS,
    OPTION_INCREMENTAL,
    OPTION_NO_INCREMENTAL,
    OPTION_THREADS,
    OPTION_NO_ENTRY,
    OPTION_PUSH_STATE,
    OPTION_POP_STATE,
    OPTION_NO_DEFAULTS,
    OPTION_STRIP_ALL,
    OPTION_STRIP_DEBUG,
    OPTION_FATAL_WARNINGS,
    OPTION_VERBOSE,
    OPTION_TIMES,
    OPTION_IGNORED,
};

enum option_value {
    VALUE_NONE,
    VALUE_SEPARATE, /* --name X or --name=X */
    VALUE_JOINED,   /* -lX or -l X */
};

static const struct {
    const char *name;
    enum option_kind kind;
    enum option_value value;
} option_rows[] = {
    {"--help", OPTION_HELP, VALUE_NONE},
    {"-h", OPTION_HELP, VALUE_NONE},
    {"--output", OPTION_OUTPUT, VALUE_SEPARATE},
    {"--name", OPTION_NAME, VALUE_SEPARATE},
    {"--soname", OPTION_SONAME, VALUE_SEPARATE},
    {"--rpath", OPTION_RUNPATH, VALUE_SEPARATE},
    {"--wrap", OPTION_WRAP, VALUE_SEPARATE},
    {"--exclude-libs", OPTION_EXCLUDE, VALUE_SEPARATE},
    {"--no-entry", OPTION_NO_ENTRY, VALUE_NONE},
    {"--push-state", OPTION_PUSH_STATE, VALUE_NONE},
    {"--pop-state", OPTION_POP_STATE, VALUE_NONE},
    {"--entry", OPTION_ENTRY, VALUE_SEPARATE},
    {"--map", OPTION_MAP, VALUE_SEPARATE},
    {"--interpreter", OPTION_INTERPRETER, VALUE_SEPARATE},
    {"--library", OPTION_LIBRARY, VALUE_SEPARATE},
    {"--library-path", OPTION_LIBRARY_DIR, VALUE_SEPARATE},
    {"--undefined", OPTION_UNDEFINED, VALUE_SEPARATE},
    {"--defsym", OPTION_DEFSYM, VALUE_SEPARATE},
    {"--declare", OPTION_DECLARE, VALUE_SEPARATE},
    {"--export", OPTION_EXPORT, VALUE_SEPARATE},
    {"--version-script", OPTION_VERSION_SCRIPT, VALUE_SEPARATE},
    {"--dynamic-list", OPTION_DYNAMIC_LIST, VALUE_SEPARATE},
    {"--whole-archive", OPTION_WHOLE_ARCHIVE, VALUE_NONE},
    {"--no-whole-archive", OPTION_NO_WHOLE_ARCHIVE, VALUE_NONE},
    {"--as-needed", OPTION_AS_NEEDED, VALUE_NONE},
    {"--no-as-needed", OPTION_NO_AS_NEEDED, VALUE_NONE},
    {"-Bstatic", OPTION_STATIC, VALUE_NONE},
    {"-Bdynamic", OPTION_DYNAMIC, VALUE_NONE},
    {"--gc-sections", OPTION_GC, VALUE_NONE},
    {"--no-gc-sections", OPTION_NO_GC, VALUE_NONE},
    {"--dynamic-symbols", OPTION_DYNAMIC_SYMBOLS, VALUE_NONE},
    {"--incremental", OPTION_INCREMENTAL, VALUE_NONE},
    {"--no-incremental", OPTION_NO_INCREMENTAL, VALUE_NONE},
    {"--threads", OPTION_THREADS, VALUE_SEPARATE},
    {"--no-relink", OPTION_NO_RELINK, VALUE_NONE},
    {"--nodefaultlibs", OPTION_NO_DEFAULTS, VALUE_NONE},
    {"-nodefaultlibs", OPTION_NO_DEFAULTS, VALUE_NONE},
    {"-nostdlib", OPTION_NO_DEFAULTS, VALUE_NONE},
    {"--strip-all", OPTION_STRIP_ALL, VALUE_NONE},
    {"-s", OPTION_STRIP_ALL, VALUE_NONE},
    {"--strip-debug", OPTION_STRIP_DEBUG, VALUE_NONE},
    {"-S", OPTION_STRIP_DEBUG, VALUE_NONE},
    {"--fatal-warnings", OPTION_FATAL_WARNINGS, VALUE_NONE},
    {"--verbose", OPTION_VERBOSE, VALUE_NONE},
    {"-v", OPTION_VERBOSE, VALUE_NONE},
    {"--time-passes", OPTION_TIMES, VALUE_NONE},
    {"--start-group", OPTION_IGNORED, VALUE_NONE}, /* archives are searched until nothing is missing anyway */
    {"--end-group", OPTION_IGNORED, VALUE_NONE},
    {"-pthread", OPTION_IGNORED, VALUE_NONE},
    {"-o", OPTION_OUTPUT, VALUE_JOINED},
    {"-e", OPTION_ENTRY, VALUE_JOINED},
    {"-l", OPTION_LIBRARY, VALUE_JOINED},
    {"-L", OPTION_LIBRARY_DIR, VALUE_JOINED},
    {"-u", OPTION_UNDEFINED, VALUE_JOINED},
    {"-z", OPTION_Z, VALUE_JOINED},
};

/* Whether `argument` is row `i`; *value is then what follows within the argument, NULL for nothing. */
static bool matches(size_t i, const char *argument, const char **value)
{
    size_t length = strlen(option_rows[i].name);
    *value = NULL;
    if (strncmp(argument, option_rows[i].name, length) != 0)
        return false;
    const char *rest = argument + length;
    if (!*rest)
        return true;
    if (option_rows[i].value == VALUE_SEPARATE && *rest == '=')
        *value = rest + 1;
    else if (option_rows[i].value == VALUE_JOINED)
        *value = rest;
    return *value != NULL;
}

static struct crateld_error *usage(const char *format, const char *what)
{
    char text[512];
    snprintf(text, sizeof text, format, what);
    return error_create(CRATELD_ERROR_USAGE, "%s (see crateld link --help)", text);
}

static struct crateld_error *add_input(struct gathering *g, enum link_argument_kind kind, const char *value)
{
    struct link_argument argument = g->mode;
    argument.kind = kind;
    argument.value = value;
    return VEC_PUSH(&g->arguments, argument) ? NULL : error_memory();
}

static struct crateld_error *push(bool is_pushed)
{
    return is_pushed ? NULL : error_memory();
}

static struct crateld_error *take_z(struct gathering *g, const char *keyword)
{
    static const char *const ignored[] = {"now", "lazy", "relro", "norelro", "nodlopen"};
    if (!strcmp(keyword, "undefs")) {
        g->options.allow_undefined = true;
        return NULL;
    }
    if (!strcmp(keyword, "defs")) {
        g->options.allow_undefined = false;
        return NULL;
    }
    if (!strcmp(keyword, "execstack") || !strcmp(keyword, "noexecstack")) {
        g->options.stack = *keyword == 'e' ? LINK_STACK_EXECUTABLE : LINK_STACK_PLAIN;
        return NULL;
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (!strcmp(keyword, ignored[i]))
            return NULL;
    return usage("unknown keyword '-z %s'", keyword);
}

/* --rpath: each one's folders behind those before. */
static struct crateld_error *add_runpath(struct gathering *g, const char *folders)
{
    const char *before = g->options.runpath;
    g->options.runpath = before ? arena_printf(&g->arena, "%s:%s", before, folders) : folders;
    return g->options.runpath ? NULL : error_memory();
}

/* --exclude-libs: names, separated by commas or colons. */
static struct crateld_error *add_excluded(struct gathering *g, const char *names)
{
    for (size_t length; *names; names += length + (names[length] != 0)) {
        length = strcspn(names, ",:");
        const char *name = arena_strndup(&g->arena, names, length);
        if (!name || !VEC_PUSH(&g->excluded, name))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *take_threads(struct gathering *g, const char *text)
{
    char *end;
    unsigned long count = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || !count || count > WORKERS_MAX)
        return usage("'--threads %s': wanted a number from 1 to 64", text);
    g->options.workers = (uint32_t)count;
    return NULL;
}

static struct crateld_error *take_valued(struct gathering *g, enum option_kind kind, const char *value)
{
    switch (kind) {
    case OPTION_OUTPUT:
        g->options.output = value;
        return NULL;
    case OPTION_NAME:
        g->options.name = value;
        return NULL;
    case OPTION_SONAME:
        g->options.name = value;
        g->options.has_soname = true;
        return NULL;
    case OPTION_RUNPATH:
        return add_runpath(g, value);
    case OPTION_WRAP:
        return push(VEC_PUSH(&g->wraps, value));
    case OPTION_EXCLUDE:
        return add_excluded(g, value);
    case OPTION_ENTRY:
        g->options.entry = value;
        g->options.is_entry_required = true;
        return NULL;
    case OPTION_MAP:
        g->options.map_path = value;
        return NULL;
    case OPTION_INTERPRETER:
        g->options.interpreter = value;
        return NULL;
    case OPTION_LIBRARY:
        return add_input(g, LINK_ARGUMENT_LIBRARY, value);
    case OPTION_LIBRARY_DIR:
        return push(VEC_PUSH(&g->library_dirs, value));
    case OPTION_UNDEFINED:
        return push(VEC_PUSH(&g->undefined, value));
    case OPTION_DEFSYM:
        return push(VEC_PUSH(&g->defsyms, value));
    case OPTION_DECLARE:
        return push(VEC_PUSH(&g->declares, value));
    case OPTION_EXPORT:
        return push(VEC_PUSH(&g->exports, value));
    case OPTION_VERSION_SCRIPT:
        return push(VEC_PUSH(&g->version_scripts, value));
    case OPTION_DYNAMIC_LIST:
        return push(VEC_PUSH(&g->dynamic_lists, value));
    case OPTION_THREADS:
        return take_threads(g, value);
    default:
        return take_z(g, value);
    }
}

/* --push-state, --pop-state: what applies to the inputs that follow. */
static struct crateld_error *change_state(struct gathering *g, enum option_kind kind)
{
    if (kind == OPTION_PUSH_STATE)
        return push(VEC_PUSH(&g->modes, g->mode));
    if (!g->modes.count)
        return usage("%s", "--pop-state without --push-state");
    g->mode = g->modes.at[--g->modes.count];
    return NULL;
}

static void take_flag(struct gathering *g, enum option_kind kind)
{
    switch (kind) {
    case OPTION_NO_ENTRY:
        g->options.has_no_entry = true;
        break;
    case OPTION_WHOLE_ARCHIVE:
    case OPTION_NO_WHOLE_ARCHIVE:
        g->mode.is_whole_archive = kind == OPTION_WHOLE_ARCHIVE;
        break;
    case OPTION_AS_NEEDED:
    case OPTION_NO_AS_NEEDED:
        g->mode.is_as_needed = kind == OPTION_AS_NEEDED;
        break;
    case OPTION_STATIC:
    case OPTION_DYNAMIC:
        g->mode.is_static = kind == OPTION_STATIC;
        break;
    case OPTION_GC:
    case OPTION_NO_GC:
        g->options.collect_garbage = kind == OPTION_GC;
        break;
    case OPTION_NO_RELINK:
        g->options.keep_relink = false;
        break;
    case OPTION_INCREMENTAL:
    case OPTION_NO_INCREMENTAL:
        g->options.update = kind == OPTION_INCREMENTAL ? LINK_UPDATE_ALWAYS : LINK_UPDATE_NEVER;
        break;
    case OPTION_NO_DEFAULTS:
        g->options.has_default_libraries = false;
        break;
    case OPTION_DYNAMIC_SYMBOLS:
        g->options.has_dynamic_symbols = true;
        break;
    case OPTION_STRIP_ALL:
        g->options.is_strip_all = true;
        break;
    case OPTION_STRIP_DEBUG:
        g->options.is_strip_debug = true;
        break;
    case OPTION_FATAL_WARNINGS:
        g->options.is_fatal_warnings = true;
        break;
    case OPTION_VERBOSE:
        g->options.is_verbose = true;
        break;
    case OPTION_TIMES:
        g->options.show_times = true;
        break;
    default:
        break;
    }
}

/* -Wl,-x,y: compiler drivers' way to hand -x y to the linker. */
static struct crateld_error *split_driver_option(struct arguments *arguments, int i)
{
    char *text = arena_strndup(&arguments->arena, arguments->at[i] + 4, strlen(arguments->at[i] + 4));
    size_t more = 0;
    if (!text)
        return error_memory();
    for (const char *comma = text; (comma = strchr(comma, ',')); comma++)
        more++;
    if (!vec_grow((void **)&arguments->at, &arguments->capacity, (size_t)arguments->count + 1, more,
                  sizeof *arguments->at))
        return error_memory();
    memmove(arguments->at + i + 1 + more, arguments->at + i + 1,
            (size_t)(arguments->count - i) * sizeof *arguments->at);
    arguments->count += (int)more;
    for (char *part; (part = strsep(&text, ",")); i++)
        arguments->at[i] = part;
    return NULL;
}

/* Takes argv[*i] and what belongs to it. `*is_help` is set when help was asked for. */
static struct crateld_error *take_argument(struct gathering *g, int argc, char **argv, int *i, bool *is_help)
{
    const char *argument = argv[*i], *value;
    if (argument[0] != '-' || !argument[1])
        return add_input(g, LINK_ARGUMENT_FILE, argument);
    for (size_t row = 0; row < sizeof option_rows / sizeof *option_rows; row++) {
        if (!matches(row, argument, &value))
            continue;
        if (option_rows[row].kind == OPTION_HELP) {
            *is_help = true;
            return NULL;
        }
        if (option_rows[row].kind == OPTION_PUSH_STATE || option_rows[row].kind == OPTION_POP_STATE)
            return change_state(g, option_rows[row].kind);
        if (option_rows[row].value == VALUE_NONE) {
            take_flag(g, option_rows[row].kind);
            return NULL;
        }
        if (!value && ++*i >= argc)
            return usage("'%s' wants a value", argument);
        return take_valued(g, option_rows[row].kind, value ? value : argv[*i]);
    }
    return usage("unknown option '%s'", argument);
}

static struct crateld_error *gather(struct gathering *g, struct arguments *arguments, bool *is_help)
{
    g->options = (struct link_options){
        .entry = "main", .collect_garbage = true, .keep_relink = true, .has_default_libraries = true};
    for (int i = 1; i < arguments->count && !*is_help; i++) {
        if (!strncmp(arguments->at[i], "-Wl,", 4))
            TRY(split_driver_option(arguments, i));
        TRY(take_argument(g, arguments->count, arguments->at, &i, is_help));
    }
    if (*is_help)
        return NULL;
    if (!g->options.output)
        return usage("%s", "no output file: -o app.crate");
    if (!g->arguments.count)
        return usage("%s", "no input files");
    struct link_options *options = &g->options;
    options->arguments = g->arguments.at;
    options->argument_count = g->arguments.count;
    options->library_dirs = g->library_dirs.at;
    options->library_dir_count = g->library_dirs.count;
    options->version_scripts = g->version_scripts.at;
    options->version_script_count = g->version_scripts.count;
    options->dynamic_lists = g->dynamic_lists.at;
    options->dynamic_list_count = g->dynamic_lists.count;
    options->exports = g->exports.at;
    options->export_count = g->exports.count;
    options->declares = g->declares.at;
    options->declare_count = g->declares.count;
    options->undefined = g->undefined.at;
    options->undefined_count = g->undefined.count;
    options->defsyms = g->defsyms.at;
    options->defsym_count = g->defsyms.count;
    options->wraps = g->wraps.at;
    options->wrap_count = g->wraps.count;
    options->excluded_archives = g->excluded.at;
    options->excluded_archive_count = g->excluded.count;
    return NULL;
}

static void release(struct gathering *g)
{
    void *owned[] = {g->arguments.at, g->library_dirs.at, g->version_scripts.at, g->dynamic_lists.at, g->exports.at,
                     g->declares.at,  g->undefined.at,    g->defsyms.at,         g->wraps.at,         g->excluded.at,
                     g->modes.at};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    arena_deinit(&g->arena);
}

/* What a link needs that stands beside this program. */
static struct crateld_error *find_own_files(char **support, char **self, char **interpreter)
{
    TRY(tool_path("libcrateld_cc.a", support));
    TRY(tool_path("crateld-exec", interpreter));
    return tool_path("crateld-tool", self);
}

int cmd_link(int argc, char **argv)
{
    struct gathering g = {0};
    arena_init(&g.arena);
    struct arguments expanded;
    bool is_help = false;
    struct crateld_error *error = arguments_expand(argc, argv, &expanded);
    if (error)
        return command_failed(error);
    char *support = NULL, *self = NULL, *interpreter = NULL;
    error = gather(&g, &expanded, &is_help);
    if (!error && !is_help)
        error = find_own_files(&support, &self, &interpreter);
    char *toc_compiler[] = {self, (char[]){"cc"}, NULL};
    g.options.support_archive = support;
    g.options.toc_compiler = toc_compiler;
    if (!g.options.interpreter)
        g.options.interpreter = interpreter;
    if (!error && is_help)
        fputs(help, stdout);
    else if (!error)
        error = link_run(&g.options);
    free(support);
    free(self);
    free(interpreter);
    release(&g);
    arguments_deinit(&expanded);
    return error ? command_failed(error) : 0;
}

/* What a link is asked to do, as the command line says it. */
#ifndef LINKER_OPTIONS_H
#define LINKER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct link_base;

enum link_update {
    LINK_UPDATE_LARGE, /* a crate of many objects is updated, when only some of them have changed */
    LINK_UPDATE_ALWAYS,
    LINK_UPDATE_NEVER,
};

/* What becomes of a variable's value when its type changes: an enum crateld_on_change. */
struct link_on_change {
    const char *variable; /* as the program or its symbol table calls it */
    uint32_t policy;
    bool is_found; /* set if there is such a variable */
};

/* What whoever asked for a patch should know of how it was made. */
struct link_note {
    char text[400]; /* "": nothing */
};

enum link_stack {
    LINK_STACK_OF_OBJECTS, /* executable if an object asks for that */
    LINK_STACK_PLAIN,
    LINK_STACK_EXECUTABLE,
};

enum link_argument_kind {
    LINK_ARGUMENT_FILE,    /* value: a path */
    LINK_ARGUMENT_LIBRARY, /* value: the name behind -l */
};

/* One input, with the options that stood before it. */
struct link_argument {
    const char *value;
    struct span contents; /* borrowed; of the file, where they are at hand; else empty */
    enum link_argument_kind kind;
    bool is_whole_archive; /* take every member, not just those that are needed */
    bool is_as_needed;     /* record the library as needed only if something is imported from it */
    bool is_static;        /* -Bstatic: prefer archives to shared libraries */
};

struct link_options {
    const char *output;          /* path of the crate */
    const char *name;            /* the crate's identity; NULL: from `output` */
    const char *entry;           /* symbol; "main" by default; absent is allowed unless is_entry_required */
    char *const *toc_compiler;   /* command that compiles TOC code, NULL-terminated; NULL: gcc, as it is */
    const char *support_archive; /* what TOC code needs of the runtime, searched before libgcc; NULL: none */
    const char *interpreter; /* path of crateld-exec: crates with an entry are executable files; NULL: no crate is */
    const char *map_path;    /* NULL: no map */
    const char *base;        /* path of a crate for which a patch is made of the inputs; NULL: a crate is */
    const struct link_base *opened_base; /* borrowed; the same, opened already; NULL: it is to be opened */
    bool adds_modules;                   /* of a patch: a module that the base does not have may be alone */
    enum link_update update;
    uint32_t workers;            /* threads, up to WORKERS_MAX; 0: one for each processor */
    struct output_file *adopted; /* borrowed; an empty file to be filled, in place of that at `output`; NULL: none */
    const char *const *bundled;  /* paths of crates that are put into a bundle, the one with the entry first */
    size_t bundled_count;        /* 0: no bundle is made */
    const char *order;           /* path: functions in the order of their first calls; NULL: none is known */
    const char *const *renames;  /* "old=new": the input `new` is another version of the module `old` */
    size_t rename_count;
    struct link_on_change *on_changes; /* --on-change: beats what the sources say */
    size_t on_change_count;
    bool is_forced;         /* --force: variables move though the program has pointers to them */
    struct link_note *note; /* filled in; NULL: not wanted */
    const struct link_argument *arguments;
    size_t argument_count;
    const char *const *library_dirs; /* -L, in order */
    size_t library_dir_count;
    const char *const *version_scripts; /* paths */
    size_t version_script_count;
    const char *const *dynamic_lists; /* paths */
    size_t dynamic_list_count;
    const char *const *exports; /* --export: names and patterns */
    size_t export_count;
    const char *const *declares; /* --declare: "b.crate:symbol" */
    size_t declare_count;
    const char *const *undefined; /* -u: symbols to be looked for as if an object referred to them */
    size_t undefined_count;
    const char *const *defsyms; /* --defsym: "name=value" with value a number or another symbol */
    size_t defsym_count;
    const char *const *wraps; /* --wrap: references to x mean __wrap_x, those to __real_x mean x */
    size_t wrap_count;
    const char *const *excluded_archives; /* --exclude-libs: names of files, or ALL: nothing of theirs is exported */
    size_t excluded_archive_count;
    const char *runpath;    /* folders in which what is needed is looked for at run time; NULL: none */
    bool has_soname;        /* the name is also that of the file */
    bool is_stub;           /* the crate's exports are those of the one input, an ELF library */
    bool has_no_entry;      /* a library, though it may define the entry's symbol */
    bool is_entry_required; /* --entry was given: its absence is an error */
    bool collect_garbage;
    bool keep_relink;
    bool allow_undefined;       /* -z undefs: unresolved imports are looked for when they are used */
    bool has_default_libraries; /* libc, libgcc, libgcc_s */
    enum link_stack stack;
    bool is_strip_debug;
    bool is_strip_all;
    bool has_dynamic_symbols; /* the file lists its exports in .dynsym too, for tools that look there */
    bool is_fatal_warnings;
    bool is_verbose;
    bool show_times;
};

#endif

/* A link from its options to its crate, as a list of passes. */
#include "linker/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "linker/bundle.h"
#include "linker/eh_frame.h"
#include "linker/elf_file.h"
#include "linker/function.h"
#include "linker/gc.h"
#include "linker/incremental.h"
#include "linker/inputs.h"
#include "linker/layout.h"
#include "linker/leaked.h"
#include "linker/lto_pass.h"
#include "linker/map.h"
#include "linker/merge.h"
#include "linker/own.h"
#include "linker/patch.h"
#include "linker/relink_section.h"
#include "linker/resolve.h"
#include "linker/scan.h"
#include "linker/scan_ahead.h"
#include "linker/state.h"
#include "linker/stub.h"
#include "linker/undefined.h"
#include "linker/wanted.h"

enum { MAX_REPORTED = 200 };

void link_report(struct link *link, struct crateld_error *error)
{
    if (!error)
        return;
    if (crateld_error_code(error) != CRATELD_ERROR_DUPLICATE)
        link->is_incomplete = true;
    if (link->error_count++ >= MAX_REPORTED) {
        crateld_error_destroy(error);
        return;
    }
    link->errors = error_join(link->errors, error);
}

void link_warn(struct link *link, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (link->options->is_fatal_warnings)
        link_report(link, error_create(CRATELD_ERROR_UNSUPPORTED, "%s", text));
    else
        fprintf(stderr, "crateld: warning: %s\n", text);
}

struct crateld_error *link_take_errors(struct link *link)
{
    struct crateld_error *errors = link->errors;
    if (link->error_count > MAX_REPORTED)
        errors = error_join(
            errors, error_create(crateld_error_code(errors), "… and %u more errors", link->error_count - MAX_REPORTED));
    link->errors = NULL;
    link->error_count = 0;
    return errors;
}

/* "dir/app.crate" is called "app". */
static const char *default_name(struct link *link)
{
    const char *path = link->options->output;
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t length = dot && dot != base && !strcmp(dot, ".crate") ? (size_t)(dot - base) : strlen(base);
    return arena_strndup(&link->arena, base, length);
}

static struct crateld_error *init(struct link *link, const struct link_options *options, struct link_lto *lto)
{
    *link = (struct link){.options = options, .machine = &reloc_machine_x86_64, .lto = lto};
    bool is_patch = options->base || options->opened_base;
    arena_init(&link->arena);
    link->workers = options->workers ? options->workers : workers_available();
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        link->worker_arenas[i].is_large = !is_patch;
    link->arena.is_large = !is_patch; /* which stays small */
    search_init(&link->search);
    journal_init(&link->journal);
    link_state_plan(link);
    link_symbol_table_init(&link->symbols);
    hash_index_init(&link->groups);
    hash_index_init(&link->provider_names);
    hash_index_init(&link->known_export_names);
    hash_index_init(&link->function_index);
    link->own.path = "the linker";
    link->name = options->name ? options->name : default_name(link);
    if (!link->name)
        return error_memory();
    if (!*link->name || strchr(link->name, '/'))
        return error_create(CRATELD_ERROR_USAGE, "'%s' can not be a crate's name", link->name);
    return version_script_create(&link->scripts);
}

static void deinit(struct link *link)
{
    if (link->hashing)
        crateld_error_destroy(workers_finish(link->hashing));
    crateld_error_destroy(link->errors);
    search_deinit(&link->search);
    journal_deinit(&link->journal);
    version_script_destroy(link->scripts);
    for (size_t i = 0; i < link->providers.count; i++)
        if (link->providers.at[i]->kind == LINK_PROVIDER_ELF)
            shared_library_deinit(link->providers.at[i]->library);
    for (size_t i = 0; i < link->archives.count; i++) {
        archive_deinit(&link->archives.at[i]->archive);
        hash_index_deinit(&link->archives.at[i]->by_name);
        free(link->archives.at[i]->is_taken);
    }
    for (size_t i = 0; i < link->objects.count; i++)
        free(link->objects.at[i]->calls.at);
    for (size_t i = 0; i < link->files.count; i++)
        file_close(&link->files.at[i]);
    for (size_t i = 0; i < link->outputs.count; i++)
        free(link->outputs.at[i]->sections.at);
    link_symbol_table_deinit(&link->symbols);
    hash_index_deinit(&link->groups);
    hash_index_deinit(&link->provider_names);
    hash_index_deinit(&link->known_export_names);
    hash_index_deinit(&link->function_index);
    link_eh_frame_destroy(link->eh_frame);
    link_merge_table_destroy(link->merges);
    link_patch_destroy(link->patch);
    link_bundle_destroy(link->bundle);
    void *owned[] = {link->objects.at,          link->files.at,          link->providers.at,
                     link->archives.at,         link->sources.at,        link->known_exports.at,
                     link->own_sections.at,     link->markers.at,        link->lto_objects.at,
                     link->group_signatures.at, link->functions.at,      link->function_imports.at,
                     link->ifunc_imports.at,    link->global_imports.at, link->constant_slots.at,
                     link->data_relocs.at,      link->fixups.at,         link->func_refs.at,
                     link->undefined.at,        link->outputs.at,        link->wanted.at};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    arena_deinit(&link->arena);
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        arena_deinit(&link->worker_arenas[i]);
}

static struct crateld_error *add_script(struct link *link, const char *path,
                                        struct crateld_error *(*add)(struct version_script *, struct span,
                                                                     const char *))
{
    struct file file;
    struct file_stamp stamp = file_stamp_at(path);
    TRY(file_open(path, &file));
    journal_add(&link->journal, path, &stamp);
    struct crateld_error *error = add(link->scripts, file.data, path);
    file_close(&file);
    return error;
}

/* Everything that the options say before any input is opened. */
static struct crateld_error *read_options(struct link *link)
{
    const struct link_options *options = link->options;
    for (size_t i = 0; i < options->version_script_count; i++)
        TRY(add_script(link, options->version_scripts[i], version_script_add));
    for (size_t i = 0; i < options->dynamic_list_count; i++)
        TRY(add_script(link, options->dynamic_lists[i], version_script_add_dynamic_list));
    for (size_t i = 0; i < options->export_count; i++)
        TRY(version_script_add_export(link->scripts, options->exports[i]));
    for (size_t i = 0; i < options->library_dir_count; i++)
        TRY(search_add_dir(&link->search, options->library_dirs[i]));
    bool is_patch = options->base || options->opened_base; /* which rarely looks for anything */
    return is_patch ? NULL : search_add_defaults(&link->search, link->machine->triplet);
}

/* The symbols that are wanted without an object that refers to them. The entry, which patches have none of, is not
 * referred to: it is taken from archives, and never imported. */
static struct crateld_error *request_symbols(struct link *link)
{
    if (!link->patch && !link->options->has_no_entry) {
        link->entry = link_symbol_table_enter(&link->symbols, &link->arena, link->options->entry, NULL);
        if (!link->entry)
            return error_memory();
        TRY(link_want(link, link->entry));
    }
    for (size_t i = 0; i < link->options->undefined_count; i++) {
        struct link_symbol *symbol =
            link_symbol_table_enter(&link->symbols, &link->arena, link->options->undefined[i], NULL);
        if (!symbol)
            return error_memory();
        TRY(link_refer(link, symbol, false));
    }
    return link_own_begin_defsyms(link);
}

/* If main() is a library's, the entry is a function of the support archive's, which calls it. While there are objects
 * to be compiled, it may be theirs: the link starts again then. */
static struct crateld_error *want_library_main(struct link *link)
{
    const struct link_options *options = link->options;
    uint32_t provider = UINT32_MAX;
    if (link->patch || options->has_no_entry || !options->is_entry_required || !options->support_archive ||
        link->lto_objects.count || strcmp(options->entry, "main") != 0 || link->entry->state == LINK_SYMBOL_DEFINED)
        return NULL;
    for (size_t i = 0; i < link->sources.count && provider == UINT32_MAX; i++) {
        struct shared_symbol found;
        if (!link->sources.at[i].is_archive)
            TRY(link_source_find(link, &link->sources.at[i], link->entry, &found, &provider));
    }
    if (provider == UINT32_MAX)
        return NULL;
    link->entry = link_symbol_table_enter(&link->symbols, &link->arena, "crateld_library_main", NULL);
    if (!link->entry)
        return error_memory();
    TRY(link_want(link, link->entry));
    return link_resolve_undefined(link);
}

static struct crateld_error *check_entry(struct link *link)
{
    struct link_symbol *entry = link->entry;
    if (link->patch)
        return NULL;
    if (link->options->has_no_entry) {
        link->entry = NULL;
        return NULL;
    }
    if (entry->state == LINK_SYMBOL_DEFINED && link_section_is_loaded(entry->section) &&
        (entry->section->flags & SHF_EXECINSTR) && entry->value < entry->section->size)
        return NULL;
    link->entry = NULL;
    if (link->options->is_entry_required && !link->lto_objects.count)
        link_report(link, error_create(CRATELD_ERROR_UNDEFINED, "%s: no input defines the entry '%s', a function",
                                       link->options->output, link->options->entry));
    return NULL;
}

static struct crateld_error *write_crate(struct link *link)
{
    struct link_image image = {0};
    crate_tables_init(&image.tables);
    struct crateld_error *error = link_layout(link, &image);
    if (!error)
        error = link_take_errors(link);
    if (!error)
        error = link_write_map(link);
    if (!error)
        error = link_write_file(link, &image);
    crate_tables_deinit(&image.tables);
    link_symtab_deinit(&image.symtab);
    return error;
}

static struct crateld_error *resolve(struct link *link)
{
    TRY(link_own_symbols(link));
    TRY(link_resolve_undefined(link));
    TRY(want_library_main(link));
    TRY(link_own_symbols(link));
    TRY(link_own_bounds(link));
    TRY(link_own_finish_defsyms(link));
    return check_entry(link);
}

static struct crateld_error *settle_one(void *context, uint32_t worker, size_t what)
{
    (void)worker;
    return what ? link_eh_frame_parse(context) : link_settle_symbols(context);
}

/* At the same time: neither looks at what the other finds. */
static struct crateld_error *settle(struct link *link)
{
    return workers_run(link_workers_for(link, link->objects.count), 2, settle_one, link);
}

/* What faults found so far mean for the passes that follow. */
enum barrier {
    GO_ON,        /* they find more */
    IF_COMPLETE,  /* the link ends, unless all that is wrong are duplicate definitions: undefined ones are reported with
                     them */
    IF_FAULTLESS, /* the link ends */
};

struct pass {
    const char *name;
    struct crateld_error *(*run)(struct link *link);
    enum barrier barrier;
};

/* After "collect garbage" it is known what the crate consists of, after "scan" what its TOC holds. */
static const struct pass passes[] = {
    {"read options", read_options, GO_ON},
    {"update", link_update, GO_ON},
    {"open base", link_patch_open, GO_ON},
    {"request symbols", request_symbols, GO_ON},
    {"add compiled objects", link_add_compiled_objects, GO_ON},
    {"read inputs", link_read_inputs, IF_COMPLETE},
    {"check input of stub", link_stub_check, GO_ON},
    {"resolve", resolve, IF_COMPLETE},
    {"settle symbols and unwind tables", settle, GO_ON},
    {"refuse allocators", link_refuse_allocators, IF_COMPLETE},
    {"read TOC records", link_function_read_records, IF_COMPLETE},
    {"match with base", link_patch_match, IF_COMPLETE},
    {"begin hashes", link_relink_begin_hashes, GO_ON},
    {"collect garbage", link_collect_garbage, GO_ON},
    {"wrap .init and .fini", link_own_init, GO_ON},
    {"merge sections", link_merge_sections, GO_ON},
    {"find leaked addresses", link_find_leaked, GO_ON},
    {"scan exports", link_scan_exports, GO_ON},
    {"scan ahead", link_scan_ahead, GO_ON},
    {"scan", link_scan, GO_ON},
    {"report undefined", link_report_undefined, IF_FAULTLESS},
    {"end hashes", link_relink_end_hashes, IF_FAULTLESS},
    {"write", write_crate, IF_FAULTLESS},
};

/* A bundle's: what it consists of, and what its symbols mean, is known from its crates. */
static const struct pass bundle_passes[] = {
    {"open crates", link_bundle_open, IF_COMPLETE},
    {"read modules", link_bundle_read_modules, GO_ON},
    {"bind imports", link_bundle_bind, IF_COMPLETE},
    {"order functions", link_bundle_order, GO_ON},
    {"take unwind tables apart", link_eh_frame_parse, IF_COMPLETE},
    {"find leaked addresses", link_find_leaked, GO_ON},
    {"begin hashes", link_relink_begin_hashes, GO_ON},
    {"scan exports", link_scan_exports, GO_ON},
    {"scan ahead", link_scan_ahead, GO_ON},
    {"scan", link_scan, GO_ON},
    {"report undefined", link_report_undefined, IF_FAULTLESS},
    {"end hashes", link_relink_end_hashes, IF_FAULTLESS},
    {"take over lines", link_bundle_lines, GO_ON},
    {"write", write_crate, IF_FAULTLESS},
};

static bool must_end(const struct link *link, enum barrier barrier)
{
    return link->errors && (barrier == IF_FAULTLESS || (barrier == IF_COMPLETE && link->is_incomplete));
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct crateld_error *run_passes(struct link *link, bool *is_again)
{
    bool is_bundle = link->options->bundled_count;
    const struct pass *list = is_bundle ? bundle_passes : passes;
    size_t count = is_bundle ? sizeof bundle_passes / sizeof *list : sizeof passes / sizeof *list;
    for (size_t i = 0; i < count; i++) {
        double start = seconds();
        struct crateld_error *error = list[i].run(link);
        if (link->options->show_times)
            fprintf(stderr, "%-32s %8.3f ms\n", list[i].name, (seconds() - start) * 1e3);
        if (error || link->is_updated || must_end(link, list[i].barrier))
            return error_join(link_take_errors(link), error);
        if (list[i].run == resolve) {
            TRY(link_compile_lto(link, is_again));
            if (*is_again)
                return NULL;
        }
    }
    return NULL;
}

/* Runs all passes once; *is_again is set when objects were compiled and the link is to start again. */
static struct crateld_error *run_once(const struct link_options *options, struct link_lto *lto, bool *is_again)
{
    struct link link;
    struct crateld_error *error = init(&link, options, lto);
    if (!error)
        error = run_passes(&link, is_again);
    deinit(&link);
    return error;
}

struct crateld_error *link_run(const struct link_options *options)
{
    struct link_lto lto = {.compiler = options->toc_compiler};
    struct crateld_error *error;
    bool is_again;
    do {
        is_again = false;
        error = run_once(options, &lto, &is_again);
    } while (!error && is_again);
    link_lto_deinit(&lto);
    return error;
}

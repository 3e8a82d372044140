#define _GNU_SOURCE
#include "linker/state.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"

#define STATE_MAGIC UINT64_C(0x3165746174736b6c) /* "lkstate1" */

enum { MANY_OBJECTS = 64 }; /* a link of less takes no longer than looking after their state */

void link_state_plan(struct link *link)
{
    const struct link_options *options = link->options;
    struct timespec now;
    size_t object_count = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    link->started_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    for (size_t i = 0; i < options->argument_count; i++) {
        if (options->arguments[i].contents.size)
            return;
        object_count += options->arguments[i].kind == LINK_ARGUMENT_FILE;
    }
    bool is_wanted =
        options->update == LINK_UPDATE_ALWAYS || (options->update == LINK_UPDATE_LARGE && object_count >= MANY_OBJECTS);
    link->keeps_state = is_wanted && options->keep_relink && !options->base && !options->opened_base &&
                        !options->adopted && !options->is_stub && !options->map_path && !options->wrap_count;
    if (link->keeps_state)
        link->search.journal = &link->journal;
}

static void add(XXH3_state_t *state, const void *bytes, size_t size)
{
    if (size)
        XXH3_64bits_update(state, bytes, size);
}

static void add_text(XXH3_state_t *state, const char *text)
{
    bool is_there = text != NULL;
    add(state, &is_there, sizeof is_there);
    if (is_there)
        add(state, text, strlen(text) + 1);
}

static void add_texts(XXH3_state_t *state, const char *const *texts, size_t count)
{
    add(state, &count, sizeof count);
    for (size_t i = 0; i < count; i++)
        add_text(state, texts[i]);
}

/* A hash of all options that make a difference to the crate, and of the folders that libraries are looked for in. */
static uint64_t hash_options(const struct link *link)
{
    const struct link_options *o = link->options;
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    const char *const texts[] = {link->name, o->entry, o->support_archive, o->interpreter, o->runpath};
    const bool flags[] = {o->has_soname,        o->has_no_entry,       o->is_entry_required,     o->collect_garbage,
                          o->allow_undefined,   o->is_strip_debug,     o->has_default_libraries, o->is_strip_all,
                          o->is_fatal_warnings, o->has_dynamic_symbols};
    const uint8_t stack = (uint8_t)o->stack;
    add_texts(&state, texts, sizeof texts / sizeof *texts);
    add(&state, flags, sizeof flags);
    add(&state, &stack, sizeof stack);
    for (size_t i = 0; i < o->argument_count; i++) {
        const struct link_argument *argument = &o->arguments[i];
        const bool modes[] = {argument->kind == LINK_ARGUMENT_FILE, argument->is_whole_archive, argument->is_as_needed,
                              argument->is_static};
        add_text(&state, argument->value);
        add(&state, modes, sizeof modes);
    }
    add_texts(&state, link->search.dirs.at, link->search.dirs.count);
    add_texts(&state, o->version_scripts, o->version_script_count);
    add_texts(&state, o->dynamic_lists, o->dynamic_list_count);
    add_texts(&state, o->exports, o->export_count);
    add_texts(&state, o->declares, o->declare_count);
    add_texts(&state, o->undefined, o->undefined_count);
    add_texts(&state, o->defsyms, o->defsym_count);
    add_texts(&state, o->excluded_archives, o->excluded_archive_count);
    return XXH3_64bits_digest(&state);
}

static char *state_path(const struct link *link)
{
    char *path = NULL;
    return asprintf(&path, "%s.state", link->options->output) < 0 ? NULL : path;
}

static uint64_t hash_state(const struct link_state_header *header, size_t size)
{
    struct link_state_header masked = *header;
    masked.hash = hash_bytes(header + 1, size - sizeof *header);
    return hash_bytes(&masked, sizeof masked);
}

/* Sets the pointers to the parts of the bytes; false if these are damaged. */
static bool place_parts(struct link_state *state)
{
    struct link_state_header *header = (struct link_state_header *)(void *)state->bytes.at;
    if (state->bytes.size < sizeof *header || header->magic != STATE_MAGIC)
        return false;
    uint64_t size = sizeof *header + (uint64_t)header->object_count * sizeof *state->objects +
                    (uint64_t)header->file_count * sizeof *state->files;
    if (header->string_size > state->bytes.size || size + header->string_size != state->bytes.size ||
        !header->string_size || hash_state(header, state->bytes.size) != header->hash ||
        state->bytes.at[state->bytes.size - 1])
        return false;
    state->header = header;
    state->objects = (struct link_state_object *)(void *)(header + 1);
    state->files = (struct link_state_file *)(void *)(state->objects + header->object_count);
    state->strings = (const char *)(state->files + header->file_count);
    return true;
}

static struct crateld_error *check(const struct link *link, const char *path, const struct link_state *state)
{
    struct file_stamp tool = file_stamp_at("/proc/self/exe");
    if (!tool.inode || memcmp(&tool, &state->header->tool, sizeof tool))
        return error_create(CRATELD_ERROR_MISMATCH, "%s: another crateld's", path);
    if (hash_options(link) != state->header->options)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: of a link with other options or other inputs", path);
    return NULL;
}

struct crateld_error *link_state_read(const struct link *link, struct link_state *ret)
{
    char *path AUTO_FREE = state_path(link);
    *ret = (struct link_state){0};
    if (!path)
        return error_memory();
    if (access(path, F_OK) < 0)
        return error_create(CRATELD_ERROR_NOT_FOUND, "%s: not found", path);
    struct crateld_error *error = file_read(path, &ret->bytes);
    if (!error && !place_parts(ret))
        error = error_create(CRATELD_ERROR_FORMAT, "%s: damaged", path);
    return error ? error : check(link, path, ret);
}

void link_state_deinit(struct link_state *state)
{
    free(state->bytes.at);
    *state = (struct link_state){0};
}

const char *link_state_string(const struct link_state *state, uint32_t off)
{
    return off < state->header->string_size ? state->strings + off : NULL;
}

static void write_bytes(const struct link *link, const uint8_t *bytes, size_t size)
{
    char *path AUTO_FREE = state_path(link);
    struct crateld_error *error = path && bytes ? file_write(path, bytes, size, 0666) : error_memory();
    if (error && path)
        unlink(path);
    crateld_error_destroy(error);
}

void link_state_rewrite(const struct link *link, struct link_state *state)
{
    state->header->started_ns = link->started_ns;
    state->header->hash = hash_state(state->header, state->bytes.size);
    write_bytes(link, state->bytes.at, state->bytes.size);
}

/* The state in the making. */
struct composing {
    VEC(struct link_state_object) objects;
    VEC(struct link_state_file) files;
    VEC(char) strings;
};

static bool add_string(struct composing *c, const char *text, uint32_t *ret)
{
    size_t size = strlen(text) + 1;
    *ret = (uint32_t)c->strings.count;
    if (!VEC_RESERVE(&c->strings, size) || !c->strings.at)
        return false;
    memcpy(c->strings.at + c->strings.count, text, size);
    c->strings.count += size;
    return true;
}

/* Whether what some other object says counts for the object's hashes: merged strings of another one. */
static bool has_merged_global(const struct link_object *object)
{
    for (uint32_t i = object->first_global; i < object->symbol_count; i++)
        if (object->symbols[i]->section && object->symbols[i]->section->kind == LINK_SECTION_MERGE)
            return true;
    return false;
}

static bool compose(const struct link *link, struct composing *c)
{
    bool is_good = add_string(c, "", &(uint32_t){0});
    for (size_t i = 0; i < link->objects.count && is_good; i++) {
        const struct link_object *object = link->objects.at[i];
        if (!object->stamp.inode) /* a member of an archive, which is among the files */
            continue;
        struct link_state_object entry = {
            .stamp = object->stamp,
            .hash = object->hash,
            .shape = has_merged_global(object) ? 0 : object->shape,
            .module = object->module,
            .first_listed = object->first_listed,
        };
        is_good = add_string(c, object->path, &entry.path) && VEC_PUSH(&c->objects, entry);
    }
    for (size_t i = 0; i < link->journal.entries.count && is_good; i++) {
        struct link_state_file entry = {.stamp = link->journal.entries.at[i].stamp};
        is_good = add_string(c, link->journal.entries.at[i].path, &entry.path) && VEC_PUSH(&c->files, entry);
    }
    return is_good;
}

/* Puts the parts behind each other, malloc'ed; NULL without memory. */
static uint8_t *assemble(const struct link *link, const struct composing *c, const struct file_stamp *crate,
                         uint32_t mode, size_t *size)
{
    size_t object_size = c->objects.count * sizeof *c->objects.at, file_size = c->files.count * sizeof *c->files.at;
    struct link_state_header *header = calloc(1, sizeof *header + object_size + file_size + c->strings.count);
    if (!header)
        return NULL;
    *header = (struct link_state_header){
        .magic = STATE_MAGIC,
        .object_count = (uint32_t)c->objects.count,
        .file_count = (uint32_t)c->files.count,
        .string_size = c->strings.count,
        .options = hash_options(link),
        .started_ns = link->started_ns,
        .tool = file_stamp_at("/proc/self/exe"),
        .crate = *crate,
        .mode = mode,
    };
    uint8_t *at = (uint8_t *)(header + 1);
    if (object_size)
        memcpy(at, c->objects.at, object_size);
    if (file_size)
        memcpy(at + object_size, c->files.at, file_size);
    memcpy(at + object_size + file_size, c->strings.at, c->strings.count);
    *size = sizeof *header + object_size + file_size + c->strings.count;
    header->hash = hash_state(header, *size);
    return (uint8_t *)header;
}

void link_state_write(const struct link *link, const struct file_stamp *crate, uint32_t mode)
{
    struct composing c = {0};
    size_t size = 0;
    uint8_t *bytes = NULL;
    if (!link->journal.is_incomplete && crate->inode && compose(link, &c))
        bytes = assemble(link, &c, crate, mode, &size);
    write_bytes(link, bytes, size);
    free(bytes);
    free(c.objects.at);
    free(c.files.at);
    free(c.strings.at);
}

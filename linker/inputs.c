#include "linker/inputs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "linker/input.h"
#include "linker/ldscript.h"
#include "linker/resolve.h"

enum { MAX_SCRIPT_DEPTH = 8 };

/* How an input is to be taken. */
struct input_mode {
    bool is_whole_archive;
    bool is_as_needed;
    bool is_static;
    int depth; /* of linker scripts that name each other */
};

static struct crateld_error *add_file(struct link *link, const char *path, struct input_mode mode);

/* Keeps `file` until the end of the link. */
static struct crateld_error *keep_file(struct link *link, struct file *file)
{
    if (VEC_PUSH(&link->files, *file))
        return NULL;
    file_close(file);
    return error_memory();
}

static struct crateld_error *add_source(struct link *link, bool is_archive, size_t index)
{
    struct link_source source = {.is_archive = is_archive, .index = (uint32_t)index, .count = 1};
    return VEC_PUSH(&link->sources, source) ? NULL : error_memory();
}

/* Makes the newest provider, of which the known exports are all that objects ask for, a source, or part of one. */
static struct crateld_error *add_crate_source(struct link *link)
{
    uint32_t index = (uint32_t)link->providers.count - 1;
    struct link_source *last = link->sources.count ? &link->sources.at[link->sources.count - 1] : NULL;
    if (last && last->is_crates && last->index + last->count == index) {
        last->count++;
        return NULL;
    }
    TRY(add_source(link, false, index));
    link->sources.at[link->sources.count - 1].is_crates = true;
    return NULL;
}

/* The index of the provider of that kind and identity, where DECLARED stands for all but ELF; HASH_INDEX_NONE: there is
 * none. */
static uint32_t find_provider(const struct link *link, enum link_provider_kind kind, const char *name)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&link->provider_names, hash_string(name), &cursor)) != HASH_INDEX_NONE) {
        const struct link_provider *provider = link->providers.at[i];
        bool is_of_kind =
            provider->kind == kind || (kind == LINK_PROVIDER_DECLARED && provider->kind != LINK_PROVIDER_ELF);
        if (is_of_kind && !strcmp(provider->name, name))
            break;
    }
    return i;
}

struct crateld_error *link_enter_provider(struct link *link, struct link_provider *provider)
{
    if (!VEC_PUSH(&link->providers, provider) || !hash_index_add(&link->provider_names, hash_string(provider->name)))
        return error_memory();
    return NULL;
}

static struct link_provider *new_provider(struct link *link, enum link_provider_kind kind, const char *path)
{
    struct link_provider *provider = arena_alloc(&link->arena, sizeof *provider);
    char *kept_path = arena_strndup(&link->arena, path, strlen(path));
    if (!provider || !kept_path || !VEC_RESERVE(&link->providers, 1))
        return NULL;
    provider->kind = kind;
    provider->path = kept_path;
    return provider;
}

static struct crateld_error *add_shared(struct link *link, const char *path, struct input_mode mode)
{
    struct link_provider *provider = new_provider(link, LINK_PROVIDER_ELF, path);
    if (!provider || !(provider->library = arena_alloc(&link->arena, sizeof *provider->library)))
        return error_memory();
    TRY(shared_library_open(path, link->machine->elf_machine, provider->library));
    provider->name = provider->library->soname;
    provider->is_as_needed = mode.is_as_needed;
    if (find_provider(link, LINK_PROVIDER_ELF, provider->name) != HASH_INDEX_NONE) {
        shared_library_deinit(provider->library);
        return NULL;
    }
    TRY(link_enter_provider(link, provider)); /* there is room: from here on the link releases it */
    return add_source(link, false, link->providers.count - 1);
}

static struct crateld_error *check_crate_name(const struct link *link, const char *path, const char *name)
{
    if (find_provider(link, LINK_PROVIDER_CRATE, name) != HASH_INDEX_NONE)
        return error_create(CRATELD_ERROR_DUPLICATE, "%s: a crate called '%s' is among the inputs already", path, name);
    if (!strcmp(name, link->name))
        return error_create(CRATELD_ERROR_DUPLICATE,
                            "%s: is called '%s', as the crate that is being linked: give one of them --name", path,
                            link->name);
    return NULL;
}

static struct crateld_error *add_crate(struct link *link, struct link_provider *provider)
{
    TRY(check_crate_name(link, provider->path, provider->name));
    TRY(link_enter_provider(link, provider));
    link->exported = NULL;
    if (!provider->crate.wanted)
        return add_source(link, false, link->providers.count - 1);
    for (uint32_t i = 0; i < provider->crate.export_count; i++) {
        const struct source_export *export = &provider->crate.exports[i];
        struct link_known_export known = {export->name, (uint32_t)link->providers.count - 1};
        if (!VEC_PUSH(&link->known_exports, known) || !hash_index_add(&link->known_export_names, export->hash))
            return error_memory();
    }
    return add_crate_source(link);
}

/* The hash of the name in "name@@version". */
static uint64_t base_name_hash(const char *name)
{
    return hash_bytes(name, name[0] == '@' ? strlen(name) : strcspn(name, "@"));
}

/* Indexes the names of an archive's symbol index. */
static struct crateld_error *index_archive(struct link_archive *archive)
{
    archive->is_taken = calloc(archive->archive.member_count + 1, 1);
    if (!archive->is_taken || !hash_index_reserve(&archive->by_name, archive->archive.symbol_count))
        return error_memory();
    for (uint32_t i = 0; i < archive->archive.symbol_count; i++)
        if (!hash_index_add(&archive->by_name, base_name_hash(archive->archive.symbols[i].name)))
            return error_memory();
    return NULL;
}

static struct crateld_error *add_all_members(struct link *link, struct archive *archive)
{
    for (uint32_t i = 0; i < archive->member_count; i++) {
        struct span data;
        TRY(archive_member_data(archive, i, &data));
        const char *path = arena_printf(&link->arena, "%s(%s)", archive->path, archive->members[i].name);
        if (!path)
            return error_memory();
        link_report(link, link_add_object(link, path, data));
    }
    return NULL;
}

static struct crateld_error *add_archive(struct link *link, const char *path, struct input_mode mode)
{
    struct link_archive *archive = arena_alloc(&link->arena, sizeof *archive);
    if (!archive || !VEC_RESERVE(&link->archives, 1))
        return error_memory();
    TRY(archive_open(path, &archive->archive));
    link->journal.is_incomplete |= archive->archive.is_thin;
    link->archives.at[link->archives.count++] = archive; /* from here on link_deinit() releases it */
    if (mode.is_whole_archive)
        return add_all_members(link, &archive->archive);
    if (!archive->archive.has_index && archive->archive.member_count)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: the archive has no symbol index; make one with 'ranlib %s'",
                            path, path);
    TRY(index_archive(archive));
    return add_source(link, true, link->archives.count - 1);
}

static struct crateld_error *add_library(struct link *link, const char *name, struct input_mode mode)
{
    char *path AUTO_FREE = NULL;
    TRY(search_library(&link->search, name, mode.is_static ? SEARCH_STATIC : SEARCH_ANY, &path));
    return add_file(link, path, mode);
}

static struct crateld_error *add_script_inputs(struct link *link, const char *path, const struct ldscript *script,
                                               struct input_mode mode)
{
    for (size_t i = 0; i < script->search_dir_count; i++)
        TRY(search_add_dir(&link->search, script->search_dirs[i]));
    for (size_t i = 0; i < script->input_count; i++) {
        const struct ldscript_input *input = &script->inputs[i];
        struct input_mode inner = mode;
        inner.is_as_needed |= input->as_needed;
        if (input->is_library) {
            TRY(add_library(link, input->name, inner));
            continue;
        }
        char *found AUTO_FREE = NULL;
        TRY(search_script_input(&link->search, path, input->name, &found));
        TRY(add_file(link, found, inner));
    }
    return NULL;
}

static struct crateld_error *add_script(struct link *link, const char *path, struct span text, struct input_mode mode)
{
    if (++mode.depth > MAX_SCRIPT_DEPTH)
        return error_create(CRATELD_ERROR_FORMAT, "%s: linker scripts name each other more than %d deep", path,
                            MAX_SCRIPT_DEPTH);
    struct ldscript script;
    TRY(ldscript_parse(text, path, link->machine->ld_format, &script));
    struct crateld_error *error = add_script_inputs(link, path, &script, mode);
    ldscript_deinit(&script);
    return error;
}

/* Adds an input that was opened. */
static struct crateld_error *add_input(struct link *link, struct link_input *input, struct input_mode mode)
{
    if (input->file.path)
        TRY(keep_file(link, &input->file));
    input->file = (struct file){0};
    if (input->kind != INPUT_OBJECT)
        journal_add(&link->journal, input->path, &input->stamp);
    switch (input->kind) {
    case INPUT_OBJECT:
        return link_enter_object(link, input->object);
    case INPUT_SHARED:
        return add_shared(link, input->path, mode);
    case INPUT_CRATE:
        return add_crate(link, input->provider);
    case INPUT_ARCHIVE:
        return add_archive(link, input->path, mode);
    case INPUT_SCRIPT:
        return add_script(link, input->path, input->contents, mode);
    }
    return NULL;
}

static struct crateld_error *add_file(struct link *link, const char *path, struct input_mode mode)
{
    struct link_input input;
    struct crateld_error *error = link_input_open(link, &link->arena, path, &input);
    if (!error)
        error = add_input(link, &input, mode);
    file_close(&input.file);
    return error;
}

/* --declare b.crate:symbol */
static struct crateld_error *add_declared(struct link *link, const char *declaration)
{
    const char *colon = strchr(declaration, ':');
    if (!colon || colon == declaration || !colon[1])
        return error_create(CRATELD_ERROR_USAGE, "--declare %s: wanted crate:symbol", declaration);
    size_t length = (size_t)(colon - declaration);
    if (length > 6 && !strncmp(colon - 6, ".crate", 6))
        length -= 6;
    char *name = arena_strndup(&link->arena, declaration, length);
    struct link_symbol *symbol = name ? link_symbol_table_enter(&link->symbols, &link->arena, colon + 1, NULL) : NULL;
    if (!symbol)
        return error_memory();
    if (symbol->state != LINK_SYMBOL_UNDEFINED)
        return NULL;
    uint32_t index = find_provider(link, LINK_PROVIDER_DECLARED, name);
    if (index == HASH_INDEX_NONE) {
        struct link_provider *provider = new_provider(link, LINK_PROVIDER_DECLARED, name);
        if (!provider)
            return error_memory();
        provider->name = name;
        index = (uint32_t)link->providers.count;
        TRY(link_enter_provider(link, provider));
    }
    symbol->state = LINK_SYMBOL_IMPORTED;
    symbol->provider = index;
    return NULL;
}

struct crateld_error *link_add_library_file(struct link *link, const char *path)
{
    return add_file(link, path, (struct input_mode){.is_as_needed = true});
}

/* What a compiler driver links by itself: `-lgcc --as-needed -lgcc_s --no-as-needed -lc`. */
void link_add_default_libraries(struct link *link)
{
    static const struct {
        const char *name;
        bool is_as_needed;
    } defaults[] = {{"gcc", false}, {"gcc_s", true}, {"c", false}};
    /* libgcc has a __morestack of its own, which does not know crates. */
    if (link->options->support_archive)
        link_report(link, add_file(link, link->options->support_archive, (struct input_mode){0}));
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        link_report(link, add_library(link, defaults[i].name,
                                      (struct input_mode){.is_as_needed = link->patch || defaults[i].is_as_needed}));
}

/* An argument that is a file, opened ahead of its turn. */
struct opened {
    struct link_input input;
    struct crateld_error *error; /* owned; why it can not be taken */
    bool is_ready;               /* atomic: the others are set */
};

struct opening {
    struct link *link;
    struct opened *opened;    /* one for each argument */
    const uint32_t *numbers;  /* of those that are opened now */
    size_t room[WORKERS_MAX]; /* bytes that each worker is about to allocate, about; 0: few, or they are there */
    pthread_mutex_t turn;     /* of the one who lets arguments enter */
    size_t next;              /* under the lock: all before it have entered */
};

static void open_one(struct opening *opening, uint32_t worker, size_t i)
{
    const struct link_argument *argument = &opening->link->options->arguments[i];
    struct opened *opened = &opening->opened[i];
    struct arena *arena = &opening->link->worker_arenas[worker];
    arena_reserve(arena, opening->room[worker]);
    opening->room[worker] = 0;
    if (argument->kind == LINK_ARGUMENT_LIBRARY) /* what it means may depend on what comes before it */
        return;
    opened->error = argument->contents.size ? link_input_open_contents(opening->link, arena, argument->value,
                                                                       argument->contents, &opened->input)
                                            : link_input_open(opening->link, arena, argument->value, &opened->input);
}

static void add_argument(struct link *link, const struct link_argument *argument, struct opened *opened)
{
    struct input_mode mode = {
        .is_whole_archive = argument->is_whole_archive,
        .is_as_needed = argument->is_as_needed,
        .is_static = argument->is_static,
    };
    struct crateld_error *error = STEAL_PTR(opened->error);
    if (!error)
        error = argument->kind == LINK_ARGUMENT_LIBRARY ? add_library(link, argument->value, mode)
                                                        : add_input(link, &opened->input, mode);
    if (error)
        opened->input.object = NULL; /* its file may be gone */
    link_report(link, error);
}

/* Whether global symbol `i` of an object is one that may be looked for in crates. */
static bool is_expected(const struct link_object *object, uint32_t i)
{
    const Elf64_Sym *symbol = &object->elf_symbols[i];
    return symbol->st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol->st_info) != STB_GLOBAL;
}

/* Notes what an object asks for in `names`, if those are given. Returns how many names that is. */
static size_t expect_names_of(const struct link_object *object, struct name_filter *names)
{
    size_t count = 0;
    for (uint32_t i = object->first_global; i < object->symbol_count; i++) {
        if (!is_expected(object, i))
            continue;
        uint64_t hash = object->name_hashes[i - object->first_global];
        if (names)
            name_filter_add(names, (uint32_t)(hash >> 32));
        count++;
    }
    return count;
}

/* Notes what the objects that were opened ask for. */
static struct crateld_error *expect_names(struct link *link, const struct opened *opened)
{
    enum { ROOM = 4 }; /* for so many times the names: each that is taken for one of them has part of a file read */
    struct name_filter *names = NULL;
    size_t count = 0;
    for (int is_counted = 0; is_counted < 2; is_counted++) {
        if (is_counted && !(names = name_filter_create(&link->arena, ROOM * count)))
            return error_memory();
        for (size_t i = 0; i < link->options->argument_count; i++) {
            const struct link_object *object = opened[i].input.object;
            if (object && object->name_hashes)
                count += expect_names_of(object, names);
        }
    }
    link->expected = names;
    return NULL;
}

/* Prepares for `count` crates. */
static struct crateld_error *expect_crates(struct opening *opening, uint32_t count)
{
    enum { CRATE_ROOM = 1100 }; /* bytes, for most crates */
    struct link *link = opening->link;
    uint32_t workers = link_workers_for(link, count);
    for (uint32_t i = 0; i < workers; i++)
        opening->room[i] = (size_t)count * CRATE_ROOM / workers;
    if (!hash_index_reserve(&link->provider_names, link->providers.count + count) ||
        !hash_index_reserve(&link->known_export_names, count))
        return error_memory();
    return expect_names(link, opening->opened);
}

/* Whether an argument looks like a crate. */
static bool is_crate_named(const struct link_argument *argument)
{
    size_t length = strlen(argument->value);
    return argument->kind != LINK_ARGUMENT_LIBRARY && length > 6 && !strcmp(argument->value + length - 6, ".crate");
}

/* Lets those enter that are ready and whose turn it is. */
static void add_ready(struct opening *opening)
{
    for (; opening->next < opening->link->options->argument_count; opening->next++) {
        struct opened *opened = &opening->opened[opening->next];
        if (!__atomic_load_n(&opened->is_ready, __ATOMIC_ACQUIRE))
            return;
        add_argument(opening->link, &opening->link->options->arguments[opening->next], opened);
    }
}

static struct crateld_error *open_argument(void *context, uint32_t worker, size_t i)
{
    struct opening *opening = context;
    uint32_t number = opening->numbers[i];
    open_one(opening, worker, number);
    __atomic_store_n(&opening->opened[number].is_ready, true, __ATOMIC_RELEASE);
    if (!pthread_mutex_trylock(&opening->turn)) {
        add_ready(opening);
        pthread_mutex_unlock(&opening->turn);
    }
    return NULL;
}

/* Opens the files that are named, several at once; crates after all others, so that of their exports no more need be
 * kept than the objects ask for. Meanwhile they enter one by one, in their order. */
static struct crateld_error *open_arguments(struct opening *opening, uint32_t *numbers)
{
    const struct link_options *options = opening->link->options;
    for (int is_crate = 0; is_crate < 2; is_crate++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < options->argument_count; i++)
            if (is_crate_named(&options->arguments[i]) == is_crate)
                numbers[count++] = i;
        if (is_crate && count)
            TRY(expect_crates(opening, count));
        TRY(workers_run(link_workers_for(opening->link, count), count, open_argument, opening));
        add_ready(opening); /* those that became ready when somebody else had just looked */
    }
    return NULL;
}

static struct crateld_error *add_arguments(struct link *link)
{
    size_t count = link->options->argument_count;
    struct opened *opened AUTO_FREE = calloc(count + 1, sizeof *opened);
    if (!opened)
        return error_memory();
    uint32_t *numbers AUTO_FREE = calloc(count + 1, sizeof *numbers);
    if (!numbers)
        return error_memory(); // cppcheck-suppress memleak; AUTO_FREE frees `opened`
    struct opening opening = {.link = link, .opened = opened, .numbers = numbers, .turn = PTHREAD_MUTEX_INITIALIZER};
    struct crateld_error *error = open_arguments(&opening, numbers);
    pthread_mutex_destroy(&opening.turn);
    for (size_t i = 0; i < count; i++) {
        file_close(&opened[i].input.file);
        crateld_error_destroy(opened[i].error);
    }
    return error;
}

struct crateld_error *link_read_inputs(struct link *link)
{
    const struct link_options *options = link->options;
    TRY(add_arguments(link));
    if (options->has_default_libraries)
        link_add_default_libraries(link);
    for (size_t i = 0; i < options->declare_count; i++)
        TRY(add_declared(link, options->declares[i]));
    return NULL;
}

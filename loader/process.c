#define _GNU_SOURCE
#include "loader/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "loader/activate.h"
#include "loader/bundle.h"
#include "loader/current.h"
#include "loader/heap.h"
#include "loader/image.h"
#include "loader/log.h"
#include "loader/versions.h"

enum {
    MANY_NEEDED = 32, /* crates for which memory is got at once */
    MOST_NEEDED = 4096,
    USUAL_NEEDED = 6, /* what each of them needs itself */
};

void process_init(struct process *process, const struct process_opts *opts)
{
    *process = (struct process){
        .lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
        .start_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
    };
    if (opts)
        process->opts = *opts;
    arena_init(&process->arena);
    hash_index_init(&process->crate_names);
    vague_table_init(&process->vague);
}

void process_deinit(struct process *process)
{
    for (size_t i = 0; i < process->crates.count; i++) {
        versions_destroy(process->crates.at[i]->versions);
        image_unmap(process->crates.at[i]);
    }
    image_region_deinit(&process->region);
    for (size_t i = 0; i < process->history.count; i++)
        version_set_destroy(process->history.at[i]);
    free(process->history.at);
    free(process->crates.at);
    free(process->libraries.at);
    free(process->folders.at);
    hash_index_deinit(&process->crate_names);
    vague_table_deinit(&process->vague);
    arena_deinit(&process->arena);
}

/* A child of fork has one thread, so it must be the one that holds the lock. */
static void lock_before_fork(void)
{
    pthread_mutex_lock(&current_process()->lock);
}

static void unlock_in_parent(void)
{
    pthread_mutex_unlock(&current_process()->lock);
}

/* An initialiser of another thread may be running, and never ends in the child. */
static void unlock_in_child(void)
{
    unlock_in_parent();
    current_process()->start_lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
}

static void guard_fork(void)
{
    if (current_process())
        (void)pthread_atfork(lock_before_fork, unlock_in_parent, unlock_in_child);
}

void process_lock(struct process *process)
{
    /* Nobody else can hold the lock in a process of one thread. */
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!__libc_single_threaded)
        pthread_once(&once, guard_fork);
    pthread_mutex_lock(&process->lock);
}

struct loaded_crate *process_find(const struct process *process, const char *name)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&process->crate_names, hash_string(name), &cursor)) != HASH_INDEX_NONE) {
        if (strcmp(process->crates.at[i]->name, name) == 0)
            return process->crates.at[i];
    }
    return NULL;
}

static struct crateld_error *add_folder(struct process *process, const char *folder, size_t length)
{
    const char *copy = length ? arena_strndup(&process->arena, folder, length) : ".";
    if (!copy || !VEC_PUSH(&process->folders, copy))
        return error_memory();
    return NULL;
}

/* The folders to look into besides the one of the crate that needs another. */
static struct crateld_error *read_folders(struct process *process)
{
    if (process->has_folders)
        return NULL;
    process->has_folders = true;
    for (size_t i = 0; i < process->opts.path_count; i++)
        TRY(add_folder(process, process->opts.paths[i], strlen(process->opts.paths[i])));
    const char *lists[] = {process->opts.env_path, process->opts.env_library_path};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        for (const char *list = lists[i]; list && *list;) {
            size_t length = strcspn(list, ":");
            TRY(add_folder(process, list, length));
            list += length + (list[length] == ':');
        }
    }
    return NULL;
}

/* The record of a patch that is gone, as one for the file at `path`, with its name and arrays, and the strings of
 * those; NULL: there is none, or no memory. */
static struct loaded_crate *take_retired(struct process *process, const char *path)
{
    struct loaded_crate *crate = process->retired;
    if (!crate)
        return NULL;
    const char *own_path = crate->path;
    if (strlen(path) <= strlen(own_path))
        own_path = strcpy((char *)own_path, path);
    else
        own_path = arena_strndup(&process->arena, path, strlen(path));
    if (!own_path)
        return NULL;
    process->retired = crate->next_late;
    *crate = (struct loaded_crate){.path = own_path,
                                   .name = crate->name,
                                   .numbered_name = crate->numbered_name,
                                   .modules = crate->modules,
                                   .module_capacity = crate->module_capacity,
                                   .needed = crate->needed,
                                   .needed_capacity = crate->needed_capacity};
    return crate;
}

/* A new record for the file at `path`, all of it zero but for what an unloaded crate of the same path leaves: its
 * strings, and its array of needed ones. NULL without memory. */
static struct loaded_crate *make_record(struct process *process, const char *path)
{
    for (struct loaded_crate **place = &process->unloaded; *place; place = &(*place)->next_late) {
        struct loaded_crate *crate = *place;
        if (strcmp(crate->path, path) != 0)
            continue;
        *place = crate->next_late;
        *crate = (struct loaded_crate){.path = crate->path,
                                       .absolute_path = crate->absolute_path,
                                       .name = crate->name,
                                       .needed = crate->needed,
                                       .needed_capacity = crate->needed_capacity};
        return crate;
    }
    struct loaded_crate *crate = take_retired(process, path);
    if (crate)
        return crate;
    crate = arena_alloc(&process->arena, sizeof *crate);
    if (crate)
        crate->path = arena_strndup(&process->arena, path, strlen(path));
    return crate && crate->path ? crate : NULL;
}

/* Makes the crate's array of needed ones, of `count` elements, zero but for the strings that it had. */
static bool make_needed(struct process *process, struct loaded_crate *crate, uint32_t count)
{
    if (crate->needed && count <= crate->needed_capacity) {
        for (uint32_t i = 0; i < count; i++) {
            struct loaded_needed *needed = &crate->needed[i];
            *needed = (struct loaded_needed){.name = needed->name, .path = needed->path, .runpath = needed->runpath};
        }
        return true;
    }
    crate->needed = arena_alloc_array(&process->arena, count, sizeof *crate->needed);
    crate->needed_capacity = count;
    return crate->needed;
}

/* A copy of the string; `known`, which may be NULL, if that is one: who is loaded again and again takes no memory. NULL
 * without memory. */
static const char *copy_string(struct process *process, const char *known, const char *string)
{
    return known && strcmp(known, string) == 0 ? known : arena_strndup(&process->arena, string, strlen(string));
}

/* Copies entry `i`. The runpath is mostly the same in each. */
static struct crateld_error *copy_entry(struct process *process, const struct crate_view *view, uint32_t i,
                                        struct loaded_needed *all)
{
    struct loaded_needed *needed = &all[i];
    TRY(crate_view_needed(view, i, &needed->entry));
    const char *known_runpath = needed->entry.runpath == all->entry.runpath ? all->runpath : needed->runpath;
    needed->name = copy_string(process, needed->name, crate_view_string(view, needed->entry.name));
    needed->path = copy_string(process, needed->path, crate_view_string(view, needed->entry.path));
    needed->runpath = copy_string(process, known_runpath, crate_view_string(view, needed->entry.runpath));
    return needed->name && needed->path && needed->runpath ? NULL : error_memory();
}

/* Copies the needed table, so that a crate which is not used is not touched again. */
static struct crateld_error *copy_needed(struct process *process, const struct crate_view *view,
                                         struct loaded_crate *crate)
{
    uint32_t count = crate_view_count(view, CRATE_TABLE_NEEDED);
    if (!make_needed(process, crate, count))
        return error_memory();
    for (uint32_t i = 0; i < count; i++)
        TRY(copy_entry(process, view, i, crate->needed));
    return NULL;
}

/* Copies the crate's name and what it needs; the name is `alias` unless that is NULL. */
static struct crateld_error *copy_identity(struct process *process, const struct crate_view *view, const char *alias,
                                           struct loaded_crate *crate)
{
    TRY(crate_view_check(view));
    const char *name = alias ? alias : crate_view_name(view);
    crate->name = copy_string(process, crate->name, name);
    return crate->name ? copy_needed(process, view, crate) : error_memory();
}

/* The same, from what was read of the file if that is enough; what is wrong is told by the whole. */
static struct crateld_error *read_identity(struct process *process, const struct image_start *start, const char *alias,
                                           struct loaded_crate *crate)
{
    if (start->has_view) {
        struct crateld_error *error = copy_identity(process, &start->view, alias, crate);
        if (!error)
            return NULL;
        crateld_error_destroy(error);
    }
    TRY(image_need(crate));
    return copy_identity(process, &crate->view, alias, crate);
}

/* Gives the patch a name of its own; one that had its record before it leaves it that. */
static struct crateld_error *number_name(struct process *process, struct loaded_crate *patch)
{
    size_t length = strlen(patch->name);
    const char *known = patch->numbered_name;
    if (!known || strncmp(known, patch->name, length) != 0 || known[length] != '~' || strchr(known + length + 1, '~'))
        patch->numbered_name = arena_printf(&process->arena, "%s~%u", patch->name, ++process->patch_count);
    if (!patch->numbered_name)
        return error_memory();
    patch->own_name = patch->name;
    patch->name = patch->numbered_name;
    return NULL;
}

/* Whether a crate of that name may be entered. Patches that nobody wants by name get names of their own. */
static struct crateld_error *check_name(struct process *process, struct loaded_crate *crate, const char *wanted)
{
    if (crate->view.header.flags & CRATE_FLAG_PATCH && !wanted)
        TRY(number_name(process, crate));
    struct loaded_crate *other = process_find(process, crate->name);
    if (!other)
        TRY(bundle_find(process, crate->name, false, &other));
    if (wanted && strcmp(crate->name, wanted) != 0)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is the crate '%s', wanted '%s'", crate->path, crate->name,
                            wanted);
    if (other)
        return error_create(CRATELD_ERROR_DUPLICATE, "%s: another crate called '%s' is loaded from %s", crate->path,
                            crate->name, other->path);
    return NULL;
}

/* The crate that the file is a patch for; NULL: it is no patch, or not for one that is there. */
static struct loaded_crate *find_base(const struct process *process, const struct image_start *start)
{
    struct crate_needed needed;
    if (!(start->header.flags & CRATE_FLAG_PATCH) || !start->has_view)
        return NULL;
    struct crateld_error *error = crate_view_needed(&start->view, 0, &needed);
    if (!error)
        return process_find(process, crate_view_string(&start->view, needed.name));
    crateld_error_destroy(error);
    return NULL;
}

/* Enters the file open at *fd, which is -1 if it is kept, and whose start was read, as a new crate. `wanted` is the
 * name it must have, or is given if `is_alias`; NULL: any that is free. */
static struct crateld_error *add_crate(struct process *process, const char *path, int *fd, struct image_start *start,
                                       const char *wanted, bool is_alias, struct loaded_crate **ret)
{
    struct loaded_crate *crate = make_record(process, path);
    if (!crate || !VEC_RESERVE(&process->crates, 1) ||
        !hash_index_reserve(&process->crate_names, process->crates.count + 1))
        return error_memory();
    crate->fd = -1;
    crate->process = process;
    struct image_wish wish = {&process->region, process->opts.has_aslr, process->crates.count > 0, process->area, NULL};
    process->area = NULL; /* for the first crate only */
    wish.base = find_base(process, start);
    TRY(image_map(crate, fd, start, &wish));
    if (*fd >= 0 && (!process->crates.count || crate->view.header.flags & CRATE_FLAG_EAGER))
        image_keep_file(crate, *fd);
    struct crateld_error *error = read_identity(process, start, is_alias ? wanted : NULL, crate);
    if (!error)
        error = check_name(process, crate, wanted);
    if (error) {
        image_unmap(crate);
        return error;
    }
    (void)!hash_index_add(&process->crate_names, hash_string(crate->name)); /* there is room */
    process->crates.at[process->crates.count++] = crate;
    process->bundle_count += crate_is_bundle(&crate->view.header);
    *ret = crate;
    return NULL;
}

/* The folder part of a path, as an argument of "%.*s": nothing, or up to and with the slash. */
static int folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

/* The file `file` in the folder of `length` bytes at `folder`, which $ORIGIN starts for that of `user`; malloc'ed, NULL
 * without memory. */
static char *path_in_folder(const struct loaded_crate *user, const char *folder, size_t length, const char *file)
{
    static const char *const origins[] = {"$ORIGIN", "${ORIGIN}"};
    char *path;
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        size_t size = strlen(origins[i]);
        if (length < size || strncmp(folder, origins[i], size) != 0)
            continue;
        return asprintf(&path, "%.*s./%.*s/%s", folder_length(user->path), user->path, (int)(length - size),
                        folder + size, file) < 0
                   ? NULL
                   : path;
    }
    return asprintf(&path, "%.*s/%s", (int)length, folder, file) < 0 ? NULL : path;
}

/* Opens `path`, taken over, unless it is not there. */
static struct crateld_error *open_candidate(char *path, char **ret_path, int *ret)
{
    char *owned AUTO_FREE = path;
    if (!path)
        return error_memory();
    *ret = open(path, O_RDONLY | O_CLOEXEC);
    if (*ret < 0 && errno != ENOENT && errno != ENOTDIR)
        return error_errno(errno, "%s: cannot open", path);
    LOG(LOG_LOAD, "%s: %s", path, *ret < 0 ? "not there" : "found");
    if (*ret >= 0)
        *ret_path = STEAL_PTR(owned);
    return NULL;
}

struct crateld_error *process_open_file(struct process *process, const struct loaded_crate *user, const char *file,
                                        const char *runpath, char **ret_path, int *ret)
{
    char *beside;
    if (asprintf(&beside, "%.*s%s", folder_length(user->path), user->path, file) < 0)
        return error_memory();
    TRY(open_candidate(beside, ret_path, ret));
    for (size_t i = 0; i < process->folders.count && *ret < 0; i++) {
        const char *folder = process->folders.at[i];
        TRY(open_candidate(path_in_folder(user, folder, strlen(folder), file), ret_path, ret));
    }
    for (size_t length; *runpath && *ret < 0; runpath += length + (runpath[length] == ':')) {
        length = strcspn(runpath, ":");
        if (length)
            TRY(open_candidate(path_in_folder(user, runpath, length, file), ret_path, ret));
    }
    return NULL;
}

const char *process_runpath(const struct loaded_crate *crate)
{
    /* It is the same in each entry. */
    return crate_view_count(&crate->view, CRATE_TABLE_NEEDED) ? crate->needed[0].runpath : "";
}

static struct crateld_error *not_found(const struct process *process, const struct loaded_crate *user, const char *name,
                                       const char *file, const char *runpath)
{
    struct crateld_error *error =
        error_create(CRATELD_ERROR_NOT_FOUND, "%s: needs crate '%s': there is no %s beside it%s", user->path, name,
                     file, process->folders.count ? "" : " (and no --path, no CRATELD_PATH)");
    if (*runpath)
        error = error_join(error, error_create(CRATELD_ERROR_NOT_FOUND, "    nor in its rpath %s", runpath));
    for (size_t i = 0; i < process->folders.count; i++)
        error = error_join(error, error_create(CRATELD_ERROR_NOT_FOUND, "    nor in %s", process->folders.at[i]));
    return error;
}

/* Whether `wanted` is zero, which stands for any build. */
static bool is_any_build(const uint8_t wanted[16])
{
    static const uint8_t zero[16];
    return memcmp(wanted, zero, sizeof zero) == 0;
}

/* Whatever `user` imports from its needed crate `index` must be there, since it is another build of it. */
static struct crateld_error *check_names(struct loaded_crate *user, uint32_t index, struct loaded_crate *crate)
{
    struct crateld_error *missing = NULL;
    uint32_t count = crate_view_count(&user->view, CRATE_TABLE_IMPORTS);
    TRY(activate_check_meta(user));
    TRY(activate_check_meta(crate));
    for (uint32_t i = 0; i < count; i++) {
        struct crate_import import;
        struct crateld_error *error = crate_view_import(&user->view, i, &import);
        if (error)
            return error_join(missing, error);
        const char *name = crate_view_string(&user->view, import.name);
        if (import.needed != index || import.flags & CRATE_IMPORT_FLAG_WEAK ||
            crate_view_find_export(&crate->view, import.hash, name) != CRATE_NONE)
            continue;
        missing = error_join(missing, error_create(CRATELD_ERROR_UNDEFINED, "    %s", name));
    }
    if (!missing)
        return NULL;
    return error_join(error_create(CRATELD_ERROR_UNDEFINED,
                                   "%s: was linked against another build of %s, and this one lacks", user->path,
                                   crate->path),
                      missing);
}

/* The crate that was asked for under `name` (--as); *ret is left alone if none was. */
static struct crateld_error *add_alias(struct process *process, const char *name, struct loaded_crate **ret)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < process->opts.alias_count; i++) {
        const char *alias = process->opts.aliases[i];
        if (strncmp(alias, name, length) != 0 || alias[length] != '=')
            continue;
        const char *path = alias + length + 1;
        int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            return error_create(CRATELD_ERROR_NOT_FOUND, "%s: no such file (for crate '%s')", path, name);
        if (fd < 0)
            return error_errno(errno, "%s: cannot open", path);
        char *own_name = arena_strndup(&process->arena, name, length);
        struct image_start start;
        TRY(image_read(path, fd, &start));
        return own_name ? add_crate(process, path, &fd, &start, own_name, true, ret) : error_memory();
    }
    return NULL;
}

static struct crateld_error *find_crate(struct process *process, struct loaded_crate *user, uint32_t index)
{
    struct loaded_needed *needed = &user->needed[index];
    const char *name = needed->name, *path = needed->path;
    struct loaded_crate *crate = process_find(process, name);
    if (!crate)
        TRY(bundle_find(process, name, false, &crate));
    if (!crate)
        TRY(add_alias(process, name, &crate));
    if (!crate) {
        char *default_path AUTO_FREE = NULL, *found AUTO_FREE = NULL;
        int fd AUTO_CLOSE = -1;
        if (!*path) {
            if (asprintf(&default_path, "%s.crate", name) < 0) {
                default_path = NULL;
                return error_memory();
            }
            path = default_path;
        }
        if (strchr(path, '/'))
            return error_create(CRATELD_ERROR_FORMAT, "%s: needed[%u]: '%s' is not a file name", user->path, index,
                                path);
        TRY(process_open_file(process, user, path, needed->runpath, &found, &fd));
        if (fd < 0)
            return not_found(process, user, name, path, needed->runpath);
        struct image_start start;
        TRY(image_read(found, fd, &start));
        TRY(add_crate(process, found, &fd, &start, name, false, &crate));
    }
    needed->crate = crate;
    needed->use.user = user;
    bool is_same_build = memcmp(needed->entry.build_id, crate->view.header.build_id, 16) == 0;
    if (user->view.header.flags & CRATE_FLAG_PATCH && !index && !is_same_build)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: is a patch for another build of %s", user->path, crate->path);
    if (is_any_build(needed->entry.build_id) || is_same_build)
        return NULL;
    LOG(LOG_LOAD, "%s: another build of %s than it was linked against", user->path, crate->path);
    return check_names(user, index, crate);
}

/* Libraries that this program itself has from its start. */
static bool is_resident(const char *soname)
{
    return strcmp(soname, "libc.so.6") == 0 || strcmp(soname, "ld-linux-x86-64.so.2") == 0;
}

/* Looks for an ELF library in the folders that the crate names: those are what ld.so knows of programs' libraries. */
static struct crateld_error *find_by_runpath(struct process *process, const struct loaded_crate *user,
                                             const char *runpath, struct elf_library *library)
{
    for (size_t length; *runpath; runpath += length + (runpath[length] == ':')) {
        length = strcspn(runpath, ":");
        char *path AUTO_FREE = path_in_folder(user, runpath, length, library->soname);
        if (!path)
            return error_memory();
        if (!length || access(path, R_OK) != 0)
            continue;
        library->path = arena_strndup(&process->arena, path, strlen(path));
        library->is_path_first = true;
        return library->path ? NULL : error_memory();
    }
    return NULL;
}

static struct crateld_error *find_library(struct process *process, struct loaded_crate *user, uint32_t index)
{
    struct loaded_needed *needed = &user->needed[index];
    const char *soname = needed->name, *path = needed->path;
    struct elf_library *library = NULL;
    for (size_t i = 0; i < process->libraries.count && !library; i++) {
        if (strcmp(process->libraries.at[i]->soname, soname) == 0)
            library = process->libraries.at[i];
    }
    bool is_new = !library;
    if (is_new) {
        library = arena_alloc(&process->arena, sizeof *library);
        if (!library || !VEC_PUSH(&process->libraries, library))
            return error_memory();
        *library =
            (struct elf_library){.soname = soname, .path = *path ? path : NULL, .is_resident = is_resident(soname)};
    }
    if (is_new && *needed->runpath && !library->is_resident)
        TRY(find_by_runpath(process, user, needed->runpath, library));
    library->is_eager |= !!(needed->entry.flags & CRATE_NEEDED_FLAG_EAGER);
    library->uses_exports |= !!(needed->entry.flags & CRATE_NEEDED_FLAG_USES_EXPORTS);
    needed->library = library;
    if (heap_is_library(soname))
        process->heap_library = library;
    if (!is_new)
        return NULL;
    struct crateld_error *error = elf_library_check(library);
    return error ? error_prefix(error, "%s", user->path) : NULL;
}

/* Finds all that the crate needs; goes on after an error, so that all of them are told. */
static struct crateld_error *find_needed(struct process *process, struct loaded_crate *crate)
{
    struct crateld_error *errors = NULL;
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; i < count; i++) {
        struct crateld_error *error = crate->needed[i].entry.kind == CRATE_NEEDED_CRATE
                                          ? find_crate(process, crate, i)
                                          : find_library(process, crate, i);
        errors = error_join(errors, error);
    }
    return errors;
}

/* Enters the names of all crates anew. */
static void index_names(struct process *process)
{
    hash_index_deinit(&process->crate_names);
    hash_index_init(&process->crate_names);
    /* Without memory crates are not found by name, and refused as duplicates of nothing: harmless. */
    if (!hash_index_reserve(&process->crate_names, process->crates.count))
        return;
    for (size_t i = 0; i < process->crates.count; i++)
        (void)!hash_index_add(&process->crate_names, hash_string(process->crates.at[i]->name));
}

void process_forget(struct process *process, size_t count)
{
    if (process->crates.count == count)
        return;
    while (process->crates.count > count) {
        struct loaded_crate *crate = process->crates.at[--process->crates.count];
        process->bundle_count -= crate_is_bundle(&crate->view.header);
        image_unmap(crate);
    }
    index_names(process);
}

void process_remove(struct process *process, const struct loaded_crate *crate)
{
    size_t kept = 0;
    for (size_t i = 0; i < process->crates.count; i++)
        if (process->crates.at[i] != crate)
            process->crates.at[kept++] = process->crates.at[i];
    process->crates.count = kept;
    process->bundle_count -= crate_is_bundle(&crate->view.header);
    index_names(process);
}

void process_recycle(struct process *process, struct loaded_crate *crate)
{
    crate->next_late = process->unloaded;
    process->unloaded = crate;
}

void process_recycle_patch(struct process *process, struct loaded_crate *patch)
{
    patch->name = patch->own_name;
    patch->next_late = process->retired;
    process->retired = patch;
}

/* The crate that was loaded from the file; NULL if none was. */
static struct loaded_crate *find_file(const struct process *process, uint64_t device, uint64_t inode)
{
    for (size_t i = 0; i < process->crates.count; i++) {
        if (process->crates.at[i]->device == device && process->crates.at[i]->inode == inode)
            return process->crates.at[i];
    }
    return NULL;
}

struct loaded_crate *process_find_file(const struct process *process, const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? find_file(process, status.st_dev, status.st_ino) : NULL;
}

/* Crates of position-dependent code address each other's variables with 32 bits: where one such crate is, all of those
 * from index `first` on, which have just been mapped, are put near it. */
static struct crateld_error *gather_crates(struct process *process, size_t first)
{
    uint32_t flags = 0;
    for (size_t i = 0; i < process->crates.count; i++)
        flags |= process->crates.at[i]->view.header.flags;
    if (!(flags & (CRATE_FLAG_NEAR | CRATE_FLAG_LOW)))
        return NULL;
    for (size_t i = first; i < process->crates.count; i++)
        TRY(image_move(process->crates.at[i], &process->region, flags & CRATE_FLAG_LOW));
    return NULL;
}

/* Whether the crate needs so many that it pays to prepare for them. */
static bool needs_many(const struct loaded_crate *crate)
{
    return crate_view_count(&crate->view, CRATE_TABLE_NEEDED) >= MANY_NEEDED;
}

/* Makes room for the records of the crates that a crate with many needs. */
static void reserve_records(struct process *process, const struct loaded_crate *crate)
{
    size_t count = crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    size_t record = sizeof(struct loaded_crate) + USUAL_NEEDED * sizeof(struct loaded_needed);
    if (needs_many(crate))
        arena_reserve(&process->arena, (count < MOST_NEEDED ? count : MOST_NEEDED) * record);
}

struct crateld_error *process_load_read(struct process *process, const char *path, int *fd, struct image_start *start,
                                        struct loaded_crate **ret)
{
    size_t before = process->crates.count;
    struct loaded_crate *crate = find_file(process, start->device, start->inode);
    if (crate) {
        *ret = crate;
        return NULL;
    }
    TRY(read_folders(process));
    TRY(add_crate(process, path, fd, start, NULL, false, &crate));
    struct crateld_error *errors = NULL;
    struct image_low_fds low = {.count = 0};
    reserve_records(process, crate);
    if (needs_many(crate) && *fd >= 0)
        image_take_low(*fd, &low);
    for (size_t i = before; i < process->crates.count; i++)
        errors = error_join(errors, find_needed(process, process->crates.at[i]));
    image_free_low(&low);
    if (!errors)
        errors = gather_crates(process, before);
    if (errors) {
        process_forget(process, before);
        return errors;
    }
    *ret = crate;
    return NULL;
}

struct crateld_error *process_load(struct process *process, const char *path, struct loaded_crate **ret)
{
    struct image_start start;
    int fd AUTO_CLOSE = -1;
    TRY(image_open(&process->region, path, &fd, &start));
    return process_load_read(process, path, &fd, &start, ret);
}

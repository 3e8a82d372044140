#define _GNU_SOURCE
#include "crateld/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "loader/activate.h"
#include "loader/address_index.h"
#include "loader/carried.h"
#include "loader/current.h"
#include "loader/dl.h"
#include "loader/host_process.h"
#include "loader/image.h"
#include "loader/log.h"
#include "loader/process.h"
#include "loader/rebind.h"
#include "loader/resolve.h"
#include "loader/start.h"
#include "loader/tls.h"
#include "loader/unload.h"

/* A name that the program gave an address. */
struct host_definition {
    const char *name; /* the process's arena */
    void *address;
};

struct crateld_host {
    struct process process;
    struct hash_index names; /* of definitions; guarded by the process's lock, as they are */
    VEC(struct host_definition) definitions;
};

/* crateld_crate is loaded_crate, seen from outside. */
static struct loaded_crate *inside(const struct crateld_crate *crate)
{
    return (struct loaded_crate *)crate;
}

static struct crateld_crate *outside(struct loaded_crate *crate)
{
    return (struct crateld_crate *)crate;
}

static struct crateld_host the_host;
static pthread_mutex_t host_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the making of it; before any other lock */
static bool has_host;

/* Copies the options, which live as long as the process. */
static struct crateld_error *copy_options(const struct crateld_host_opts *opts, struct process_opts *ret)
{
    *ret = (struct process_opts){.binds_now = opts->binds_now, .has_aslr = opts->has_aslr};
    const char **paths = calloc(opts->path_count + 1, sizeof *paths);
    if (!paths)
        return error_memory();
    for (size_t i = 0; i < opts->path_count; i++) {
        char *path = strdup(opts->paths[i]);
        if (!path) {
            for (size_t k = 0; k < i; k++)
                free((char *)paths[k]);
            free(paths);
            return error_memory();
        }
        paths[i] = path;
    }
    ret->paths = paths;
    ret->path_count = opts->path_count;
    return NULL;
}

static struct crateld_error *make_host(const struct crateld_host_opts *opts)
{
    static const struct crateld_host_opts defaults;
    struct process_opts options;
    TRY(copy_options(opts ? opts : &defaults, &options));
    log_init();
    options.env_path = secure_getenv("CRATELD_PATH");
    options.env_library_path = secure_getenv("LD_LIBRARY_PATH");
    process_init(&the_host.process, &options);
    hash_index_init(&the_host.names);
    current_set(&the_host.process, NULL);
    has_host = true;
    return NULL;
}

struct crateld_error *crateld_host_get(const struct crateld_host_opts *opts, struct crateld_host **ret)
{
    pthread_mutex_lock(&host_lock);
    struct crateld_error *error = has_host ? NULL : make_host(opts);
    pthread_mutex_unlock(&host_lock);
    if (!error)
        *ret = &the_host;
    return error;
}

static struct host_definition *find_definition(const char *name)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&the_host.names, hash_string(name), &cursor)) != HASH_INDEX_NONE)
        if (!strcmp(the_host.definitions.at[i].name, name))
            return &the_host.definitions.at[i];
    return NULL;
}

void *host_symbol(const char *name)
{
    const struct host_definition *definition = find_definition(name);
    return definition ? definition->address : NULL;
}

static struct crateld_error *define(struct crateld_host *host, const char *name, void *address)
{
    const struct host_definition *known = find_definition(name);
    if (known && known->address != address)
        return error_create(CRATELD_ERROR_DUPLICATE, "'%s' is defined as another address already", name);
    if (known)
        return NULL;
    struct host_definition definition = {arena_strndup(&host->process.arena, name, strlen(name)), address};
    if (!definition.name || !VEC_RESERVE(&host->definitions, 1) || !hash_index_add(&host->names, hash_string(name)))
        return error_memory();
    host->definitions.at[host->definitions.count++] = definition;
    return NULL;
}

struct crateld_error *crateld_host_define(struct crateld_host *host, const char *name, void *address)
{
    process_lock(&host->process);
    struct crateld_error *error = define(host, name, address);
    process_unlock(&host->process);
    return error;
}

/* Puts the variables of a crate that was loaded and not started where those of the library made of it are, if it has
 * any, or finds them there. */
static struct crateld_error *adopt_variables(struct loaded_crate *crate, const char *path,
                                             const struct crateld_export *library)
{
    if (!library->area && !library->thread_locals)
        return NULL;
    if (memcmp(crate->view.header.build_id, library->build_id, sizeof library->build_id) != 0)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s: another build than the library was made of, whose variables "
                            "lie elsewhere: export it again",
                            path);
    if (library->area && crate->base != library->area)
        return error_create(CRATELD_ERROR_DUPLICATE,
                            "%s: is open already, so its variables are not those of the library", path);
    if (library->thread_locals && !tls_adopt(crate, library->thread_locals()))
        return error_create(CRATELD_ERROR_DUPLICATE,
                            "%s: is open already, so its thread-locals are not those of the library", path);
    return NULL;
}

/* Opens the crate at `path`; with its variables in `library`, if that is not NULL. */
static struct crateld_error *open_crate(struct process *process, const char *path, const struct crateld_export *library,
                                        struct loaded_crate **ret)
{
    struct loaded_crate *crate = NULL;
    struct image_area area = {library ? library->area : NULL, library ? library->area_size : 0};
    process_lock(process);
    process->area = area.start ? &area : NULL;
    struct crateld_error *error = carried_load(process, path, &crate);
    process->area = NULL;
    if (!error && library)
        error = adopt_variables(crate, path, library);
    if (!error) {
        unload_hold(crate);
        crate->is_kept = true; /* once it was open, pointers into it may be anywhere in the program */
    }
    process_unlock(process);
    if (error)
        return error;
    error = start_crate(crate, process->opts.binds_now);
    if (error)
        unload_release(crate);
    else
        *ret = crate;
    return error;
}

struct crateld_error *crateld_crate_open(struct crateld_host *host, const char *path, struct crateld_crate **ret)
{
    struct loaded_crate *crate = NULL;
    TRY(open_crate(&host->process, path, NULL, &crate));
    *ret = outside(crate);
    return NULL;
}

/* Whether crate `user` has bound something of `crate`. */
static bool uses(const struct loaded_crate *user, const struct loaded_crate *crate)
{
    uint32_t count = crate_view_count(&user->view, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; i < count; i++)
        if (user->needed[i].crate == crate && atomic_load(&user->needed[i].is_used))
            return true;
    return false;
}

/* Whether the crate may be closed. */
static struct crateld_error *check_close(const struct loaded_crate *crate)
{
    if (!crate->hold_count)
        return error_create(CRATELD_ERROR_USAGE, "%s: is not open", crate->path);
    struct crateld_error *users = NULL;
    const struct process *process = crate->process;
    for (size_t i = 0; crate->hold_count == 1 && i < process->crates.count; i++)
        if (process->crates.at[i] != crate && uses(process->crates.at[i], crate))
            users = error_join(users, error_create(CRATELD_ERROR_MISMATCH, "    %s", process->crates.at[i]->path));
    return users ? error_join(error_create(CRATELD_ERROR_MISMATCH, "%s: is used by", crate->path), users) : NULL;
}

struct crateld_error *crateld_crate_close(struct crateld_crate *crate)
{
    struct process *process = inside(crate)->process;
    process_lock(process);
    struct crateld_error *error = check_close(inside(crate));
    process_unlock(process);
    if (!error)
        unload_release(inside(crate));
    return error;
}

/* The address of what the crate exports as `name`, under the process's lock. */
static struct crateld_error *find_symbol(struct loaded_crate *crate, const char *name, void **ret)
{
    struct crate_export export;
    uint64_t address = 0;
    TRY(image_look(crate)); /* it may not be active */
    uint32_t i = crate_view_find_export(&crate->view, hash_string(name), name);
    if (i == CRATE_NONE)
        return error_create(CRATELD_ERROR_UNDEFINED, "%s: does not export '%s'", crate->path, name);
    TRY(crate_view_export(&crate->view, i, &export));
    TRY(activate_crate(crate));
    if (export.kind == CRATE_EXPORT_TLS && !(export.flags & CRATE_EXPORT_FLAG_FORWARD)) {
        struct tls_index index = tls_index_of(crate, export.rva);
        *ret = tls_get_address(&index);
        return NULL;
    }
    TRY(resolve_export_address(crate, &export, &address));
    *ret = (void *)(uintptr_t)address;
    return NULL;
}

struct crateld_error *crateld_crate_symbol(struct crateld_crate *crate, const char *name, void **ret)
{
    struct process *process = inside(crate)->process;
    process_lock(process);
    struct crateld_error *error = find_symbol(inside(crate), name, ret);
    process_unlock(process);
    return error;
}

const char *crateld_crate_name(const struct crateld_crate *crate)
{
    return inside(crate)->name;
}

const char *crateld_crate_path(const struct crateld_crate *crate)
{
    return inside(crate)->path;
}

size_t crateld_crate_references(const struct crateld_crate *crate)
{
    struct process *process = inside(crate)->process;
    process_lock(process);
    size_t count = inside(crate)->hold_count;
    process_unlock(process);
    return count;
}

/* Crate `i` of the process; NULL behind the last. */
static struct loaded_crate *crate_at(struct process *process, size_t i)
{
    process_lock(process);
    struct loaded_crate *crate = i < process->crates.count ? process->crates.at[i] : NULL;
    process_unlock(process);
    return crate;
}

int crateld_host_each(struct crateld_host *host, int (*visit)(struct crateld_crate *crate, void *context),
                      void *context)
{
    struct loaded_crate *crate;
    int result = 0;
    for (size_t i = 0; !result && (crate = crate_at(&host->process, i)); i++)
        result = visit(outside(crate), context);
    return result;
}

int crateld_crate_each_user(struct crateld_crate *crate, int (*visit)(struct crateld_crate *user, void *context),
                            void *context)
{
    struct loaded_crate *user;
    int result = 0;
    for (size_t i = 0; !result && (user = crate_at(inside(crate)->process, i)); i++)
        if (user != inside(crate) && uses(user, inside(crate)))
            result = visit(outside(user), context);
    return result;
}

struct crateld_crate *crateld_host_find(struct crateld_host *host, const void *address)
{
    (void)host;
    return outside(address_index_find((uint64_t)(uintptr_t)address));
}

/* Libraries made by `crateld export`. */

/* The path of the library's crate: beside the library, or where it was when the library was made. *ret is malloc'ed. */
static struct crateld_error *find_export_crate(const struct crateld_export *library, char **ret)
{
    Dl_info info = {0};
    const char *slash = dladdr(library, &info) && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
    char *path;
    if (asprintf(&path, "%.*s%s", slash ? (int)(slash - info.dli_fname) + 1 : 0, slash ? info.dli_fname : "",
                 library->file) < 0)
        return error_memory();
    if (access(path, R_OK) && !access(library->path, R_OK)) {
        free(path);
        path = strdup(library->path);
    }
    *ret = path;
    return path ? NULL : error_memory();
}

/* Opens the library's crate, or finds it open; its record is then in the library's head. */
static struct crateld_error *open_export(struct crateld_export *library)
{
    struct crateld_host *host;
    struct loaded_crate *crate = NULL;
    char *path AUTO_FREE = NULL;
    if (library->version != CRATELD_EXPORT_VERSION)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: a library of version %u, this libcrateld knows %d",
                            library->file, library->version, CRATELD_EXPORT_VERSION);
    TRY(crateld_host_get(NULL, &host));
    TRY(find_export_crate(library, &path));
    TRY(open_crate(&host->process, path, library, &crate));
    __atomic_store_n(&library->head.crate, (uint64_t)(uintptr_t)crate, __ATOMIC_RELEASE);
    return NULL;
}

_Noreturn static void die(struct crateld_error *error)
{
    log_print("%s", crateld_error_message(error));
    _exit(127);
}

/* The library's crate, open. */
static struct loaded_crate *crate_of(struct crateld_export *library)
{
    if (!__atomic_load_n(&library->head.crate, __ATOMIC_ACQUIRE)) {
        struct crateld_error *error = open_export(library);
        if (error)
            die(error);
    }
    return (struct loaded_crate *)(uintptr_t)library->head.crate;
}

void crateld_export_start(struct crateld_export *library)
{
    (void)crate_of(library);
}

/* Where calls of an exported function lead: plain code is entered without its entry stub. */
static struct crateld_error *find_entry(struct loaded_crate *crate, const char *name, void **ret)
{
    struct crate_export export;
    TRY(find_symbol(crate, name, ret));
    TRY(crate_view_export(&crate->view, crate_view_find_export(&crate->view, hash_string(name), name), &export));
    if (export.kind == CRATE_EXPORT_FUNCTION_PLAIN && !(export.flags & CRATE_EXPORT_FLAG_FORWARD))
        *ret = (void *)(uintptr_t)loaded_address(crate, export.rva);
    return NULL;
}

struct crateld_function host_bind_export(struct crateld_export *library, struct crateld_function *slot,
                                         uint64_t toc_register)
{
    int saved = errno;
    size_t i = (size_t)(slot - library->slots);
    struct loaded_crate *crate = crate_of(library);
    void *address = NULL;
    process_lock(crate->process);
    struct crateld_error *error = find_entry(crate, i < library->count ? library->names[i] : "", &address);
    process_unlock(crate->process);
    if (error)
        die(error);
    struct crateld_function value = {(uint64_t)(uintptr_t)address, toc_register};
    __atomic_store_n(&slot->entry, value.entry, __ATOMIC_RELEASE);
    rebind_calls((uint64_t)(uintptr_t)library->stubs[i], value.entry);
    errno = saved;
    return value;
}

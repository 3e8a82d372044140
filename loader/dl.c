#define _GNU_SOURCE
#include "loader/dl.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "loader/activate.h"
#include "loader/address_index.h"
#include "loader/bind.h"
#include "loader/bundle.h"
#include "loader/carried.h"
#include "loader/current.h"
#include "loader/debugger.h"
#include "loader/export_object.h"
#include "loader/image.h"
#include "loader/own_functions.h"
#include "loader/resolve.h"
#include "loader/start.h"
#include "loader/tls.h"
#include "loader/unload.h"

enum { MESSAGE_SIZE = 1024 };

/* The calling thread's last error, until it is asked for. */
static __thread struct {
    bool is_set;
    char text[MESSAGE_SIZE];
} last_error;

static void set_message(const char *text)
{
    snprintf(last_error.text, sizeof last_error.text, "%s", text ? text : "unknown error");
    last_error.is_set = true;
}

/* Keeps the error, if there is one, and destroys it; whether there was one. */
static bool set_error(struct crateld_error *error)
{
    if (!error)
        return false;
    set_message(crateld_error_message(error));
    crateld_error_destroy(error);
    return true;
}

char *dl_error(void)
{
    if (!last_error.is_set)
        return NULL;
    last_error.is_set = false;
    return last_error.text;
}

/* The crate whose record `handle` is; NULL if it is ld.so's. */
static struct loaded_crate *crate_of_handle(void *handle)
{
    struct process *process = current_process();
    struct loaded_crate *found = NULL;
    process_lock(process);
    for (size_t i = 0; i < process->crates.count && !found; i++) {
        if (process->crates.at[i] == handle || bundle_has_record(process->crates.at[i], handle))
            found = handle;
    }
    process_unlock(process);
    return found;
}

static bool has_crate_suffix(const char *file)
{
    static const char suffix[] = ".crate";
    size_t length = strlen(file);
    return length >= sizeof suffix && strcmp(file + length - (sizeof suffix - 1), suffix) == 0;
}

/* The path of a crate file: as it stands if it has a slash; else that of a loaded crate of this name, or where what
 * `user` needs is found. *ret is malloc'ed; NULL: it is nowhere. */
static struct crateld_error *find_crate_file(struct process *process, const struct loaded_crate *user, const char *file,
                                             char **ret)
{
    int fd AUTO_CLOSE = -1;
    const struct loaded_crate *known = process_find(process, file);
    if (strchr(file, '/') || known) {
        *ret = strdup(known ? known->path : file);
        return *ret ? NULL : error_memory();
    }
    return process_open_file(process, user, file, process_runpath(user), ret, &fd);
}

/* Whether the file at `path` is a crate, whatever it is called. */
static bool is_crate_at(const char *path)
{
    uint8_t start[CRATE_START_SIZE];
    uint64_t off;
    int fd AUTO_CLOSE = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t size = fd < 0 ? -1 : pread(fd, start, sizeof start, 0);
    struct crateld_error *error =
        size < 0 ? error_memory() : crate_header_find(path, (struct span){start, (size_t)size}, &off);
    bool is_crate = !error;
    crateld_error_destroy(error);
    return is_crate;
}

/* The path of the crate that a caller of dlopen() means by `file`: *ret malloc'ed; NULL: that is left to ld.so. */
static struct crateld_error *path_of_crate(const void *caller, const char *file, char **ret)
{
    struct process *process = current_process();
    const struct loaded_crate *user = address_index_find((uint64_t)(uintptr_t)caller);
    char *path AUTO_FREE = NULL;
    process_lock(process);
    struct crateld_error *error = find_crate_file(process, user ? user : current_entry(), file, &path);
    process_unlock(process);
    if (error)
        return error;
    if (!path && has_crate_suffix(file))
        return error_create(CRATELD_ERROR_NOT_FOUND, "%s: no such crate", file);
    if (path && (has_crate_suffix(file) || is_crate_at(path)))
        *ret = STEAL_PTR(path);
    return NULL;
}

/* The member of a bundle that stands for the file at `path`; *ret NULL: there is none. */
static struct crateld_error *find_member(const char *path, struct loaded_crate **ret)
{
    struct process *process = current_process();
    const char *slash = strrchr(path, '/');
    process_lock(process);
    struct crateld_error *error = bundle_find(process, slash ? slash + 1 : path, true, ret);
    process_unlock(process);
    return error;
}

/* Opens the crate at `path`, or the member, if that is not NULL. */
static struct crateld_error *open_crate(const char *path, int mode, struct loaded_crate *member,
                                        struct loaded_crate **ret)
{
    struct process *process = current_process();
    struct loaded_crate *crate = member;
    process_lock(process);
    struct crateld_error *error = NULL;
    if (member)
        ; /* it is there */
    else if (!(mode & RTLD_NOLOAD))
        error = carried_load(process, path, &crate);
    else if (!(crate = process_find_file(process, path)))
        error = error_create(CRATELD_ERROR_NOT_FOUND, "%s: not loaded", path);
    if (!error)
        unload_hold(crate);
    if (!error && mode & RTLD_NODELETE)
        crate->is_kept = true;
    process_unlock(process);
    if (error)
        return error;
    error = mode & RTLD_NOLOAD ? NULL : start_crate(crate, mode & RTLD_NOW);
    if (error)
        unload_release(crate);
    else
        *ret = crate;
    return error;
}

static void *open_for(const void *caller, long name_space, const char *file, int mode)
{
    struct loaded_crate *crate = NULL, *member = NULL;
    char *path AUTO_FREE = NULL;
    if (file && set_error(find_member(file, &member)))
        return NULL;
    if (file && !member && set_error(path_of_crate(caller, file, &path)))
        return NULL;
    if (path || member) {
        if (name_space != LM_ID_BASE) {
            set_message("crates live in the base namespace");
            return NULL;
        }
        return set_error(open_crate(path, mode, member, &crate)) ? NULL : crate;
    }
    /* Whatever is opened may import from the program, which ld.so does only from ELF objects. */
    if (file && name_space == LM_ID_BASE && set_error(export_object_open()))
        return NULL;
    void *handle = name_space == LM_ID_BASE ? dlopen(file, mode) : dlmopen(name_space, file, mode);
    if (!handle)
        set_message(dlerror());
    return handle;
}

void *dl_mopen(long name_space, const char *file, int mode)
{
    return open_for(__builtin_return_address(0), name_space, file, mode);
}

void *dl_open(const char *file, int mode)
{
    return open_for(__builtin_return_address(0), LM_ID_BASE, file, mode);
}

int dl_close(void *handle)
{
    struct loaded_crate *crate = crate_of_handle(handle);
    if (crate) {
        unload_release(crate);
        return 0;
    }
    int result = dlclose(handle);
    if (result)
        set_message(dlerror());
    return result;
}

/* The address of `name` in the crate, for the calling thread; *ret NULL if it does not export it. */
static struct crateld_error *find_in_crate(struct loaded_crate *crate, uint64_t hash, const char *name, void **ret)
{
    struct crate_export export;
    uint64_t address = 0;
    *ret = NULL;
    TRY(image_look(crate)); /* it may not be active */
    uint32_t i = crate_view_find_export(&crate->view, hash, name);
    if (i == CRATE_NONE)
        return NULL;
    TRY(crate_view_export(&crate->view, i, &export));
    crate = loaded_image(crate);
    if (export.flags & CRATE_EXPORT_FLAG_FORWARD && export.kind == CRATE_EXPORT_TLS)
        return NULL; /* found in the library itself */
    TRY(activate_crate(crate));
    if (export.kind == CRATE_EXPORT_TLS) {
        struct tls_index index = tls_index_of(crate, export.rva);
        *ret = tls_get_address(&index);
        return NULL;
    }
    TRY(resolve_export_address(crate, &export, &address));
    *ret = (void *)(uintptr_t)address;
    return NULL;
}

/* In the members of a bundle from number `first` on, if the crate is one. */
static struct crateld_error *find_in_members(struct loaded_crate *bundle, uint32_t first, uint64_t hash,
                                             const char *name, void **ret)
{
    struct loaded_crate *member;
    uint32_t export;
    *ret = NULL;
    TRY(bundle_find_export(bundle, first, hash, name, &member, &export));
    return member ? find_in_crate(member, hash, name, ret) : NULL;
}

/* In the crates of the process from index `first` on. */
static struct crateld_error *find_in_crates(struct process *process, size_t first, const char *name, void **ret)
{
    uint64_t hash = hash_string(name);
    *ret = NULL;
    for (size_t i = first; i < process->crates.count && !*ret; i++) {
        TRY(find_in_crate(process->crates.at[i], hash, name, ret));
        if (!*ret)
            TRY(find_in_members(process->crates.at[i], 1, hash, name, ret));
    }
    return NULL;
}

/* In the global scope of ELF libraries, with all that crates need opened: a program's libraries are there from its
 * start. */
static struct crateld_error *find_in_libraries(struct process *process, const char *name, void **ret)
{
    *ret = dlsym(RTLD_DEFAULT, name);
    for (size_t i = 0; i < process->libraries.count && !*ret; i++) {
        struct elf_library *library = process->libraries.at[i];
        TRY(elf_library_symbol(library, name, "", ret));
    }
    if (*ret && own_function(name))
        *ret = own_function(name);
    return NULL;
}

/* What the crate needs as number `i`; *is_end: it needs no more. */
static struct crateld_error *need_of(struct loaded_crate *crate, uint32_t i, struct loaded_crate **needed,
                                     struct elf_library **library, bool *is_end)
{
    bool is_eager;
    *needed = NULL;
    *library = NULL;
    *is_end = i >= crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    if (crate->bundle || crate_is_bundle(&crate->view.header)) {
        TRY(bundle_member_need(crate, i, needed, library, &is_eager));
        *is_end = !*needed && !*library;
    } else if (!*is_end) {
        *needed = crate->needed[i].crate;
        *library = crate->needed[i].library;
    }
    return NULL;
}

struct crate_queue {
    VEC(struct loaded_crate *) crates;
};

static bool has_crate(const struct crate_queue *queue, const struct loaded_crate *crate)
{
    for (size_t i = 0; i < queue->crates.count; i++)
        if (queue->crates.at[i] == crate)
            return true;
    return false;
}

/* In what the crate needs that is a library; crates are put into the queue. */
static struct crateld_error *find_in_needed(struct loaded_crate *crate, const char *name, struct crate_queue *queue,
                                            void **ret)
{
    bool is_end = false;
    for (uint32_t i = 0; !is_end && !*ret; i++) {
        struct loaded_crate *needed;
        struct elf_library *library;
        TRY(need_of(crate, i, &needed, &library, &is_end));
        if (needed && !has_crate(queue, needed) && !VEC_PUSH(&queue->crates, needed))
            return error_memory();
        if (library && !own_function(name))
            TRY(elf_library_symbol(library, name, "", ret));
        else if (library)
            *ret = own_function(name);
    }
    return NULL;
}

static struct crateld_error *find_in_queue(struct crate_queue *queue, const char *name, void **ret)
{
    uint64_t hash = hash_string(name);
    for (size_t next = 0; next < queue->crates.count && !*ret; next++) {
        TRY(find_in_crate(queue->crates.at[next], hash, name, ret));
        if (!*ret)
            TRY(find_in_needed(queue->crates.at[next], name, queue, ret));
    }
    return NULL;
}

/* In the crate and what it needs, breadth first. */
static struct crateld_error *find_in_closure(struct loaded_crate *root, const char *name, void **ret)
{
    struct crate_queue queue = {0};
    *ret = NULL;
    struct crateld_error *error = VEC_PUSH(&queue.crates, root) ? find_in_queue(&queue, name, ret) : error_memory();
    free(queue.crates.at);
    return error;
}

/* Whether `handle` stands for the program as a whole. */
static bool is_program(void *handle)
{
    static void *_Atomic program;
    if (handle == RTLD_DEFAULT)
        return true;
    if (!program)
        program = dlopen(NULL, RTLD_LAZY);
    return handle == program || handle == current_entry();
}

/* The index of the crate behind the one that code at `caller` belongs to; 0 for code that is in none. */
static size_t index_after(const struct process *process, const void *caller)
{
    struct loaded_crate *crate = address_index_find((uint64_t)(uintptr_t)caller);
    for (size_t i = 0; crate && i < process->crates.count; i++) {
        if (process->crates.at[i] == crate)
            return i + 1;
    }
    return 0;
}

/* In the members of a bundle behind the one that code at `caller` belongs to. */
static struct crateld_error *find_in_next_members(const void *caller, const char *name, void **ret)
{
    struct loaded_crate *crate = address_index_find((uint64_t)(uintptr_t)caller);
    uint32_t member;
    if (!crate)
        return NULL;
    TRY(bundle_member_at(crate, (uint64_t)(uintptr_t)caller, &member));
    return find_in_members(crate, member + 1, hash_string(name), name, ret);
}

static struct crateld_error *find_symbol(void *handle, const char *name, const void *caller, void **ret)
{
    struct process *process = current_process();
    struct loaded_crate *crate = NULL;
    *ret = NULL;
    if (handle != RTLD_NEXT && !is_program(handle)) {
        crate = crate_of_handle(handle);
        if (crate)
            return find_in_closure(crate, name, ret);
        *ret = dlsym(handle, name);
        if (*ret && own_function(name))
            *ret = own_function(name);
        const char *reason = *ret ? NULL : dlerror();
        return reason ? error_create(CRATELD_ERROR_UNDEFINED, "%s", reason) : NULL;
    }
    if (handle == RTLD_NEXT)
        TRY(find_in_next_members(caller, name, ret));
    if (!*ret)
        TRY(find_in_crates(process, handle == RTLD_NEXT ? index_after(process, caller) : 0, name, ret));
    return *ret ? NULL : find_in_libraries(process, name, ret);
}

void *dl_sym(void *handle, const char *name)
{
    void *address = NULL;
    struct process *process = current_process();
    process_lock(process);
    struct crateld_error *error = find_symbol(handle, name, __builtin_return_address(0), &address);
    process_unlock(process);
    if (set_error(error))
        return NULL;
    if (!address) {
        char message[MESSAGE_SIZE];
        snprintf(message, sizeof message, "undefined symbol: %s", name);
        set_message(message);
    }
    return address;
}

void *dl_vsym(void *handle, const char *name, const char *version)
{
    if (handle != RTLD_DEFAULT && handle != RTLD_NEXT && crate_of_handle(handle)) {
        set_message("symbols of crates have no versions");
        return NULL;
    }
    void *address = dlvsym(handle, name, version);
    if (!address)
        set_message(dlerror());
    return address && own_function(name) ? own_function(name) : address;
}

int dl_info(void *handle, int request, void *ret)
{
    struct loaded_crate *crate = crate_of_handle(handle);
    if (!crate) {
        int result = handle ? dlinfo(handle, request, ret) : -1;
        if (result)
            set_message(handle ? dlerror() : "NULL is no handle");
        return result;
    }
    struct link_map *map = debugger_link_map(loaded_image(crate));
    switch (request) {
    case RTLD_DI_LINKMAP:
        *(struct link_map **)ret = map;
        return 0;
    case RTLD_DI_LMID:
        *(Lmid_t *)ret = LM_ID_BASE;
        return 0;
    case RTLD_DI_ORIGIN: {
        const char *slash = strrchr(map->l_name, '/');
        size_t length = slash ? (size_t)(slash - map->l_name) : 0;
        memcpy(ret, map->l_name, length);
        ((char *)ret)[length] = 0;
        return 0;
    }
    default:
        set_message("not to be had of a crate");
        return -1;
    }
}

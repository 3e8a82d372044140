#define _GNU_SOURCE
#include "loader/elf_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "loader/export_object.h"
#include "loader/log.h"

/* As an ordinary program's needed libraries: in the global scope, where libraries that are opened later find them. */
enum { OPEN_MODE = RTLD_LAZY | RTLD_GLOBAL };

struct crateld_error *elf_library_check(struct elf_library *library)
{
    if (library->is_resident || (library->path && access(library->path, R_OK) == 0))
        return NULL;
    return elf_library_open(library);
}

struct crateld_error *elf_library_open(struct elf_library *library)
{
    if (library->handle)
        return NULL;
    if (library->uses_exports)
        TRY(export_object_open());
    /* By soname first: that is how other libraries name it, and LD_LIBRARY_PATH and ld.so.conf apply. */
    void *handle = library->is_path_first ? dlopen(library->path, OPEN_MODE) : NULL;
    if (!handle)
        handle = dlopen(library->soname, OPEN_MODE);
    if (!handle) {
        const char *reason = dlerror();
        struct crateld_error *error =
            error_create(CRATELD_ERROR_NOT_FOUND, "ELF library %s: %s", library->soname, reason ? reason : "not found");
        if (library->path)
            handle = dlopen(library->path, OPEN_MODE);
        if (!handle)
            return error;
        crateld_error_destroy(error);
    }
    LOG(LOG_LOAD, "%s: opened", library->soname);
    log_state.libraries_opened++;
    library->handle = handle;
    return NULL;
}

/* Whether the object at `path` is one of those that this program itself is linked with. */
static bool is_own_library(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return strcmp(name, "libc.so.6") == 0 || strcmp(name, "libm.so.6") == 0;
}

/* The definition of `name` by a preloaded library (LD_PRELOAD, or a sanitizer's), which in any program comes before all
 * others: libraries call it, so crates must, lest they free what another allocator allocated. They stand between the
 * program and its own libraries. NULL: there is none. dlsym() alone would not do: asked for a version it ignores those
 * that have none, and it looks through what the library needs as well. */
static void *preloaded_symbol(const char *name)
{
#ifdef CRATELD_HOST
    (void)name; /* the libraries of somebody else's program are no preloaded ones */
    return NULL;
#endif
    for (const struct link_map *map = _r_debug.r_map->l_next; map && !is_own_library(map->l_name); map = map->l_next) {
        bool is_vdso = map->l_addr == getauxval(AT_SYSINFO_EHDR); /* libc calls it, programs do not */
        void *handle = is_vdso ? NULL : dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
        if (!handle)
            continue;
        const struct link_map *found;
        Dl_info info;
        void *address = dlsym(handle, name);
        dlclose(handle);
        if (address && dladdr1(address, &info, (void **)&found, RTLD_DL_LINKMAP) && found == map)
            return address;
    }
    return NULL;
}

struct crateld_error *elf_library_symbol(struct elf_library *library, const char *name, const char *version, void **ret)
{
    void *scope = RTLD_DEFAULT;
    *ret = preloaded_symbol(name);
    if (*ret)
        return NULL;
    if (!library->is_resident) {
        TRY(elf_library_open(library));
        scope = library->handle;
    }
    *ret = *version ? dlvsym(scope, name, version) : dlsym(scope, name);
#ifdef CRATELD_LOW
    /* This program's copies of libc's variables are the ones that libc uses: they come first in the global scope. */
    void *copy = scope == RTLD_DEFAULT ? NULL
                 : *version            ? dlvsym(RTLD_DEFAULT, name, version)
                                       : dlsym(RTLD_DEFAULT, name);
    extern char __executable_start, _end;
    if ((char *)copy >= &__executable_start && (char *)copy < &_end)
        *ret = copy;
#endif
    return NULL;
}

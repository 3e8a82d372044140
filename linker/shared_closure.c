#define _GNU_SOURCE
#include "linker/shared_closure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

struct closure_entry {
    char *name; /* owned; as DT_NEEDED has it */
    char *path; /* owned; NULL: not found */
};

/* The libraries that were met, in order; the first `done` have been read. */
struct closure {
    VEC(struct closure_entry) entries; /* owned */
    size_t done;
    const struct search *search;
    uint16_t machine;
};

bool shared_closure_is_resident(const char *soname)
{
    return strncmp(soname, "libc.so.", strlen("libc.so.")) == 0 ||
           strncmp(soname, "ld-linux", strlen("ld-linux")) == 0 ||
           strncmp(soname, "ld64.so.", strlen("ld64.so.")) == 0 ||
           strncmp(soname, "linux-vdso", strlen("linux-vdso")) == 0;
}

/* Sets *ret to the path of `name` in one of the folders of `runpath` (may be NULL), $ORIGIN being the folder
 * of the library at `origin_path`; NULL if it is in none. */
static struct crateld_error *find_in_runpath(const char *runpath, const char *origin_path, const char *name, char **ret)
{
    const char *slash = strrchr(origin_path, '/');
    int origin_length = slash ? (int)(slash - origin_path) : 1;
    const char *origin = slash ? origin_path : ".";
    *ret = NULL;
    while (runpath && *runpath) {
        size_t length = strcspn(runpath, ":");
        size_t skip = strncmp(runpath, "$ORIGIN", 7) == 0 ? 7 : strncmp(runpath, "${ORIGIN}", 9) == 0 ? 9 : 0;
        char *path AUTO_FREE = NULL;
        if (asprintf(&path, "%.*s%.*s/%s", skip ? origin_length : 0, origin, (int)(length - skip), runpath + skip,
                     name) < 0)
            return error_memory();
        if (access(path, R_OK) == 0) {
            *ret = STEAL_PTR(path);
            return NULL;
        }
        runpath += length + (runpath[length] == ':');
    }
    return NULL;
}

static struct crateld_error *find_needed(const struct closure *closure, const struct shared_library *from,
                                         const char *name, char **ret)
{
    if (strchr(name, '/')) {
        *ret = strdup(name);
        return *ret ? NULL : error_memory();
    }
    TRY(find_in_runpath(from->runpath, from->path, name, ret));
    return *ret ? NULL : search_file(closure->search, name, ret);
}

static bool is_known(const struct closure *closure, const char *name)
{
    for (size_t i = 0; i < closure->entries.count; i++)
        if (strcmp(closure->entries.at[i].name, name) == 0)
            return true;
    return shared_closure_is_resident(name);
}

/* Adds what `library` needs. */
static struct crateld_error *add_needed(struct closure *closure, const struct shared_library *library)
{
    for (uint32_t i = 0; i < library->needed_count; i++) {
        if (is_known(closure, library->needed[i]))
            continue;
        char *path AUTO_FREE = NULL, *name AUTO_FREE = strdup(library->needed[i]);
        if (!name)
            return error_memory();
        TRY(find_needed(closure, library, name, &path));
        if (!VEC_PUSH(&closure->entries, (struct closure_entry){name, path}))
            return error_memory();
        name = path = NULL;
    }
    return NULL;
}

/* Reads the next library, and adds what it needs. *ret: it has initialisers, or can not be read. */
static struct crateld_error *read_next(struct closure *closure, bool *ret)
{
    const char *path = closure->entries.at[closure->done++].path;
    struct shared_library library;
    *ret = true;
    if (!path)
        return NULL;
    struct crateld_error *error = shared_library_open(path, closure->machine, &library);
    if (error && crateld_error_code(error) == CRATELD_ERROR_MEMORY)
        return error;
    if (error) {
        crateld_error_destroy(error);
        return NULL;
    }
    *ret = library.has_initialisers;
    error = add_needed(closure, &library);
    shared_library_deinit(&library);
    return error;
}

struct crateld_error *shared_closure_has_initialisers(const struct shared_library *library, const struct search *search,
                                                      bool *ret)
{
    struct closure closure = {.search = search, .machine = library->machine};
    bool has_initialisers = library->has_initialisers;
    struct crateld_error *error = has_initialisers ? NULL : add_needed(&closure, library);
    while (!error && !has_initialisers && closure.done < closure.entries.count)
        error = read_next(&closure, &has_initialisers);
    if (closure.entries.count && search->journal)
        search->journal->is_incomplete = true; /* not all that was looked at is in it */
    for (size_t i = 0; i < closure.entries.count; i++) {
        free(closure.entries.at[i].name);
        free(closure.entries.at[i].path);
    }
    free(closure.entries.at);
    if (!error)
        *ret = has_initialisers;
    return error;
}

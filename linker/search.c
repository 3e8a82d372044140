#define _GNU_SOURCE
#include "linker/search.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory_stream.h"

void search_init(struct search *search)
{
    *search = (struct search){0};
    arena_init(&search->arena);
}

void search_deinit(struct search *search)
{
    free(search->dirs.at);
    arena_deinit(&search->arena);
    *search = (struct search){0};
}

struct crateld_error *search_add_dir(struct search *search, const char *dir)
{
    static const char sysroot[] = "$SYSROOT";
    if (dir[0] == '=')
        dir++;
    else if (strncmp(dir, sysroot, sizeof sysroot - 1) == 0)
        dir += sizeof sysroot - 1;
    char *copy = arena_strndup(&search->arena, dir, strlen(dir));
    return copy && VEC_PUSH(&search->dirs, copy) ? NULL : error_memory();
}

/* Whether `dir`, of which `status` is known, is among the folders from `first` on, under whatever name. */
static bool has_dir(const struct search *search, size_t first, const struct stat *status)
{
    for (size_t i = first; i < search->dirs.count; i++) {
        struct stat known;
        if (stat(search->dirs.at[i], &known) == 0 && known.st_dev == status->st_dev && known.st_ino == status->st_ino)
            return true;
    }
    return false;
}

/* Sets *ret to "<gcc_dir>/<version>" (malloc'ed) of the newest version that is installed with its libgcc.a;
 * NULL if there is none. Folders of other versions' runtime packages hold none. */
static struct crateld_error *find_newest_gcc(const char *gcc_dir, char **ret)
{
    char *newest AUTO_FREE = NULL;
    *ret = NULL;
    DIR *stream = opendir(gcc_dir);
    if (!stream)
        return errno == ENOMEM ? error_memory() : NULL;
    struct crateld_error *error = NULL;
    for (struct dirent *entry; !error && (entry = readdir(stream));) {
        char *path AUTO_FREE = NULL, *libgcc AUTO_FREE = NULL;
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        if (asprintf(&path, "%s/%s", gcc_dir, entry->d_name) < 0 || asprintf(&libgcc, "%s/libgcc.a", path) < 0) {
            error = error_memory();
        } else if ((!newest || strverscmp(path, newest) > 0) && access(libgcc, R_OK) == 0) {
            free(newest);
            newest = STEAL_PTR(path);
        }
    }
    closedir(stream);
    if (!error)
        *ret = STEAL_PTR(newest);
    return error;
}

struct crateld_error *search_add_defaults(struct search *search, const char *triplet)
{
    static const char *const formats[] = {"/usr/lib/%s", "/lib/%s",           "/usr/lib",
                                          "/lib",        "/usr/local/lib/%s", "/usr/local/lib"};
    size_t first = search->dirs.count;
    char *gcc_dir AUTO_FREE = NULL, *gcc AUTO_FREE = NULL;
    if (asprintf(&gcc_dir, "/usr/lib/gcc/%s", triplet) < 0)
        return error_memory();
    TRY(find_newest_gcc(gcc_dir, &gcc));
    if (gcc)
        TRY(search_add_dir(search, gcc));
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        char *dir AUTO_FREE = NULL;
        struct stat status;
        if (asprintf(&dir, formats[i], triplet) < 0)
            return error_memory();
        if (stat(dir, &status) == 0 && S_ISDIR(status.st_mode) && !has_dir(search, first, &status))
            TRY(search_add_dir(search, dir));
    }
    return NULL;
}

/* Sets *ret to "<dir>/<before><name><after>" (malloc'ed) if there is such a file, else to NULL. */
static struct crateld_error *try_file(const struct search *search, const char *dir, const char *before,
                                      const char *name, const char *after, char **ret)
{
    char *path AUTO_FREE = NULL;
    struct stat status;
    if (asprintf(&path, "%s/%s%s%s", dir, before, name, after) < 0)
        return error_memory();
    if (search->journal) {
        struct file_stamp stamp = file_stamp_at(path);
        journal_add(search->journal, path, &stamp);
    }
    *ret = stat(path, &status) == 0 && !S_ISDIR(status.st_mode) ? STEAL_PTR(path) : NULL;
    return NULL;
}

struct crateld_error *search_file(const struct search *search, const char *name, char **ret)
{
    char *found = NULL;
    for (size_t i = 0; !found && i < search->dirs.count; i++)
        TRY(try_file(search, search->dirs.at[i], "", name, "", &found));
    *ret = found;
    return NULL;
}

/* "<what> in <dir>, <dir>" */
static struct crateld_error *not_found(const struct search *search, const char *name, const char *what)
{
    char *dirs AUTO_FREE = NULL;
    size_t size;
    FILE *stream = open_memstream(&dirs, &size);
    if (!stream)
        return error_memory();
    for (size_t i = 0; i < search->dirs.count; i++)
        fprintf(stream, "%s%s", i ? ", " : "", search->dirs.at[i]);
    if (!memory_stream_close(stream, &dirs))
        return error_memory();
    return error_create(CRATELD_ERROR_NOT_FOUND, "%s: not found: no %s in %s", name, what,
                        dirs[0] ? dirs : "the search path, which is empty");
}

struct crateld_error *search_library(const struct search *search, const char *name, enum search_kind kind, char **ret)
{
    static const struct {
        const char *before, *after;
        bool is_static;
    } forms[] = {
        {"lib", ".crate", false},
        {"", ".crate", false},
        {"lib", ".so", false},
        {"lib", ".a", true},
    };
    char *found = NULL;
    if (name[0] == ':') {
        TRY(search_file(search, name + 1, &found));
    } else {
        for (size_t i = 0; !found && i < search->dirs.count; i++)
            for (size_t f = 0; !found && f < sizeof forms / sizeof forms[0]; f++)
                if (kind == SEARCH_ANY || forms[f].is_static)
                    TRY(try_file(search, search->dirs.at[i], forms[f].before, name, forms[f].after, &found));
    }
    if (found) {
        *ret = found;
        return NULL;
    }
    char *option AUTO_FREE = NULL, *what AUTO_FREE = NULL;
    int length = name[0] == ':' ? asprintf(&what, "%s", name + 1)
                 : kind == SEARCH_STATIC
                     ? asprintf(&what, "lib%s.a", name)
                     : asprintf(&what, "lib%s.crate, %s.crate, lib%s.so or lib%s.a", name, name, name, name);
    if (length < 0 || asprintf(&option, "-l%s", name) < 0)
        return error_memory();
    return not_found(search, option, what);
}

struct crateld_error *search_script_input(const struct search *search, const char *script_path, const char *name,
                                          char **ret)
{
    struct stat status;
    if (name[0] != '/' && search->journal) {
        struct file_stamp stamp = file_stamp_at(name);
        journal_add(search->journal, name, &stamp);
    }
    if (name[0] == '/' || stat(name, &status) == 0) {
        *ret = strdup(name);
        return *ret ? NULL : error_memory();
    }
    const char *slash = strrchr(script_path, '/');
    char *found = NULL;
    if (slash) {
        char *dir AUTO_FREE = strndup(script_path, (size_t)(slash - script_path));
        if (!dir)
            return error_memory();
        TRY(try_file(search, dir, "", name, "", &found));
    }
    if (!found)
        TRY(search_file(search, name, &found));
    if (!found)
        return error_prefix(not_found(search, name, "such file"), "%s", script_path);
    *ret = found;
    return NULL;
}

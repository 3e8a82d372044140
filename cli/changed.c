#include "cli/changed.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "crate/carried.h"

void changed_init(struct changed *changed)
{
    *changed = (struct changed){0};
    arena_init(&changed->arena);
}

void changed_deinit(struct changed *changed)
{
    for (size_t i = 0; i < changed->files.count; i++)
        file_close(&changed->files.at[i]);
    for (size_t i = 0; i < changed->archives.count; i++) {
        archive_deinit(changed->archives.at[i]);
        free(changed->archives.at[i]);
    }
    free(changed->files.at);
    free(changed->archives.at);
    free(changed->modules.at);
    arena_deinit(&changed->arena);
}

/* Objects. */

/* The archive at `path`, opened once. */
static struct crateld_error *open_archive(struct changed *changed, const char *path, struct archive **ret)
{
    for (size_t i = 0; i < changed->archives.count; i++)
        if (!strcmp(changed->archives.at[i]->path, path)) {
            *ret = changed->archives.at[i];
            return NULL;
        }
    struct archive *archive = calloc(1, sizeof *archive);
    if (!archive || !VEC_RESERVE(&changed->archives, 1)) {
        free(archive);
        return error_memory();
    }
    struct crateld_error *error = archive_open(path, archive);
    if (error) {
        free(archive);
        return error;
    }
    changed->archives.at[changed->archives.count++] = *ret = archive;
    return NULL;
}

/* The member: of several of that name one with the contents that `hash` is of, if there is one. */
static struct crateld_error *read_member(struct changed *changed, const struct relink_module *module, uint64_t hash,
                                         struct span *ret)
{
    struct archive *archive = NULL;
    bool is_found = false;
    TRY(open_archive(changed, module->path, &archive));
    for (uint32_t i = 0; i < archive->member_count; i++) {
        struct span data;
        if (strcmp(archive->members[i].name, module->member) != 0)
            continue;
        TRY(archive_member_data(archive, i, &data));
        if (is_found && hash_bytes(data.data, data.size) != hash)
            continue;
        *ret = data;
        is_found = true;
    }
    return is_found
               ? NULL
               : error_create(CRATELD_ERROR_NOT_FOUND, "%s: has no member %s any more", module->path, module->member);
}

static struct crateld_error *read_file(struct changed *changed, const char *path, struct span *ret)
{
    struct file file;
    TRY(file_open(path, &file));
    if (!VEC_PUSH(&changed->files, file)) {
        file_close(&file);
        return error_memory();
    }
    *ret = file.data;
    return NULL;
}

/* Sets *ret to the object that the module was linked from, as it is now; *is_there false if it is gone or unreadable.
 */
static struct crateld_error *read_object(struct changed *changed, const struct relink_module *module, uint64_t hash,
                                         struct span *ret, bool *is_there)
{
    struct crateld_error *error =
        *module->member ? read_member(changed, module, hash, ret) : read_file(changed, module->path, ret);
    *is_there = !error;
    enum crateld_error_code code = error ? crateld_error_code(error) : CRATELD_ERROR_IO;
    if (code != CRATELD_ERROR_IO && code != CRATELD_ERROR_NOT_FOUND)
        return error;
    crateld_error_destroy(error);
    return NULL;
}

static struct crateld_error *add_module(struct changed *changed, const struct relink_module *module, struct span data)
{
    struct link_argument argument = {.kind = LINK_ARGUMENT_FILE, .contents = data};
    argument.value = *module->member ? arena_printf(&changed->arena, "%s(%s)", module->path, module->member)
                                     : arena_strndup(&changed->arena, module->path, strlen(module->path));
    return argument.value && VEC_PUSH(&changed->modules, argument) ? NULL : error_memory();
}

/* Modules. */

static bool is_in_patch(const struct crate_view *patch, const struct relink_module *module)
{
    for (uint32_t i = 0; i < crate_view_count(patch, CRATE_TABLE_MODULES); i++)
        if (crate_view_string_is(patch, patch->modules[i].path, module->path) &&
            crate_view_string_is(patch, patch->modules[i].member, module->member))
            return true;
    return false;
}

/* Whether the crate carries a patch of the module. */
static struct crateld_error *is_carried(const struct link_base *base, const struct relink_module *module, bool *ret)
{
    *ret = false;
    for (uint32_t i = 0; i < base->view.header.carried_count && !*ret; i++) {
        struct span bytes;
        struct crate_view patch = {0};
        TRY(crate_carried_at(base->path, base->file.data, &base->view.header, i, &bytes));
        TRY(crate_view_open(base->path, bytes, &patch));
        *ret = is_in_patch(&patch, module);
    }
    return NULL;
}

/* Sets *ret to the crate's module of that path and member, if there is one. */
static struct crateld_error *find_same(const struct link_base *base, const struct relink_module *module,
                                       struct relink_module *ret, bool *is_there)
{
    const char *name = *module->member ? module->member : module->path, *slash = strrchr(name, '/');
    uint64_t hash = hash_string(slash ? slash + 1 : name);
    size_t cursor = 0;
    uint32_t i;
    *is_there = false;
    while (!*is_there && (i = hash_index_next(&base->file_names, hash, &cursor)) != HASH_INDEX_NONE) {
        TRY(relink_view_module(&base->relink, i, ret));
        *is_there = !strcmp(ret->path, module->path) && !strcmp(ret->member, module->member);
    }
    return NULL;
}

/* Whether the module was added already. */
static bool has_module(const struct changed *changed, const struct relink_module *module)
{
    size_t length = strlen(module->path);
    for (size_t i = 0; i < changed->modules.count; i++) {
        const char *name = changed->modules.at[i].value;
        bool is_path = !strncmp(name, module->path, length);
        if (is_path && (*module->member ? name[length] == '(' &&
                                              !strncmp(name + length + 1, module->member, strlen(module->member)) &&
                                              !strcmp(name + length + 1 + strlen(module->member), ")")
                                        : !name[length]))
            return true;
    }
    return false;
}

/* Adds the modules that the patch has, and the crate has not. */
static struct crateld_error *add_new(struct changed *changed, const struct link_base *base,
                                     const struct crate_view *patch)
{
    for (uint32_t i = 0; i < crate_view_count(patch, CRATE_TABLE_MODULES); i++) {
        struct crate_module record;
        struct relink_module same;
        struct span data = {0};
        bool is_known = false, is_there = false;
        TRY(crate_view_module(patch, i, &record));
        struct relink_module module = {.path = crate_view_string(patch, record.path),
                                       .member = crate_view_string(patch, record.member)};
        if (!module.path || !module.member)
            continue; /* not so: crate_view_module() has checked them */
        TRY(find_same(base, &module, &same, &is_known));
        if (!is_known && !has_module(changed, &module))
            TRY(read_object(changed, &module, 0, &data, &is_there));
        if (is_there)
            TRY(add_module(changed, &module, data));
    }
    return NULL;
}

static struct crateld_error *add_carried(struct changed *changed, const struct link_base *base)
{
    for (uint32_t i = 0; i < base->view.header.carried_count; i++) {
        struct span bytes;
        struct crate_view patch = {0};
        TRY(crate_carried_at(base->path, base->file.data, &base->view.header, i, &bytes));
        TRY(crate_view_open(base->path, bytes, &patch));
        TRY(add_new(changed, base, &patch));
    }
    return NULL;
}

struct crateld_error *changed_find(struct changed *changed, const struct link_base *base)
{
    for (uint32_t i = 0; i < base->relink.module_count; i++) {
        struct relink_module module;
        struct span data = {0};
        bool is_there = false, is_wanted = false;
        TRY(relink_view_module(&base->relink, i, &module));
        if (!*module.path)
            continue;
        TRY(read_object(changed, &module, module.hash, &data, &is_there));
        if (is_there)
            TRY(is_carried(base, &module, &is_wanted));
        if (is_there && (is_wanted || hash_bytes(data.data, data.size) != module.hash))
            TRY(add_module(changed, &module, data));
    }
    return add_carried(changed, base);
}

/* A message about a module, as it is named in others. */
static struct crateld_error *module_error(enum crateld_error_code code, const struct relink_module *module,
                                          const char *text, const char *path)
{
    return *module->member ? error_create(code, "%s(%s): %s %s", module->path, module->member, text, path)
                           : error_create(code, "%s: %s %s", module->path, text, path);
}

static struct crateld_error *compare_module(struct changed *changed, const struct link_base *base,
                                            const struct link_base *next, const struct relink_module *module,
                                            bool is_all)
{
    struct relink_module before;
    struct span data = {0};
    bool is_there = false, is_wanted = false;
    TRY(find_same(base, module, &before, &is_there));
    if (is_there)
        TRY(is_carried(base, &before, &is_wanted));
    if (is_there && !is_wanted && !is_all && before.hash == module->hash)
        return NULL;
    TRY(read_object(changed, module, module->hash, &data, &is_there));
    if (!is_there)
        return module_error(CRATELD_ERROR_NOT_FOUND, module, "is gone; a patch is made of the objects of", next->path);
    if (hash_bytes(data.data, data.size) != module->hash)
        return module_error(CRATELD_ERROR_MISMATCH, module, "has changed since it was linked into", next->path);
    return add_module(changed, module, data);
}

static bool is_same_text(const struct crate_view *a, uint32_t x, const struct crate_view *b, uint32_t y)
{
    return crate_view_string_is(a, x, crate_view_string(b, y));
}

/* What patches do not change: what the crate is called, and what it needs. */
static struct crateld_error *compare_crates(const struct link_base *base, const struct link_base *next)
{
    const struct crate_view *a = &base->view, *b = &next->view;
    uint32_t count = crate_view_count(a, CRATE_TABLE_NEEDED);
    if (strcmp(crate_view_name(a), crate_view_name(b)) != 0)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: is the crate '%s', but %s is '%s'", next->path,
                            crate_view_name(b), base->path, crate_view_name(a));
    bool is_same = count == crate_view_count(b, CRATE_TABLE_NEEDED);
    for (uint32_t i = 0; is_same && i < count; i++) {
        struct crate_needed x, y;
        TRY(crate_view_needed(a, i, &x));
        TRY(crate_view_needed(b, i, &y));
        is_same = x.kind == y.kind && is_same_text(a, x.name, b, y.name);
    }
    return is_same ? NULL
                   : error_create(CRATELD_ERROR_UNSUPPORTED,
                                  "%s: needs other crates or libraries than %s, which patches can not change",
                                  next->path, base->path);
}

/* Adds module `i` of the later build if it is another there. */
static struct crateld_error *compare_next(struct changed *changed, const struct link_base *base,
                                          const struct link_base *next, uint32_t i, bool is_all)
{
    struct relink_module module;
    TRY(relink_view_module(&next->relink, i, &module));
    return *module.path ? compare_module(changed, base, next, &module, is_all) : NULL;
}

/* That module `i` of the crate is still there in the later build. */
static struct crateld_error *check_kept(const struct link_base *base, const struct link_base *next, uint32_t i)
{
    struct relink_module module, same;
    bool is_there = false;
    TRY(relink_view_module(&base->relink, i, &module));
    if (*module.path)
        TRY(find_same(next, &module, &same, &is_there));
    if (is_there || !*module.path)
        return NULL;
    return module_error(CRATELD_ERROR_UNSUPPORTED, &module, "is a module that a patch can not remove; it is not in",
                        next->path);
}

struct crateld_error *changed_between(struct changed *changed, const struct link_base *base,
                                      const struct link_base *next, bool is_all)
{
    struct crateld_error *errors = compare_crates(base, next);
    for (uint32_t i = 0; i < next->relink.module_count; i++)
        errors = error_join(errors, compare_next(changed, base, next, i, is_all));
    for (uint32_t i = 0; i < base->relink.module_count; i++)
        errors = error_join(errors, check_kept(base, next, i));
    return errors;
}

#include "loader/importers.h"

#include <string.h>

#include "base/hash.h"
#include "loader/image.h"
#include "loader/process.h"

static bool imports(const struct loaded_crate *user, const struct loaded_crate *provider, uint64_t hash,
                    const char *name)
{
    for (uint32_t i = 0; i < crate_view_count(&user->view, CRATE_TABLE_IMPORTS); i++) {
        const struct crate_import *raw = &user->view.imports[i];
        struct crate_import import;
        if (raw->hash != hash || raw->needed == CRATE_NONE)
            continue;
        struct crateld_error *error = crate_view_import(&user->view, i, &import);
        bool is_it = !error && user->needed[import.needed].crate == provider &&
                     !strcmp(crate_view_string(&user->view, import.name), name);
        crateld_error_destroy(error); /* what is damaged is found when it is bound */
        if (is_it)
            return true;
    }
    return false;
}

struct crateld_error *importers_find(const struct loaded_crate *provider, const char *name,
                                     const struct loaded_crate **ret)
{
    const struct process *process = provider->process;
    uint64_t hash = hash_string(name);
    for (size_t i = 0; i < process->crates.count; i++) {
        struct loaded_crate *user = process->crates.at[i];
        bool is_patch = user->view.header.flags & CRATE_FLAG_PATCH && user->needed[0].crate == provider;
        if (is_patch || user == provider)
            continue;
        TRY(image_need(user));
        if (imports(user, provider, hash, name)) {
            *ret = user;
            return NULL;
        }
    }
    *ret = NULL;
    return NULL;
}

struct crateld_error *importers_check_vanished(const struct loaded_crate *patch)
{
    const struct loaded_crate *base = patch->needed[0].crate;
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_VANISHED); i++) {
        struct crate_vanished vanished;
        TRY(crate_view_vanished(&patch->view, i, &vanished));
        const char *name = crate_view_string(&patch->view, vanished.name);
        const struct loaded_crate *user = NULL;
        TRY(importers_find(base, name, &user));
        if (user)
            return error_create(CRATELD_ERROR_MISMATCH, "%s imports '%s' from %s, which %s does not have any more",
                                user->path, name, base->path,
                                crate_view_string(&patch->view, patch->view.modules[vanished.module].path));
    }
    return NULL;
}

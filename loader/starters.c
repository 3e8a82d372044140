#include "loader/starters.h"

#include <string.h>

#include "loader/process.h"
#include "loader/start.h"
#include "loader/versions.h"

static const struct started *find(const struct loaded_crate *patch, const struct crate_starter *starter)
{
    const struct versions *versions = patch->needed[0].crate->versions;
    for (size_t i = 0; versions && i < versions->started.count; i++)
        if (!strcmp(versions->started.at[i].name, crate_view_string(&patch->view, starter->name)))
            return &versions->started.at[i];
    return NULL;
}

struct crateld_error *starters_check(const struct loaded_crate *patch)
{
    uint32_t count = crate_view_count(&patch->view, CRATE_TABLE_STARTERS);
    struct versions *versions = NULL;
    TRY(versions_of(patch->needed[0].crate, &versions));
    for (uint32_t i = 0; i < count; i++) {
        struct crate_starter starter;
        TRY(crate_view_starter(&patch->view, i, &starter));
        const struct started *known = find(patch, &starter);
        if (known && known->hash != starter.hash)
            return error_create(
                CRATELD_ERROR_MISMATCH,
                "%s: objects with constructors came, went or changed ('%s'), and others of that file "
                "were constructed in an earlier reload: put them in a file of their own; if only other functions of "
                "it changed, compile with -ffunction-sections",
                crate_view_string(&patch->view, patch->view.modules[starter.module].path), known->name);
    }
    return VEC_RESERVE(&versions->started, count) ? NULL : error_memory();
}

/* Whether it has not run yet; from now on it has. */
static bool enter(const struct loaded_crate *patch, const struct crate_starter *starter)
{
    struct versions *versions = patch->needed[0].crate->versions;
    struct started started = {crate_view_string(&patch->view, starter->name), starter->hash};
    process_lock(patch->process);
    bool is_new = !find(patch, starter) && VEC_PUSH(&versions->started, started);
    process_unlock(patch->process);
    return is_new;
}

void starters_run(const struct loaded_crate *patch)
{
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_STARTERS); i++) {
        const struct crate_starter *starter = &patch->view.starters[i]; /* checked above */
        if (enter(patch, starter))
            start_call(loaded_address(patch, starter->rva));
    }
}

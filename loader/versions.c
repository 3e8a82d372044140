#include "loader/versions.h"

#include <stdlib.h>
#include <string.h>

struct crateld_error *versions_of(struct loaded_crate *base, struct versions **ret)
{
    if (!base->versions)
        base->versions = calloc(1, sizeof *base->versions);
    *ret = base->versions;
    return *ret ? NULL : error_memory();
}

void versions_destroy(struct versions *versions)
{
    if (!versions)
        return;
    for (size_t i = 0; i < versions->variables.count; i++)
        free(versions->variables.at[i].image);
    free(versions->variables.at);
    free(versions->fresh.at);
    free(versions->patches.at);
    free(versions);
}

void versions_leave(const struct loaded_crate *patch)
{
    struct versions *versions = patch->needed[0].crate->versions;
    size_t n = 0;
    while (versions && n < versions->patches.count && versions->patches.at[n] != patch)
        n++;
    if (!versions || n == versions->patches.count)
        return;
    versions->patches.count--;
    memmove(&versions->patches.at[n], &versions->patches.at[n + 1],
            (versions->patches.count - n) * sizeof *versions->patches.at);
}

struct crateld_error *version_set_add(struct version_set *set, struct loaded_crate *base)
{
    if (!VEC_PUSH(&set->bases, base))
        return error_memory();
    for (size_t n = 0; base->versions && n < base->versions->patches.count; n++) {
        struct loaded_crate *patch = base->versions->patches.at[n];
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_MODULES); i++)
            if (patch->is_active_module[i] && !VEC_PUSH(&set->active, (struct version){patch, i}))
                return error_memory();
    }
    return NULL;
}

void version_set_restore(const struct version_set *set)
{
    for (size_t i = 0; i < set->bases.count; i++) {
        const struct versions *versions = set->bases.at[i]->versions;
        for (size_t n = 0; versions && n < versions->patches.count; n++)
            for (uint32_t k = 0; k < crate_view_count(&versions->patches.at[n]->view, CRATE_TABLE_MODULES); k++)
                versions->patches.at[n]->is_active_module[k] = false;
    }
    for (size_t i = 0; i < set->active.count; i++)
        set->active.at[i].patch->is_active_module[set->active.at[i].module] = true;
}

void version_set_destroy(struct version_set *set)
{
    if (!set)
        return;
    free(set->bases.at);
    free(set->active.at);
    free(set);
}

/* The patch's version of the function that starts at `rva` of the base; CRATE_NONE if it has no active one. Moves are
 * sorted by their places; patches were checked as a whole when they were loaded. */
static uint32_t find_move(const struct loaded_crate *patch, uint32_t rva)
{
    const struct crate_move *moves = patch->view.moves;
    uint32_t low = 0, high = crate_view_count(&patch->view, CRATE_TABLE_MOVES);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (moves[middle].old_rva < rva)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_found = low < crate_view_count(&patch->view, CRATE_TABLE_MOVES) && moves[low].old_rva == rva;
    return is_found && patch->is_active_module[moves[low].module] ? moves[low].new_rva : CRATE_NONE;
}

struct moved_variable *versions_variable(const struct loaded_crate *base, uint32_t rva)
{
    for (size_t i = 0; base->versions && i < base->versions->variables.count; i++) {
        struct moved_variable *variable = &base->versions->variables.at[i];
        if (rva >= variable->base_rva && rva - variable->base_rva < variable->base_size)
            return variable;
    }
    return NULL;
}

uint64_t versions_address(const struct loaded_crate *base, uint32_t rva)
{
    const struct versions *versions = base->versions;
    if (!versions)
        return loaded_address(base, rva);
    for (size_t i = versions->patches.count; i > 0; i--) {
        uint32_t moved = find_move(versions->patches.at[i - 1], rva);
        if (moved != CRATE_NONE)
            return loaded_address(versions->patches.at[i - 1], moved);
    }
    const struct moved_variable *variable = versions_variable(base, rva);
    if (variable)
        return loaded_address(variable->crate, variable->rva) + (rva - variable->base_rva);
    return loaded_address(base, rva);
}

static struct fresh_variable *find_fresh(const struct versions *versions, const char *name)
{
    for (size_t i = 0; i < versions->fresh.count; i++)
        if (!strcmp(versions->fresh.at[i].name, name))
            return &versions->fresh.at[i];
    return NULL;
}

struct crateld_error *versions_add_fresh(struct loaded_crate *patch)
{
    struct versions *versions = patch->needed[0].crate->versions;
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_FRESH); i++) {
        const struct crate_fresh *fresh = &patch->view.fresh[i];
        const char *name = crate_view_string(&patch->view, fresh->name);
        const struct fresh_variable *known = find_fresh(versions, name);
        if (known && known->size != fresh->size)
            return error_create(
                CRATELD_ERROR_MISMATCH,
                "%s: variable '%s': %u bytes, but %u since an earlier reload: its value can not be kept", patch->path,
                name, fresh->size, known->size);
        struct fresh_variable variable = {name, patch, fresh->rva, fresh->size};
        if (!known && !VEC_PUSH(&versions->fresh, variable))
            return error_memory();
    }
    return NULL;
}

struct crateld_error *versions_fresh_address(const struct loaded_crate *patch, uint32_t rva, uint64_t *ret)
{
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_FRESH); i++) {
        const struct crate_fresh *fresh = &patch->view.fresh[i];
        if (rva < fresh->rva || rva - fresh->rva > fresh->size)
            continue;
        const struct fresh_variable *known =
            find_fresh(patch->needed[0].crate->versions, crate_view_string(&patch->view, fresh->name));
        if (!known)
            break;
        *ret = loaded_address(known->patch, known->rva) + (rva - fresh->rva);
        return NULL;
    }
    return error_create(CRATELD_ERROR_FORMAT, "%s: 0x%x, which an import names, is in none of its new variables",
                        patch->path, rva);
}

static bool supersedes(const struct loaded_crate *patch, uint32_t rva)
{
    const struct crate_unit *units = patch->view.units;
    uint32_t low = 0, high = crate_view_count(&patch->view, CRATE_TABLE_UNITS);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rva < units[middle].rva)
            high = middle;
        else
            low = middle + 1;
    }
    return low && rva - units[low - 1].rva < units[low - 1].size && patch->is_active_module[units[low - 1].module];
}

bool versions_is_superseded(const struct loaded_crate *base, uint32_t rva)
{
    for (size_t i = 0; base->versions && i < base->versions->patches.count; i++)
        if (supersedes(base->versions->patches.at[i], rva))
            return true;
    return false;
}

bool versions_is_active(const struct loaded_crate *patch)
{
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_MODULES); i++)
        if (patch->is_active_module[i])
            return true;
    return false;
}

#include "loader/versions.h"

#include <stdlib.h>
#include <string.h>

#include "loader/entry_stubs.h"

struct crateld_error *versions_of(struct loaded_crate *base, struct versions **ret)
{
    if (!base->versions)
        base->versions = calloc(1, sizeof *base->versions);
    *ret = base->versions;
    return *ret ? NULL : error_memory();
}

static void release_others(struct moved_variable *variable)
{
    while (variable->others) {
        struct moved_variable *other = variable->others;
        variable->others = other->others;
        free(other->image);
        free(other);
    }
}

void versions_destroy(struct versions *versions)
{
    if (!versions)
        return;
    for (size_t i = 0; i < versions->variables.count; i++) {
        release_others(&versions->variables.at[i]);
        free(versions->variables.at[i].image);
    }
    free(versions->variables.at);
    free(versions->fresh.at);
    free(versions->functions.at);
    free(versions->started.at);
    free(versions->patches.at);
    free(versions);
}

void versions_remove(const struct loaded_crate *patch)
{
    struct versions *versions = patch->needed[0].crate->versions;
    size_t count = 0;
    for (size_t i = 0; versions && i < versions->patches.count; i++)
        if (versions->patches.at[i] != patch)
            versions->patches.at[count++] = versions->patches.at[i];
    if (!versions)
        return;
    versions->patches.count = count;
    entry_stubs_forget(versions, patch);
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
    for (size_t i = 0; base->versions && i < base->versions->variables.count; i++) {
        const struct moved_variable *variable = &base->versions->variables.at[i];
        struct version_place place = {base, variable->base_rva, variable->crate, variable->rva};
        if (!VEC_PUSH(&set->places, place))
            return error_memory();
    }
    return NULL;
}

bool version_set_has_place(const struct version_set *set, const struct loaded_crate *base,
                           const struct moved_variable *storage)
{
    bool is_known = false;
    for (size_t i = 0; i < set->places.count; i++) {
        const struct version_place *place = &set->places.at[i];
        if (place->base != base || place->base_rva != storage->base_rva)
            continue;
        if (place->crate == storage->crate && place->rva == storage->rva)
            return true;
        is_known = true;
    }
    return !is_known && storage->crate == base; /* it had not moved yet */
}

void version_set_restore(const struct version_set *set)
{
    for (size_t i = 0; i < set->bases.count; i++) {
        const struct versions *versions = set->bases.at[i]->versions;
        for (size_t n = 0; versions && n < versions->patches.count; n++)
            for (uint32_t k = 0; k < crate_view_count(&versions->patches.at[n]->view, CRATE_TABLE_MODULES); k++)
                versions->patches.at[n]->is_active_module[k] = false;
    }
    for (size_t i = 0; i < set->active.count; i++) {
        set->active.at[i].patch->is_active_module[set->active.at[i].module] = true;
        set->active.at[i].patch->is_sought = false;
    }
}

void version_set_destroy(struct version_set *set)
{
    if (!set)
        return;
    free(set->bases.at);
    free(set->active.at);
    free(set->places.at);
    free(set);
}

/* The patch's version of the function or constant that starts at `rva` of the base; NULL if it has none. Moves are
 * sorted by their places; patches were checked as a whole when they were loaded. */
static const struct crate_move *find_any_move(const struct loaded_crate *patch, uint32_t rva)
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
    return is_found ? &moves[low] : NULL;
}

/* Likewise, where an active one is; CRATE_NONE: there is none. */
static uint32_t find_move(const struct loaded_crate *patch, uint32_t rva)
{
    const struct crate_move *move = find_any_move(patch, rva);
    return move && patch->is_active_module[move->module] ? move->new_rva : CRATE_NONE;
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

const struct crate_grown *versions_wanted(const struct loaded_crate *base, uint32_t base_rva)
{
    for (size_t n = base->versions->patches.count; n > 0; n--) {
        const struct loaded_crate *patch = base->versions->patches.at[n - 1];
        for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_GROWN); i++)
            if (patch->view.grown[i].base_rva == base_rva && patch->is_active_module[patch->view.grown[i].module])
                return &patch->view.grown[i];
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

bool versions_is_place(const struct loaded_crate *base, uint32_t rva, uint64_t address)
{
    for (size_t i = 0; base->versions && i < base->versions->patches.count; i++) {
        const struct loaded_crate *patch = base->versions->patches.at[i];
        const struct crate_move *move = find_any_move(patch, rva);
        if (move && loaded_address(patch, move->new_rva) == address)
            return true;
    }
    return loaded_address(base, rva) == address;
}

static struct fresh_variable *find_fresh(const struct versions *versions, const char *name, bool is_thread_local)
{
    for (size_t i = 0; i < versions->fresh.count; i++)
        if (!strcmp(versions->fresh.at[i].name, name) && versions->fresh.at[i].is_thread_local == is_thread_local)
            return &versions->fresh.at[i];
    return NULL;
}

static struct crateld_error *add_fresh(struct loaded_crate *patch, const struct crate_fresh *fresh,
                                       bool is_thread_local)
{
    struct versions *versions = patch->needed[0].crate->versions;
    const char *name = crate_view_string(&patch->view, fresh->name);
    const struct fresh_variable *known = find_fresh(versions, name, is_thread_local);
    if (known && known->size != fresh->size)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s: variable '%s': %u bytes, but %u since an earlier reload: its value can not be kept",
                            patch->path, name, fresh->size, known->size);
    if (known && known->type && fresh->type && known->type != fresh->type)
        return error_create(
            CRATELD_ERROR_MISMATCH,
            "%s: variable '%s' has another type than since an earlier reload: its value can not be kept", patch->path,
            name);
    uint64_t address = known && !is_thread_local ? loaded_address(known->patch, known->rva) : known ? known->rva : 0;
    if (address & (fresh->align - 1))
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s: variable '%s' needs an alignment of %u bytes, which it has not since an earlier "
                            "reload: declare it so (alignas) from the start",
                            patch->path, name, fresh->align);
    struct fresh_variable variable = {name, patch, fresh->rva, fresh->size, is_thread_local, fresh->type};
    return known || VEC_PUSH(&versions->fresh, variable) ? NULL : error_memory();
}

struct crateld_error *versions_add_fresh(struct loaded_crate *patch, bool is_running)
{
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_FRESH); i++)
        TRY(add_fresh(patch, &patch->view.fresh[i], false));
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_FRESH_TLS); i++)
        TRY(add_fresh(patch, &patch->view.fresh_tls[i], true));
    return entry_stubs_add(patch, is_running);
}

struct fresh_counts versions_count_fresh(const struct versions *versions)
{
    return (struct fresh_counts){versions->fresh.count, versions->functions.count};
}

void versions_cut_fresh(struct versions *versions, struct fresh_counts counts)
{
    versions->fresh.count = counts.variables;
    versions->functions.count = counts.functions;
}

/* The variable that the patch has at `rva`, according to the table; and where in it that is. */
static const struct fresh_variable *find_fresh_place(const struct loaded_crate *patch, const struct crate_fresh *table,
                                                     uint32_t count, uint32_t rva, uint32_t *off)
{
    for (uint32_t i = 0; i < count; i++) {
        if (rva < table[i].rva || rva - table[i].rva > table[i].size)
            continue;
        *off = rva - table[i].rva;
        return find_fresh(patch->needed[0].crate->versions, crate_view_string(&patch->view, table[i].name),
                          table == patch->view.fresh_tls);
    }
    return NULL;
}

static struct crateld_error *no_fresh(const struct loaded_crate *patch, uint32_t rva)
{
    return error_create(CRATELD_ERROR_FORMAT,
                        "%s: 0x%x, which an import names, is of none of its new variables and functions", patch->path,
                        rva);
}

struct crateld_error *versions_fresh_address(const struct loaded_crate *patch, uint32_t rva, uint64_t *ret)
{
    uint32_t off;
    if (entry_stubs_find(patch, rva, ret))
        return NULL;
    const struct fresh_variable *known =
        find_fresh_place(patch, patch->view.fresh, crate_view_count(&patch->view, CRATE_TABLE_FRESH), rva, &off);
    if (!known)
        return no_fresh(patch, rva);
    *ret = loaded_address(known->patch, known->rva) + off;
    return NULL;
}

struct crateld_error *versions_fresh_thread_local(const struct loaded_crate *patch, uint32_t off,
                                                  struct loaded_crate **ret_patch, uint32_t *ret_off)
{
    uint32_t within;
    const struct fresh_variable *known = find_fresh_place(
        patch, patch->view.fresh_tls, crate_view_count(&patch->view, CRATE_TABLE_FRESH_TLS), off, &within);
    if (!known)
        return no_fresh(patch, off);
    *ret_patch = known->patch;
    *ret_off = known->rva + within;
    return NULL;
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

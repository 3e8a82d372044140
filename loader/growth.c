/* Where variables are: those that move to larger storage, to that of another type, and back. loader/initial.h. */
#include <stdlib.h>
#include <string.h>

#include "loader/importers.h"
#include "loader/initial.h"
#include "loader/migrate.h"

static struct crateld_error *check_growth(const struct loaded_crate *patch, const struct crate_grown *grown,
                                          const struct moved_variable *variable)
{
    const struct loaded_crate *base = patch->needed[0].crate;
    const char *name = crate_view_string(&patch->view, grown->name);
    if (!crate_segment_has(&base->view.header, CRATE_SEGMENT_DATA, grown->base_rva, grown->old_size, false) ||
        (variable && (variable->base_rva != grown->base_rva || variable->base_size != grown->old_size)))
        return error_create(CRATELD_ERROR_FORMAT, "%s: variable '%s', %u bytes at 0x%x, is not one of %s", patch->path,
                            name, grown->old_size, grown->base_rva, base->path);
    return NULL;
}

/* Whether the variable is of the type that the patch has for it. */
static bool has_type(const struct moved_variable *variable, const struct crate_grown *grown)
{
    return grown->on_change != CRATE_ON_CHANGE_COPY && variable->is_retyped && variable->type == grown->type &&
           variable->size == grown->new_size;
}

/* Storage. */

/* What moves the variable from where it is to `to`. */
static struct growth describe(const struct moved_variable *variable, struct loaded_crate *base,
                              const struct moved_variable *to, enum growth_way way)
{
    return (struct growth){
        .base = base,
        .base_rva = variable->base_rva,
        .base_size = variable->base_size,
        .from_crate = variable->crate,
        .from_rva = variable->rva,
        .size = variable->size,
        .to_crate = to->crate,
        .to_rva = to->rva,
        .new_size = to->size,
        .name = to->name,
        .way = way,
        .before = *variable,
    };
}

/* Exchanges the storage in use for one of the others. */
static void exchange(struct moved_variable *variable, struct moved_variable *other)
{
    struct moved_variable used = *variable, *next = other->others;
    *variable = *other;
    variable->others = used.others;
    *other = used;
    other->others = next;
}

static struct crateld_error *move_to_other(struct initial_values *values, struct loaded_crate *base,
                                           struct moved_variable *variable, struct moved_variable *other,
                                           enum growth_way way, bool is_forced)
{
    struct growth growth = describe(variable, base, other, way);
    growth.has_been_there = true;
    growth.other = other;
    growth.is_forced = is_forced;
    if (!VEC_PUSH(&values->growths, growth))
        return error_memory();
    exchange(variable, other);
    return NULL;
}

/* Whether the variable is to be in that storage: of what type it is to be says `wanted`, NULL: the base's; or, if it is
 * not NULL, `target`. */
static bool is_wanted(const struct moved_variable *storage, const struct crate_grown *wanted,
                      const struct loaded_crate *base, const struct version_set *target)
{
    if (target)
        return version_set_has_place(target, base, storage);
    return wanted && wanted->on_change != CRATE_ON_CHANGE_COPY ? has_type(storage, wanted) : !storage->is_retyped;
}

struct crateld_error *initial_return(struct initial_values *values, struct loaded_crate *base,
                                     const struct version_set *target)
{
    for (size_t i = 0; i < base->versions->variables.count; i++) {
        struct moved_variable *variable = &base->versions->variables.at[i], *other = variable->others;
        const struct crate_grown *wanted = versions_wanted(base, variable->base_rva);
        bool is_anew = !target && wanted && wanted->on_change > CRATE_ON_CHANGE_REFUSE;
        while (other && !is_wanted(other, wanted, base, target))
            other = other->others;
        if (other && !is_anew && !is_wanted(variable, wanted, base, target))
            TRY(move_to_other(values, base, variable, other, GROWTH_RETURN, false));
    }
    return NULL;
}

/* Going on. */

/* The value is of another type than the new version wants: whether anything can be done about that. */
static struct crateld_error *check_retype(const struct loaded_crate *patch, const struct crate_grown *grown)
{
    const char *difference = crate_view_string(&patch->view, grown->difference);
    const char *name = crate_view_string(&patch->view, grown->name);
    const char *stranger = crate_view_string(&patch->view, grown->stranger);
    const struct loaded_crate *base = patch->needed[0].crate;
    if (grown->on_change == CRATE_ON_CHANGE_REFUSE)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s (what is to become of its value can be said: --on-change VARIABLE=init, or =migrate)",
                            difference);
    if (*stranger)
        return error_create(CRATELD_ERROR_MISMATCH, "%s; and %s, which refers to it, is not among the new modules",
                            difference, stranger);
    const struct loaded_crate *user = NULL;
    TRY(importers_find(base, name, &user));
    if (user)
        return error_create(CRATELD_ERROR_MISMATCH, "%s; and %s imports it", difference, user->path);
    return grown->on_change == CRATE_ON_CHANGE_MIGRATE ? migrate_check(patch, name, difference) : NULL;
}

/* How the variable gets its value. */
static enum growth_way way_of(const struct crate_grown *grown, bool is_running)
{
    if (grown->on_change == CRATE_ON_CHANGE_COPY)
        return GROWTH_COPY;
    return grown->on_change == CRATE_ON_CHANGE_MIGRATE && is_running ? GROWTH_MIGRATE : GROWTH_INIT;
}

/* The record of a variable that is where it was linked to be. */
static struct moved_variable at_base(struct loaded_crate *base, const struct crate_grown *grown, const char *name)
{
    return (struct moved_variable){.base_rva = grown->base_rva,
                                   .base_size = grown->old_size,
                                   .size = grown->old_size,
                                   .crate = base,
                                   .rva = grown->base_rva,
                                   .name = name};
}

/* Lets the variable, which has a record unless it is NULL, move to the patch. */
static struct crateld_error *move_to_patch(struct initial_values *values, struct loaded_crate *patch,
                                           const struct crate_grown *grown, struct moved_variable *variable,
                                           enum growth_way way)
{
    struct loaded_crate *base = patch->needed[0].crate;
    const char *name = crate_view_string(&patch->view, grown->name);
    struct moved_variable first = at_base(base, grown, name), *from = variable ? variable : &first;
    struct moved_variable moved = {.base_rva = grown->base_rva,
                                   .base_size = grown->old_size,
                                   .size = grown->new_size,
                                   .crate = patch,
                                   .rva = grown->image_rva,
                                   .name = name,
                                   .is_retyped = way != GROWTH_COPY,
                                   .type = grown->type,
                                   .others = from->others};
    struct growth growth = describe(from, base, &moved, way);
    growth.is_forced = grown->flags & CRATE_GROWN_FLAG_FORCE;
    growth.is_new = !variable;
    if (!VEC_RESERVE(&values->growths, 1) || (!variable && !VEC_RESERVE(&base->versions->variables, 1)))
        return error_memory();
    if (way != GROWTH_COPY) {
        growth.other = malloc(sizeof *growth.other);
        if (!growth.other)
            return error_memory();
        *growth.other = *from;
        moved.others = growth.other;
    }
    values->growths.at[values->growths.count++] = growth;
    if (variable)
        *variable = moved;
    else
        base->versions->variables.at[base->versions->variables.count++] = moved;
    return NULL;
}

/* The storage that the patch itself has for the variable, if that has been there before. */
static struct moved_variable *find_own(const struct moved_variable *variable, const struct loaded_crate *patch,
                                       const struct crate_grown *grown)
{
    struct moved_variable *other = variable->others;
    while (other && (other->crate != patch || other->rva != grown->image_rva))
        other = other->others;
    return other;
}

/* Whether the variable may stay where it is, of that size. */
static struct crateld_error *can_stay(const struct loaded_crate *patch, const struct crate_grown *grown,
                                      const struct moved_variable *variable, uint32_t size, bool *ret)
{
    const struct loaded_crate *base = patch->needed[0].crate;
    uint64_t address =
        variable ? loaded_address(variable->crate, variable->rva) : loaded_address(base, grown->base_rva);
    bool has_alignment = !(address & (grown->align - 1));
    *ret = grown->new_size <= size && has_alignment;
    if (has_alignment || grown->new_size >= size)
        return NULL;
    return error_create(CRATELD_ERROR_MISMATCH,
                        "%s: variable '%s' needs an alignment of %u bytes, and can not move: it has %u bytes since an "
                        "earlier reload, and here only %u",
                        patch->path, crate_view_string(&patch->view, grown->name), grown->align, size, grown->new_size);
}

static struct crateld_error *grow(struct initial_values *values, struct loaded_crate *patch,
                                  const struct crate_grown *grown, bool is_running)
{
    struct moved_variable *variable = versions_variable(patch->needed[0].crate, grown->base_rva);
    uint32_t size = variable ? variable->size : grown->old_size;
    TRY(check_growth(patch, grown, variable));
    enum growth_way way = way_of(grown, is_running);
    bool is_there = variable && has_type(variable, grown);
    if (way == GROWTH_COPY)
        TRY(can_stay(patch, grown, variable, size, &is_there));
    if (is_there)
        return NULL;
    if (way != GROWTH_COPY && is_running)
        TRY(check_retype(patch, grown));
    struct moved_variable *own = variable && way != GROWTH_COPY ? find_own(variable, patch, grown) : NULL;
    if (own)
        return move_to_other(values, patch->needed[0].crate, variable, own, way, grown->flags & CRATE_GROWN_FLAG_FORCE);
    return move_to_patch(values, patch, grown, variable, way);
}

struct crateld_error *initial_grow(struct initial_values *values, struct loaded_crate *const *patches, size_t count,
                                   bool is_running)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < crate_view_count(&patches[i]->view, CRATE_TABLE_GROWN); k++)
            TRY(grow(values, patches[i], &patches[i]->view.grown[k], is_running));
    return NULL;
}

/* Words of old code. */

struct words {
    uint64_t *at; /* NULL: they are only counted */
    size_t count;
};

static void add_word(struct words *words, const void *place)
{
    if (words->at)
        words->at[words->count] = (uint64_t)(uintptr_t)place;
    words->count++;
}

/* The words of the patch that hold what its import `i` is. */
static void add_import_words(struct words *words, const struct loaded_crate *patch, uint32_t i)
{
    const struct crate_import *import = &patch->view.imports[i]; /* bound, so checked, as are its relocations */
    add_word(words, &loaded_global_slots(patch)[import->slot]);
    for (uint32_t k = 0; k < crate_view_count(&patch->view, CRATE_TABLE_DATA_RELOCS); k++)
        if (patch->view.data_relocs[k].import == i)
            add_word(words, patch->base + patch->view.data_relocs[k].place_rva);
}

static void add_patch_words(struct words *words, const struct loaded_crate *patch, const struct growth *growth)
{
    for (uint32_t i = 0; i < crate_view_count(&patch->view, CRATE_TABLE_IMPORTS); i++) {
        const struct crate_import *import = &patch->view.imports[i];
        if (import->kind == CRATE_IMPORT_ADDRESS && import->flags & CRATE_IMPORT_FLAG_BASE &&
            import->fallback_rva >= growth->base_rva && import->fallback_rva - growth->base_rva < growth->base_size)
            add_import_words(words, patch, i);
    }
}

size_t initial_old_words(const struct initial_values *values, uint64_t *ret)
{
    struct words words = {ret, 0};
    for (size_t i = 0; i < values->growths.count; i++) {
        const struct growth *growth = &values->growths.at[i];
        const struct versions *versions = growth->base->versions;
        for (size_t n = 0; growth->way != GROWTH_COPY && n < versions->patches.count; n++)
            if (loaded_is_active(versions->patches.at[n]) && !versions_is_active(versions->patches.at[n]))
                add_patch_words(&words, versions->patches.at[n], growth);
    }
    return words.count;
}

/* Afterwards. */

void initial_reset(const struct moved_variable *variable)
{
    if (variable->image)
        memcpy(variable->crate->base + variable->rva, variable->image, variable->size);
}

static void undo_growth(const struct growth *growth)
{
    struct moved_variable *variable = versions_variable(growth->base, growth->base_rva);
    if (growth->way == GROWTH_MIGRATE)
        initial_reset(variable);
    if (growth->has_been_there) {
        exchange(variable, growth->other);
        return;
    }
    free(variable->image);
    free(growth->other); /* what it was is in `before` too */
    if (growth->is_new)
        growth->base->versions->variables.count--; /* the latest */
    else
        *variable = growth->before;
}

/* Pointers among the values must not be found where they were. */
static void forget(uint8_t *bytes, uint32_t size)
{
    if (bytes)
        explicit_bzero(bytes, size);
    free(bytes);
}

void initial_undo(struct initial_values *values)
{
    for (size_t i = values->growths.count; i > 0; i--) {
        undo_growth(&values->growths.at[i - 1]);
        forget(values->growths.at[i - 1].old_value, values->growths.at[i - 1].size);
    }
    values->growths.count = 0;
}

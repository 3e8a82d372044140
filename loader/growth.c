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

/* Going back. */

/* The record of the variable where it is to be: that of its type, or the last before it got another; NULL: where it was
 * linked to be. */
static struct moved_variable *find_return(struct moved_variable *variable, const struct crate_grown *wanted)
{
    struct moved_variable *level = variable;
    while (level && level->is_retyped && !(wanted && has_type(level, wanted)))
        level = level->below;
    return level;
}

static struct crateld_error *add_return(struct initial_values *values, struct loaded_crate *base,
                                        struct moved_variable *variable, const struct moved_variable *target)
{
    struct moved_variable at_base = {.base_rva = variable->base_rva,
                                     .base_size = variable->base_size,
                                     .size = variable->base_size,
                                     .crate = base,
                                     .rva = variable->base_rva};
    const struct moved_variable *to = target ? target : &at_base;
    struct growth growth = {
        .base = base,
        .base_rva = variable->base_rva,
        .base_size = variable->base_size,
        .from_crate = variable->crate,
        .from_rva = variable->rva,
        .size = variable->size,
        .to_crate = to->crate,
        .to_rva = to->rva,
        .new_size = to->size,
        .name = variable->name,
        .way = GROWTH_RETURN,
        .before = *variable,
    };
    at_base.name = variable->name;
    if (!VEC_PUSH(&values->growths, growth))
        return error_memory();
    *variable = *to;
    return NULL;
}

struct crateld_error *initial_return(struct initial_values *values, struct loaded_crate *base)
{
    for (size_t i = 0; i < base->versions->variables.count; i++) {
        struct moved_variable *variable = &base->versions->variables.at[i];
        const struct crate_grown *wanted = versions_wanted(base, variable->base_rva);
        const struct moved_variable *target = find_return(variable, wanted);
        bool is_other = wanted && wanted->on_change != CRATE_ON_CHANGE_COPY;
        bool is_known = target && target->is_retyped;
        if (target != variable && (is_known || !is_other))
            TRY(add_return(values, base, variable, target));
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
    const struct loaded_crate *user = importers_find(base, name);
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

/* Notes that the variable, which has a record unless it is NULL, moves to the patch. */
static struct crateld_error *add_growth(struct initial_values *values, struct loaded_crate *patch,
                                        const struct crate_grown *grown, struct moved_variable *variable,
                                        enum growth_way way)
{
    struct loaded_crate *base = patch->needed[0].crate;
    struct growth growth = {
        .base = base,
        .base_rva = grown->base_rva,
        .base_size = grown->old_size,
        .from_crate = variable ? variable->crate : base,
        .from_rva = variable ? variable->rva : grown->base_rva,
        .size = variable ? variable->size : grown->old_size,
        .to_crate = patch,
        .to_rva = grown->image_rva,
        .new_size = grown->new_size,
        .name = crate_view_string(&patch->view, grown->name),
        .way = way,
        .is_forced = grown->flags & CRATE_GROWN_FLAG_FORCE,
        .is_new = !variable,
    };
    struct moved_variable moved = {.base_rva = grown->base_rva,
                                   .base_size = grown->old_size,
                                   .size = grown->new_size,
                                   .crate = patch,
                                   .rva = grown->image_rva,
                                   .name = growth.name,
                                   .is_retyped = way != GROWTH_COPY,
                                   .type = grown->type};
    if (variable)
        growth.before = *variable;
    if (!VEC_RESERVE(&values->growths, 1) || (!variable && !VEC_RESERVE(&base->versions->variables, 1)))
        return error_memory();
    if (moved.is_retyped && variable) {
        moved.below = malloc(sizeof *moved.below);
        if (!moved.below)
            return error_memory();
        *moved.below = *variable;
    }
    values->growths.at[values->growths.count++] = growth;
    if (variable)
        *variable = moved;
    else
        base->versions->variables.at[base->versions->variables.count++] = moved;
    return NULL;
}

static struct crateld_error *grow(struct initial_values *values, struct loaded_crate *patch,
                                  const struct crate_grown *grown, bool is_running)
{
    struct moved_variable *variable = versions_variable(patch->needed[0].crate, grown->base_rva);
    uint32_t size = variable ? variable->size : grown->old_size;
    TRY(check_growth(patch, grown, variable));
    enum growth_way way = way_of(grown, is_running);
    if (way == GROWTH_COPY ? grown->new_size <= size : variable && has_type(variable, grown))
        return NULL;
    if (way != GROWTH_COPY && is_running)
        TRY(check_retype(patch, grown));
    return add_growth(values, patch, grown, variable, way);
}

struct crateld_error *initial_grow(struct initial_values *values, struct loaded_crate *const *patches, size_t count,
                                   bool is_running)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < crate_view_count(&patches[i]->view, CRATE_TABLE_GROWN); k++)
            TRY(grow(values, patches[i], &patches[i]->view.grown[k], is_running));
    return NULL;
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
    if (growth->way != GROWTH_RETURN) {
        if (growth->way == GROWTH_MIGRATE)
            initial_reset(variable);
        free(variable->image);
        free(variable->below); /* what it was is in `before` too */
    }
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

/* What the variable was on its way back is over. */
static void forget_return(const struct growth *growth)
{
    struct moved_variable *level = growth->before.below;
    forget(growth->before.image, growth->before.size);
    while (level && (level->crate != growth->to_crate || level->rva != growth->to_rva)) {
        struct moved_variable *below = level->below;
        forget(level->image, level->size);
        free(level);
        level = below;
    }
    free(level); /* that is the variable's record now */
}

void initial_settle(const struct growth *growth)
{
    if (growth->way == GROWTH_COPY)
        forget(growth->before.image, growth->before.size);
    if (growth->way == GROWTH_RETURN)
        forget_return(growth);
    forget(growth->old_value, growth->size);
}

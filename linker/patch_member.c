/* Which of the base's symbols a name means. A base has one of a name; a bundle may have several, each in a crate of its
 * own, and what a module means by a name is its own crate's, or that of the first crate that its own needs. */
#include "crate/members.h"
#include "linker/patch_base.h"

/* The member of the bundle whose module that is; CRATE_NONE: nobody's. *ret is filled then. */
static struct crateld_error *member_of_module(const struct crate_view *bundle, uint32_t module, uint32_t *number,
                                              struct crate_member *ret)
{
    *number = CRATE_NONE;
    for (uint32_t i = 0; i < crate_view_count(bundle, CRATE_TABLE_MEMBERS); i++) {
        TRY(crate_view_member(bundle, i, ret));
        if (module - ret->modules.first < ret->modules.count) {
            *number = i;
            return NULL;
        }
    }
    return NULL;
}

/* The member that the object is of: the same for all objects of a patch. */
static struct crateld_error *find_scope(struct link *link, const struct link_object *object)
{
    struct link_patch *patch = link->patch;
    const struct link_base *base = patch->base;
    for (size_t i = 0; i < patch->objects.count; i++) {
        struct relink_symbol symbol;
        struct crate_member member;
        uint32_t number;
        const struct relink_module *module = &patch->objects.at[i].module;
        if (patch->objects.at[i].object != object || !module->symbol_count)
            continue;
        TRY(relink_view_symbol(&base->relink, module->first_symbol, &symbol));
        TRY(member_of_module(&base->view, symbol.module, &number, &member));
        if (patch->has_scope && patch->scope != number)
            return error_create(
                CRATELD_ERROR_UNSUPPORTED,
                "%s: is of another crate of the bundle %s than the objects before it: patch one crate at "
                "a time",
                object->path, patch_base_name(link));
        patch->has_scope = true;
        patch->scope = number;
    }
    return NULL;
}

/* How near a symbol is to the member `scope`: 0 its own, else 1 + the number of its need, or of all if it has no such
 * need. CRATE_NONE: it is another crate's, and nothing to it. */
static struct crateld_error *distance_of(const struct link_base *base, uint32_t scope, uint32_t number, uint32_t *ret)
{
    struct relink_symbol symbol;
    struct crate_member own, other;
    uint32_t member, need;
    *ret = CRATE_NONE;
    TRY(relink_view_symbol(&base->relink, number, &symbol));
    TRY(member_of_module(&base->view, symbol.module, &member, &other));
    TRY(crate_view_member(&base->view, scope, &own));
    if (member == scope)
        *ret = 0;
    else if (member == CRATE_NONE) /* the linker's own, or imported */
        *ret = 1 + own.needs.count;
    for (uint32_t k = 0; k < own.needs.count && *ret == CRATE_NONE && symbol.flags & RELINK_SYMBOL_EXPORTED; k++) {
        TRY(crate_member_need(&base->view, &own, k, &need));
        if (need == (CRATE_NEED_MEMBER | member))
            *ret = 1 + k;
    }
    return NULL;
}

struct crateld_error *patch_check_scope(struct link *link)
{
    const struct link_patch *patch = link->patch;
    for (size_t i = 0; i < patch->objects.count && crate_is_bundle(&patch->base->view.header); i++)
        TRY(find_scope(link, patch->objects.at[i].object));
    return NULL;
}

struct crateld_error *patch_find(struct link *link, const struct link_object *object, const char *name, uint32_t *ret)
{
    const struct link_base *base = link->patch->base;
    uint32_t best = CRATE_NONE, found = RELINK_NONE;
    if (!crate_is_bundle(&base->view.header))
        return relink_view_find(&base->relink, name, 0, ret);
    TRY(find_scope(link, object));
    uint32_t scope = link->patch->has_scope ? link->patch->scope : 0, number;
    TRY(relink_view_find(&base->relink, name, 0, &number));
    while (number != RELINK_NONE) {
        uint32_t distance;
        TRY(distance_of(base, scope, number, &distance));
        if (distance < best) {
            best = distance;
            found = number;
        }
        TRY(relink_view_find(&base->relink, name, number + 1, &number));
    }
    *ret = found;
    return NULL;
}

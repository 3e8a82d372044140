#include "linker/patch_modules.h"

/* New modules. */

struct crateld_error *patch_name_new_module(struct link *link, const char *path, struct relink_module *ret)
{
    size_t length = strlen(path);
    const char *open = length && path[length - 1] == ')' ? strrchr(path, '(') : NULL;
    *ret =
        (struct relink_module){.path = path, .member = "", .first_section = RELINK_NONE, .first_symbol = RELINK_NONE};
    if (!open)
        return NULL;
    ret->path = arena_strndup(&link->arena, path, (size_t)(open - path));
    ret->member = arena_strndup(&link->arena, open + 1, strlen(open) - 2);
    return ret->path && ret->member ? NULL : error_memory();
}

/* Whether the patch has a new version of the module that has the base's symbol. */
static bool has_owner(const struct link_patch *patch, uint32_t symbol)
{
    for (size_t i = 0; i < patch->objects.count; i++) {
        const struct relink_module *module = &patch->objects.at[i].module;
        if (symbol - module->first_symbol < module->symbol_count)
            return true;
    }
    return false;
}

/* That the symbol is not a second one of its name. */
static struct crateld_error *check_symbol(struct link *link, const struct link_object *object,
                                          const struct link_symbol *symbol)
{
    const struct relink_view *relink = &link->patch->base->relink;
    struct relink_symbol known;
    struct relink_module owner;
    uint32_t number;
    TRY(patch_find(link, object, symbol->name, &number));
    if (number == RELINK_NONE || has_owner(link->patch, number))
        return NULL;
    TRY(relink_view_symbol(relink, number, &known));
    if (known.where != RELINK_IN_SECTION || known.binding != STB_GLOBAL)
        return NULL;
    TRY(relink_view_module(relink, known.module, &owner));
    return error_create(CRATELD_ERROR_DUPLICATE,
                        "%s: '%s' is defined by %s in %s: if it has moved, name the new version of that as well; if "
                        "this is one, say so: OLD=%s",
                        object->path, symbol->name, *owner.member ? owner.member : owner.path, patch_base_name(link),
                        object->path);
}

static struct crateld_error *check_new_module(struct link *link, const struct link_object *object)
{
    for (uint32_t i = object->first_global; i < object->symbol_count; i++) {
        const struct link_symbol *symbol = object->symbols[i];
        if (symbol->state != LINK_SYMBOL_DEFINED || symbol->object != object || symbol->binding != STB_GLOBAL ||
            symbol->section->in_group)
            continue;
        struct crateld_error *error = check_symbol(link, object, symbol);
        if (error) { /* the first says it */
            link_report(link, error);
            return NULL;
        }
    }
    return NULL;
}

struct crateld_error *patch_check_new_modules(struct link *link)
{
    const struct link_patch *patch = link->patch;
    size_t known = link->options->adds_modules;
    for (size_t i = 0; i < patch->objects.count; i++)
        known += !patch->objects.at[i].is_new;
    for (size_t i = 0; i < patch->objects.count; i++) {
        const char *path = patch->objects.at[i].object->path;
        if (!patch->objects.at[i].is_new)
            continue;
        if (!known)
            return error_create(CRATELD_ERROR_NOT_FOUND,
                                "%s: no module of %s was linked from it: say of which it is a new version: OLD=%s; or, "
                                "if it is a new one, name those that use it as well",
                                path, patch_base_name(link), path);
        TRY(check_new_module(link, patch->objects.at[i].object));
    }
    return NULL;
}

/* Groups. */

static struct patch_object *find_object(const struct link_patch *patch, const struct link_object *object)
{
    for (size_t i = 0; i < patch->objects.count; i++)
        if (patch->objects.at[i].object == object)
            return &patch->objects.at[i];
    return NULL;
}

/* Makes one group of two. */
static void join(const struct link_patch *patch, uint32_t a, uint32_t b)
{
    uint32_t first = a < b ? a : b, last = a < b ? b : a;
    for (size_t i = 0; i < patch->objects.count; i++)
        if (patch->objects.at[i].group == last)
            patch->objects.at[i].group = first;
}

/* Whether the symbol is of another module, and nothing that the base knows, nor a copy of what each module has. */
static bool is_others(const struct link_symbol *symbol, const struct link_object *object)
{
    return symbol->state == LINK_SYMBOL_DEFINED && symbol->section && symbol->section->object != object &&
           !symbol->base && !symbol->section->in_group && symbol->binding != STB_WEAK;
}

static void group_section(const struct link_patch *patch, const struct patch_object *object,
                          const struct link_section *section)
{
    for (uint32_t k = 0; k < section->reloc_count; k++) {
        const struct link_symbol *symbol = object->object->symbols[ELF64_R_SYM(section->relocs[k].r_info)];
        const struct patch_object *other =
            is_others(symbol, object->object) ? find_object(patch, symbol->section->object) : NULL;
        if (other && other->group != object->group)
            join(patch, other->group, object->group);
    }
}

void patch_group_modules(struct link *link)
{
    const struct link_patch *patch = link->patch;
    for (uint32_t i = 0; i < patch->objects.count; i++)
        patch->objects.at[i].group = i;
    for (size_t i = 0; i < patch->objects.count && patch->objects.count > 1; i++) {
        const struct patch_object *object = &patch->objects.at[i];
        for (uint32_t k = 1; k < object->object->section_count; k++)
            if (object->object->sections[k].is_live && object->object->sections[k].kind == LINK_SECTION_PLAIN)
                group_section(patch, object, &object->object->sections[k]);
    }
}

#include "linker/patch_scope.h"

#include <stdlib.h>
#include <string.h>

/* The names of functions that refer to a variable, less compilers' suffixes; each once. */
struct scope {
    VEC(const char *) names; /* borrowed */
    bool is_known;           /* no other variable's references are among them */
    bool is_matched;         /* with the variable that just the same functions know */
};

static size_t function_name_size(const char *name)
{
    return strcspn(name, "."); /* f.cold, f.isra.0, f.constprop.1 are f */
}

static bool is_same_function(const char *a, const char *b)
{
    return function_name_size(a) == function_name_size(b) && !memcmp(a, b, function_name_size(a));
}

static bool has_name(const struct scope *scope, const char *name)
{
    for (size_t i = 0; i < scope->names.count; i++)
        if (is_same_function(scope->names.at[i], name))
            return true;
    return false;
}

static struct crateld_error *add_name(struct scope *scope, const char *name)
{
    if (!name || has_name(scope, name))
        return NULL;
    return VEC_PUSH(&scope->names, name) ? NULL : error_memory();
}

/* The function in which the place is; NULL if it is in none. */
static const char *function_at(const struct link_section *text, uint64_t off)
{
    const struct link_object *object = text->object;
    for (uint32_t i = 1; i < object->symbol_count; i++) {
        const struct link_symbol *symbol = object->symbols[i];
        if (symbol->type == STT_FUNC && symbol->section == text && off - symbol->value < symbol->size)
            return symbol->name;
    }
    return NULL;
}

static struct crateld_error *find_scope(const struct link_section *section, struct scope *ret)
{
    const struct link_object *object = section->object;
    for (uint32_t i = 1; i < object->section_count; i++) {
        const struct link_section *text = &object->sections[i];
        for (uint32_t k = 0; patch_is_text(text) && k < text->reloc_count; k++)
            if (object->symbols[ELF64_R_SYM(text->relocs[k].r_info)]->section == section)
                TRY(add_name(ret, function_at(text, text->relocs[k].r_offset)));
    }
    return NULL;
}

/* Likewise, of the module of the base. */
static const char *base_function_at(const struct matching *m, uint32_t section, uint32_t off)
{
    for (uint32_t i = 0; i < m->object->module.symbol_count; i++) {
        const struct relink_symbol *symbol = &m->symbols[i];
        if (symbol->type == STT_FUNC && symbol->where == RELINK_IN_SECTION && symbol->section == section &&
            off - symbol->value < symbol->size)
            return symbol->name;
    }
    return NULL;
}

static struct crateld_error *add_base_references(struct matching *m, uint32_t number, struct scope *scope)
{
    struct relink_cursor cursor;
    TRY(relink_view_relocs_to(&m->link->patch->base->relink, number, &cursor));
    for (;;) {
        struct relink_reloc reloc;
        bool is_end;
        TRY(relink_cursor_next(&cursor, &reloc, &is_end));
        if (is_end)
            return NULL;
        TRY(add_name(scope, base_function_at(m, reloc.section, reloc.off)));
    }
}

static struct crateld_error *find_base_scope(struct matching *m, const struct relink_symbol *variable,
                                             struct scope *ret)
{
    struct relink_section section;
    const struct relink_module *module = &m->object->module;
    TRY(relink_view_section(&m->link->patch->base->relink, variable->section, &section));
    ret->is_known = section.size == variable->size;
    for (uint32_t i = 0; i < module->symbol_count; i++)
        if (m->symbols[i].where == RELINK_IN_SECTION && m->symbols[i].section == variable->section)
            TRY(add_base_references(m, module->first_symbol + i, ret));
    return NULL;
}

/* How much two scopes have in common: 2, all; 1, some; 0, nothing. */
static int compare_scopes(const struct scope *a, const struct scope *b)
{
    size_t common = 0;
    for (size_t i = 0; i < a->names.count; i++)
        common += has_name(b, a->names.at[i]);
    if (!common)
        return 0;
    return common == a->names.count && common == b->names.count ? 2 : 1;
}

static bool is_numbered(const char *name)
{
    return patch_stem_size(name) < strlen(name);
}

/* All variables of a name: those of the object, and those of the base. */
struct namesakes {
    VEC(const struct link_symbol *) own;
    VEC(const struct relink_symbol *) base;
    struct scope *own_scopes, *base_scopes; /* owned; as many as there are */
};

static void deinit(struct namesakes *all)
{
    for (size_t i = 0; all->own_scopes && i < all->own.count; i++)
        free(all->own_scopes[i].names.at);
    for (size_t i = 0; all->base_scopes && i < all->base.count; i++)
        free(all->base_scopes[i].names.at);
    free(all->own_scopes);
    free(all->base_scopes);
    free(all->own.at);
    free(all->base.at);
}

static struct crateld_error *find_namesakes(struct matching *m, const struct link_symbol *symbol, struct namesakes *all)
{
    const struct link_object *object = symbol->object;
    for (uint32_t i = 1; i < object->first_global; i++) {
        const struct link_symbol *other = object->symbols[i];
        if (other->section && patch_is_variable(other->section) && other->type == symbol->type &&
            is_numbered(other->name) && patch_is_same_stem(other->name, symbol->name) && !VEC_PUSH(&all->own, other))
            return error_memory();
    }
    for (uint32_t i = 0; i < m->object->module.symbol_count; i++) {
        const struct relink_symbol *known = &m->symbols[i];
        if (known->binding == STB_LOCAL && known->type == symbol->type && known->where == RELINK_IN_SECTION &&
            is_numbered(known->name) && patch_is_same_stem(known->name, symbol->name) && !VEC_PUSH(&all->base, known))
            return error_memory();
    }
    all->own_scopes = calloc(all->own.count + 1, sizeof *all->own_scopes);
    all->base_scopes = calloc(all->base.count + 1, sizeof *all->base_scopes);
    if (!all->own_scopes || !all->base_scopes)
        return error_memory();
    for (size_t i = 0; i < all->own.count; i++) {
        all->own_scopes[i].is_known = all->own.at[i]->section->size == all->own.at[i]->size;
        TRY(find_scope(all->own.at[i]->section, &all->own_scopes[i]));
    }
    for (size_t i = 0; i < all->base.count; i++)
        TRY(find_base_scope(m, all->base.at[i], &all->base_scopes[i]));
    return NULL;
}

/* Of `count` scopes the one that has more in common with `scope` than any other; *ret is how much, 0 also if several
 * have as much. */
static size_t closest(const struct scope *scope, const struct scope *scopes, size_t count, int *ret)
{
    size_t best = 0;
    bool is_only = true;
    *ret = 0;
    for (size_t i = 0; i < count; i++) {
        int common = scopes[i].is_matched ? 0 : compare_scopes(scope, &scopes[i]);
        if (common > *ret) {
            best = i;
            is_only = true;
            *ret = common;
        } else {
            is_only &= common < *ret || !common;
        }
    }
    *ret = is_only ? *ret : 0;
    return best;
}

static struct crateld_error *refuse(const struct link_symbol *symbol, const char *hint)
{
    return error_create(
        CRATELD_ERROR_MISMATCH,
        "%s: variable '%s': several static variables have this name, and which is which can not be told%s",
        symbol->object->path, symbol->name, hint);
}

/* The base's variable that just the same functions know as own variable `i`, and no other does; the base's count if
 * there is none. */
static size_t find_same(const struct namesakes *all, size_t i)
{
    int common, back;
    size_t found = closest(&all->own_scopes[i], all->base_scopes, all->base.count, &common);
    if (common < 2 || closest(&all->base_scopes[found], all->own_scopes, all->own.count, &back) != i || back < 2)
        return all->base.count;
    return found;
}

/* Takes those that find_same() finds out of the question, but for own variable `i`. */
static void match_same(const struct namesakes *all, size_t i)
{
    for (size_t k = 0; k < all->own.count; k++) {
        size_t found = k == i ? all->base.count : find_same(all, k);
        if (found == all->base.count)
            continue;
        all->own_scopes[k].is_matched = true;
        all->base_scopes[found].is_matched = true;
    }
}

static bool is_all_known(const struct scope *scopes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!scopes[i].is_known)
            return false;
    return true;
}

/* Finds the counterpart of own variable `i`; the base's count if it is new. */
static struct crateld_error *choose(const struct namesakes *all, const struct link_symbol *symbol, size_t i,
                                    size_t *ret)
{
    int common, back;
    if (!is_all_known(all->own_scopes, all->own.count) || !is_all_known(all->base_scopes, all->base.count))
        return refuse(symbol, ": compile with -fdata-sections");
    *ret = find_same(all, i);
    if (*ret < all->base.count)
        return NULL;
    match_same(all, i);
    size_t found = closest(&all->own_scopes[i], all->base_scopes, all->base.count, &common);
    if (common) {
        *ret = found;
        size_t mine = closest(&all->base_scopes[found], all->own_scopes, all->own.count, &back);
        return back && mine == i ? NULL : refuse(symbol, "");
    }
    /* It is new, unless it may be one that no function of its name knows any more. */
    for (size_t k = 0; k < all->base.count; k++) {
        if (all->base_scopes[k].is_matched)
            continue;
        (void)closest(&all->base_scopes[k], all->own_scopes, all->own.count, &back);
        if (!back || compare_scopes(&all->own_scopes[i], &all->base_scopes[k]))
            return refuse(symbol, "");
    }
    return all->own_scopes[i].names.count ? NULL : refuse(symbol, "");
}

struct crateld_error *patch_tell_apart(struct matching *m, const struct link_symbol *symbol, struct counterpart *old)
{
    struct namesakes all = {0};
    size_t found = 0, i = 0;
    struct crateld_error *error = find_namesakes(m, symbol, &all);
    while (i < all.own.count && all.own.at[i] != symbol)
        i++;
    if (!error)
        error = choose(&all, symbol, i, &found);
    old->symbol.name = NULL;
    if (!error && found < all.base.count) {
        old->symbol = *all.base.at[found];
        error = relink_view_section(&m->link->patch->base->relink, old->symbol.section, &old->section);
    }
    deinit(&all);
    return error;
}

struct crateld_error *patch_scope_name(struct matching *m, const struct link_section *section, const char **ret)
{
    struct scope scope = {0};
    struct crateld_error *error = find_scope(section, &scope);
    *ret = "";
    if (!error && scope.names.count)
        *ret = arena_printf(&m->link->arena, "%.*s", (int)function_name_size(scope.names.at[0]), scope.names.at[0]);
    free(scope.names.at);
    return error || *ret ? error : error_memory();
}

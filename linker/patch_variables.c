/* What becomes of variables: their storage stays where it is, so what a recompiled module has must fit it. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>

#include "linker/demangle.h"
#include "linker/patch_matching.h"
#include "linker/patch_scope.h"
#include "linker/patch_types.h"

static struct crateld_error *refuse(const struct link_symbol *symbol, const char *what)
{
    return error_create(CRATELD_ERROR_MISMATCH, "%s: variable '%s': %s", symbol->object->path, symbol->name, what);
}

/* Whether several static variables of the object have the stem of this one's name. */
static bool has_twin(const struct link_object *object, const struct link_symbol *symbol)
{
    for (uint32_t i = 1; i < object->first_global; i++) {
        const struct link_symbol *other = object->symbols[i];
        if (other != symbol && other->section && patch_is_variable(other->section) && other->type == symbol->type &&
            patch_is_same_stem(other->name, symbol->name))
            return true;
    }
    return false;
}

/* Where a section of variables is in the base. */
struct storage {
    const struct link_symbol *first;    /* the first variable that says it; NULL: none did yet */
    uint32_t rva;                       /* of the section's start */
    uint32_t section;                   /* of the base */
    uint32_t known, unknown;            /* variables that the base has, and has not */
    const struct link_symbol *stranger; /* the first that it has not */
    uint32_t old_size;                  /* of one that moves; 0: none does */
    const struct link_symbol *moved;    /* that one */
    struct patch_type_change change;
    const char *refusal; /* what to say if its value can not be kept; NULL: it only has grown */
};

/* The variable's name in the source, in the link's arena; NULL without memory. */
static const char *source_name(struct link *link, const struct link_symbol *symbol)
{
    char *demangled = demangle(symbol->name);
    const char *name = demangled ? arena_strndup(&link->arena, demangled, strlen(demangled))
                                 : arena_strndup(&link->arena, symbol->name, patch_stem_size(symbol->name));
    free(demangled);
    return name;
}

/* What to say of a variable whose value makes no sense to the new version. */
static const char *describe_change(struct matching *m, const struct link_symbol *symbol, const struct counterpart *old,
                                   const struct patch_type_change *change)
{
    struct arena *arena = &m->link->arena;
    const char *name = source_name(m->link, symbol);
    const char *colon = *change->difference ? ": " : "", *base = patch_base_name(m->link);
    if (!name)
        return NULL;
    if (symbol->size != old->symbol.size)
        return arena_printf(arena, "%s: variable '%s': %" PRIu64 " bytes, but %" PRIu64 " in %s%s%s",
                            symbol->object->path, name, symbol->size, old->symbol.size, base, colon,
                            change->difference);
    return arena_printf(arena, "%s: variable '%s' has another type than in %s%s%s", symbol->object->path, name, base,
                        colon, change->difference);
}

/* A variable that can not stay where it is, for its type is another. */
static struct crateld_error *take_change(struct matching *m, const struct link_symbol *symbol,
                                         const struct counterpart *old, const struct patch_type_change *change,
                                         struct storage *storage)
{
    bool is_changed = change->relation == TYPE_CHANGED;
    const char *what = describe_change(m, symbol, old, change);
    if (!what)
        return error_memory();
    if (symbol->section->flags & SHF_TLS)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: it is a thread-local, and threads have theirs already", what);
    if (is_changed && (!old->symbol.size || !symbol->size))
        return error_create(CRATELD_ERROR_MISMATCH, "%s", what);
    storage->old_size = (uint32_t)old->symbol.size;
    storage->moved = symbol;
    storage->change = *change;
    storage->refusal = is_changed ? what : NULL;
    return NULL;
}

/* Takes one more variable of a section into account. */
static struct crateld_error *place_variable(struct matching *m, const struct link_symbol *symbol,
                                            struct storage *storage)
{
    struct counterpart old;
    TRY(patch_find_counterpart(m, symbol, &old));
    if (old.symbol.name && symbol->is_local && (old.count > 1 || has_twin(symbol->object, symbol)) &&
        patch_stem_size(symbol->name) < strlen(symbol->name))
        TRY(patch_tell_apart(m, symbol, &old));
    if (!old.symbol.name) {
        storage->unknown++;
        storage->stranger = storage->stranger ? storage->stranger : symbol;
        return NULL;
    }
    bool was_tls = old.section.flags & RELINK_SECTION_TLS, is_tls = symbol->section->flags & SHF_TLS;
    if (old.section.flags & RELINK_SECTION_TEXT || was_tls != is_tls)
        return refuse(symbol, "it was something else, a function or a thread-local");
    if (!(old.section.flags & (RELINK_SECTION_DATA | RELINK_SECTION_BSS)) && !is_tls)
        return refuse(symbol, "it was constant, and what is to be written must be storage");
    struct patch_type_change change;
    TRY(patch_compare_types(m, symbol, &old, &change));
    if (change.relation != TYPE_SAME)
        TRY(take_change(m, symbol, &old, &change, storage));
    uint32_t rva = old.section.rva + (uint32_t)old.symbol.value - (uint32_t)symbol->value;
    if (storage->first && storage->rva != rva)
        return refuse(symbol, "it lies elsewhere in its section than before: compile with -fdata-sections");
    storage->first = symbol;
    storage->rva = rva;
    storage->section = old.symbol.section;
    storage->known++;
    return NULL;
}

static bool is_own_variable(const struct link_symbol *symbol, const struct link_section *section)
{
    return symbol->state == LINK_SYMBOL_DEFINED && symbol->section == section && symbol->type != STT_SECTION &&
           symbol->type != STT_FILE && *symbol->name;
}

/* A variable that would have to move, and is not alone in its section. */
static struct crateld_error *refuse_to_move(struct matching *m, const struct storage *storage)
{
    uint32_t policy;
    if (!storage->refusal)
        return refuse(storage->moved, "it has grown, and is not alone in its section: compile with -fdata-sections");
    TRY(patch_on_change(m, storage->moved, &policy));
    return error_create(
        CRATELD_ERROR_MISMATCH, "%s%s", storage->refusal,
        policy == CRATE_ON_CHANGE_REFUSE ? "" : "; and it is not alone in its section: compile with -fdata-sections");
}

/* A section that needs another alignment than its place in the base has: compilers give variables more than their types
 * need, and count on that. */
static struct crateld_error *check_alignment(struct matching *m, const struct link_section *section,
                                             const struct relink_section *base, struct storage *storage)
{
    const struct crate_header *header = &m->link->patch->base->view.header;
    bool is_tls = section->flags & SHF_TLS;
    uint64_t align = UINT64_C(1) << section->align_log2;
    bool has_it = is_tls ? align <= header->tls_align && !((storage->rva - header->tls_rva) & (align - 1))
                         : align <= header->image_align && !(storage->rva & (align - 1));
    if (has_it || storage->old_size)
        return NULL;
    if (is_tls)
        return refuse(storage->first, "it needs another alignment than it has, and threads have theirs already");
    if (storage->known != 1 || storage->rva != base->rva || !storage->first->size ||
        storage->first->size != section->size)
        return refuse(storage->first, "its section needs another alignment than it has: compile with -fdata-sections");
    storage->moved = storage->first;
    storage->old_size = (uint32_t)storage->first->size;
    return NULL;
}

static struct crateld_error *find_storage(struct matching *m, const struct link_section *section, struct storage *ret)
{
    struct link_object *object = m->object->object;
    struct relink_section base;
    for (uint32_t i = 1; i < object->symbol_count; i++)
        if (is_own_variable(object->symbols[i], section))
            TRY(place_variable(m, object->symbols[i], ret));
    if (!ret->known)
        return NULL;
    if (ret->unknown)
        return refuse(ret->stranger,
                      "it is new in a section with others, which must not move: compile with -fdata-sections");
    TRY(relink_view_section(&m->link->patch->base->relink, ret->section, &base));
    if (ret->old_size &&
        (ret->known != 1 || ret->rva != base.rva || base.size != ret->old_size || section->size != ret->moved->size))
        return refuse_to_move(m, ret);
    /* What has no name, which compilers make of constants, is there too. */
    if (!ret->old_size && base.size != section->size)
        return refuse(ret->first,
                      "its section has another size, for variables came or went: compile with -fdata-sections");
    return check_alignment(m, section, &base, ret);
}

/* A variable that needs more room than the base has for it. */
static struct crateld_error *add_grown(struct matching *m, struct link_section *section, const struct storage *storage)
{
    struct patch_grown grown = {section,
                                storage->moved->is_local ? source_name(m->link, storage->moved) : storage->moved->name,
                                storage->section,
                                storage->refusal ? storage->refusal : "",
                                "",
                                {.module = patch_module_index(m),
                                 .base_rva = storage->rva,
                                 .old_size = storage->old_size,
                                 .new_size = (uint32_t)section->size,
                                 .type = storage->change.type,
                                 .align = UINT32_C(1) << section->align_log2,
                                 .flags = m->link->options->is_forced ? CRATE_GROWN_FLAG_FORCE : 0}};
    if (!grown.name)
        return error_memory();
    if (storage->refusal)
        TRY(patch_on_change(m, storage->moved, &grown.grown.on_change));
    /* In a process that runs, an earlier reload may have given the variable this type already: the loader knows. */
    if (grown.grown.on_change == CRATE_ON_CHANGE_REFUSE && !m->link->options->opened_base)
        return error_create(CRATELD_ERROR_MISMATCH, "%s", storage->refusal);
    return VEC_PUSH(&m->link->patch->grown, grown) ? NULL : error_memory();
}

/* Whether the variable's initial value may differ from the base's: bytes do, or some of it is an address. */
static bool has_other_value(const struct matching *m, const struct link_section *section,
                            const struct link_symbol *symbol, const struct storage *storage)
{
    struct span new_bytes, old_bytes;
    for (uint32_t i = 0; i < section->reloc_count; i++)
        if (section->relocs[i].r_offset + 8 > symbol->value &&
            section->relocs[i].r_offset < symbol->value + symbol->size)
            return true;
    return !span_slice(section->data, symbol->value, symbol->size, &new_bytes) ||
           !span_slice(m->link->patch->base->file.data, storage->rva + symbol->value, symbol->size, &old_bytes) ||
           memcmp(new_bytes.data, old_bytes.data, symbol->size) != 0;
}

static struct crateld_error *add_symbol_init(struct matching *m, struct link_section *section,
                                             const struct link_symbol *symbol, const struct storage *storage)
{
    struct patch_init init = {section,
                              symbol->value,
                              symbol->name,
                              {.module = patch_module_index(m),
                               .base_rva = storage->rva + (uint32_t)symbol->value,
                               .size = (uint32_t)symbol->size}};
    return VEC_PUSH(&m->link->patch->inits, init) ? NULL : error_memory();
}

/* Other initial values for variables that the base has. */
static struct crateld_error *add_init(struct matching *m, struct link_section *section, const struct storage *storage)
{
    const struct patch_section *matched = &m->object->sections[section->index];
    if (matched->fate == PATCH_SAME && matched->base == storage->section)
        return NULL;
    struct relink_section base;
    TRY(relink_view_section(&m->link->patch->base->relink, storage->section, &base));
    if (section->type == SHT_NOBITS && base.flags & RELINK_SECTION_BSS)
        return NULL;
    if (section->flags & SHF_TLS)
        return refuse(storage->first, "a thread-local's initial value changed, which other threads have already");
    for (uint32_t i = 1; i < section->object->symbol_count; i++) {
        const struct link_symbol *symbol = section->object->symbols[i];
        if (is_own_variable(symbol, section) && symbol->size && has_other_value(m, section, symbol, storage))
            TRY(add_symbol_init(m, section, symbol, storage));
    }
    return NULL;
}

/* What identifies new variables among all patches: a name, and where that is not enough, module and scope. */
static struct crateld_error *fresh_name(struct matching *m, const struct link_section *section,
                                        const struct link_symbol *symbol, const char **ret)
{
    const struct relink_module *module = &m->object->module;
    const char *name = symbol ? symbol->name : section->name, *scope = "";
    *ret = name;
    if (symbol && !symbol->is_local)
        return NULL;
    if (symbol && patch_stem_size(name) < strlen(name))
        TRY(patch_scope_name(m, section, &scope));
    *ret = arena_printf(&m->link->arena, "%.*s of %s(%s)%s", (int)(symbol ? patch_stem_size(name) : strlen(name)), name,
                        module->path, module->member, scope);
    return *ret ? NULL : error_memory();
}

/* Variables that the base does not have: the first patch with them has their storage. */
static struct crateld_error *add_fresh(struct matching *m, struct link_section *section,
                                       const struct link_symbol *symbol)
{
    struct link_object *object = m->object->object;
    if (!section->size)
        return NULL;
    struct patch_fresh fresh = {section, NULL, patch_module_index(m), 0};
    TRY(fresh_name(m, section, symbol, &fresh.name));
    if (symbol)
        TRY(patch_new_type(m, symbol, &fresh.type));
    if (!VEC_PUSH(&m->link->patch->fresh, fresh))
        return error_memory();
    for (uint32_t i = 1; i < object->symbol_count; i++)
        if (object->symbols[i]->state == LINK_SYMBOL_DEFINED && object->symbols[i]->section == section)
            TRY(patch_use_fresh(m->link, object->symbols[i]));
    return NULL;
}

struct crateld_error *patch_place_variables(struct matching *m, struct link_section *section)
{
    struct link_object *object = m->object->object;
    const struct patch_section *matched = &m->object->sections[section->index];
    struct storage storage = {0};
    TRY(find_storage(m, section, &storage));
    if (!storage.known && matched->fate == PATCH_CHANGED && !storage.unknown && section->size)
        return error_create(CRATELD_ERROR_MISMATCH,
                            "%s: section %s, which has no symbols, changed: what of it is state can "
                            "not be told",
                            object->path, section->name);
    if (!storage.known && (matched->fate != PATCH_SAME || storage.unknown))
        return add_fresh(m, section, storage.stranger);
    struct relink_section base;
    if (!storage.known) {
        TRY(relink_view_section(&m->link->patch->base->relink, matched->base, &base));
        storage.rva = base.rva;
    } else {
        TRY(storage.old_size ? add_grown(m, section, &storage) : add_init(m, section, &storage));
    }
    uint32_t bias = section->flags & SHF_TLS ? m->link->patch->base->view.header.tls_rva : 0;
    for (uint32_t i = 1; i < object->symbol_count; i++) {
        struct link_symbol *symbol = object->symbols[i];
        if (symbol->state == LINK_SYMBOL_DEFINED && symbol->section == section)
            TRY(patch_use_base(m->link, symbol, storage.rva + (uint32_t)symbol->value - bias));
    }
    return NULL;
}

#include "linker/patch_types.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crateld/reload.h"
#include "linker/debug_info.h"
#include "linker/demangle.h"

/* The base's types. */

/* The variables of one of its modules. */
struct module_types {
    uint32_t first_section; /* which module it is */
    struct debug_variables variables;
    bool is_missing; /* some of it is in files that are not there */
};

/* The variables of the object that was compared with a module last: the next mostly has the same. */
struct patch_types {
    uint32_t first_section;  /* which module it is */
    struct debug_info *info; /* owned; NULL: there is none */
    struct debug_variables variables;
    bool is_missing; /* likewise */
};

struct link_base_types {
    bool is_opened;
    struct debug_info *info; /* owned; NULL: there is none */
    VEC(struct module_types) modules;
    VEC(struct patch_types *) objects; /* owned */
};

struct crateld_error *link_base_types_create(struct link_base_types **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? NULL : error_memory();
}

void link_base_types_destroy(struct link_base_types *types)
{
    if (!types)
        return;
    for (size_t i = 0; i < types->modules.count; i++)
        debug_variables_deinit(&types->modules.at[i].variables);
    for (size_t i = 0; i < types->objects.count; i++) {
        debug_info_close(types->objects.at[i]->info);
        debug_variables_deinit(&types->objects.at[i]->variables);
        free(types->objects.at[i]);
    }
    free(types->modules.at);
    free(types->objects.at);
    debug_info_close(types->info);
    free(types);
}

/* Sets *ret to what the base says of the module's variables; NULL: nothing. Valid until the next call. */
static struct crateld_error *module_types(const struct link_base *base, const struct relink_module *module,
                                          struct module_types **ret)
{
    struct link_base_types *types = base->types;
    *ret = NULL;
    if (!module->debug_size)
        return NULL;
    if (!types->is_opened)
        TRY(debug_info_open_file(base->file.data, &types->info));
    types->is_opened = true;
    if (!types->info)
        return NULL;
    for (size_t i = 0; i < types->modules.count; i++)
        if (types->modules.at[i].first_section == module->first_section) {
            *ret = &types->modules.at[i];
            return NULL;
        }
    struct module_types added = {.first_section = module->first_section};
    struct crateld_error *error =
        debug_info_variables(types->info, module->debug_off, module->debug_size, &added.variables, &added.is_missing);
    if (!error && !VEC_PUSH(&types->modules, added))
        error = error_memory();
    if (error)
        debug_variables_deinit(&added.variables);
    else
        *ret = &types->modules.at[types->modules.count - 1];
    return error;
}

/* The object's types. */

/* What is known of the last object that was compared with the module; nothing yet if that is none. NULL without memory.
 */
static struct patch_types *last_object(struct link_base_types *types, uint32_t first_section)
{
    for (size_t i = 0; i < types->objects.count; i++)
        if (types->objects.at[i]->first_section == first_section)
            return types->objects.at[i];
    struct patch_types *added = calloc(1, sizeof *added);
    if (!added || !VEC_PUSH(&types->objects, added)) {
        free(added);
        return NULL;
    }
    added->first_section = first_section;
    return added;
}

static struct crateld_error *object_types(struct matching *m, struct patch_types **ret)
{
    bool is_same;
    *ret = m->types;
    if (*ret)
        return NULL;
    struct patch_types *types = last_object(m->link->patch->base->types, m->object->module.first_section);
    if (!types)
        return error_memory();
    struct crateld_error *error = debug_info_open_object(m->object->object, m->link->machine, &types->info, &is_same);
    if (!is_same) {
        debug_variables_deinit(&types->variables);
        types->variables = (struct debug_variables){0};
        types->is_missing = false;
    }
    if (!error && !is_same && types->info)
        error = debug_info_variables(types->info, 0, UINT64_MAX, &types->variables, &types->is_missing);
    if (error) { /* half of it is no use */
        debug_info_close(types->info);
        types->info = NULL;
        return error;
    }
    *ret = m->types = types;
    return NULL;
}

/* Both. */

/* The first variable of which only the size is known is told of, for all. */
static void note_unknown(const struct matching *m, const struct link_symbol *symbol, const char *file, const char *why)
{
    struct link_note *note = m->link->options->note;
    if (note && !*note->text)
        snprintf(note->text, sizeof note->text,
                 "types of variables are not known, only sizes were compared ('%s' and maybe others): %s %s",
                 symbol->name, file, why);
}

/* The type of the variable in the base, where its module says it, or the one that had it before. */
static struct crateld_error *find_old_type(const struct matching *m, const struct link_symbol *symbol,
                                           const struct counterpart *old, Dwarf_Die *ret, bool *is_found)
{
    const struct link_base *base = m->link->patch->base;
    bool is_tls = old->section.flags & RELINK_SECTION_TLS, is_missing = false;
    uint64_t rva = old->section.rva + old->symbol.value;
    uint64_t address = is_tls ? rva - base->view.header.tls_rva : base->view.header.preferred_base + rva;
    struct relink_module owner;
    TRY(relink_view_module(&base->relink, old->section.module, &owner));
    const struct relink_module *const modules[] = {&owner, &m->object->module};
    bool has_any = false;
    *is_found = false;
    for (size_t i = 0; i < sizeof modules / sizeof *modules && !*is_found; i++) {
        struct module_types *types;
        TRY(module_types(base, modules[i], &types));
        if (types)
            TRY(debug_variables_find(&types->variables, address, is_tls, ret, is_found));
        is_missing |= types && types->is_missing;
        has_any |= types != NULL;
    }
    if (!*is_found && (!has_any || is_missing)) /* else it is the compiler's own */
        note_unknown(m, symbol, base->path,
                     is_missing ? "has them in .dwo files, which are others now (-gsplit-dwarf)"
                                : "was linked from an object without them (-g)");
    return NULL;
}

static struct crateld_error *find_new_type(struct matching *m, const struct link_symbol *symbol, Dwarf_Die *ret,
                                           bool *is_found)
{
    struct patch_types *types;
    TRY(object_types(m, &types));
    uint64_t address = debug_info_address(symbol->section->object, symbol->section->index, symbol->value);
    return debug_variables_find(&types->variables, address, symbol->section->flags & SHF_TLS, ret, is_found);
}

struct crateld_error *patch_new_type(struct matching *m, const struct link_symbol *symbol, uint64_t *ret)
{
    Dwarf_Die type;
    bool is_found;
    *ret = 0;
    TRY(find_new_type(m, symbol, &type, &is_found));
    return is_found ? type_fingerprint(type, ret) : NULL;
}

static struct crateld_error *find_types(struct matching *m, const struct link_symbol *symbol,
                                        const struct counterpart *old, Dwarf_Die *ret_old, Dwarf_Die *ret_new,
                                        bool *is_found)
{
    TRY(find_new_type(m, symbol, ret_new, is_found));
    if (*is_found)
        return find_old_type(m, symbol, old, ret_old, is_found);
    const struct patch_types *types = m->types;
    if (types && (!types->info || types->is_missing))
        note_unknown(m, symbol, symbol->object->path,
                     types->is_missing ? "has them in a .dwo file that is not there" : "does not have them (-g)");
    return NULL;
}

/* By what the symbol tables say. */
static enum type_relation compare_sizes(const struct link_symbol *symbol, const struct counterpart *old)
{
    if (symbol->size == old->symbol.size)
        return TYPE_SAME;
    return old->symbol.size && old->symbol.size < symbol->size ? TYPE_GROWN : TYPE_CHANGED;
}

struct crateld_error *patch_compare_types(struct matching *m, const struct link_symbol *symbol,
                                          const struct counterpart *old, struct patch_type_change *ret)
{
    struct type_difference difference = {""};
    Dwarf_Die old_type, new_type;
    bool is_known;
    *ret = (struct patch_type_change){.relation = compare_sizes(symbol, old), .difference = ""};
    TRY(find_types(m, symbol, old, &old_type, &new_type, &is_known));
    if (!is_known)
        return NULL;
    enum type_relation by_size = ret->relation;
    TRY(type_compare(old_type, new_type, &ret->relation, &difference));
    /* A struct's array of no fixed length has as many elements as the variable has room for; and of a struct that the
     * compiler took apart, this may be a part. */
    if (ret->relation != TYPE_CHANGED)
        ret->relation = by_size;
    if (ret->relation == TYPE_SAME)
        return NULL;
    ret->difference = arena_strndup(&m->link->arena, difference.text, strlen(difference.text));
    return ret->difference ? type_fingerprint(new_type, &ret->type) : error_memory();
}

/* What the user wants. */

_Static_assert((int)CRATELD_ON_CHANGE_refuse == CRATE_ON_CHANGE_REFUSE &&
                   (int)CRATELD_ON_CHANGE_init == CRATE_ON_CHANGE_INIT &&
                   (int)CRATELD_ON_CHANGE_migrate == CRATE_ON_CHANGE_MIGRATE,
               "what sources and patches say is the same");

/* Compilers number a function's static variables (count.0), or name them after it (act.count). */
static bool is_called(const struct link_symbol *symbol, const char *name)
{
    size_t size = strlen(name);
    const char *dot = symbol->is_local ? strrchr(symbol->name, '.') : NULL;
    bool is_it = (dot && !strcmp(dot + 1, name)) || !strcmp(symbol->name, name) ||
                 (symbol->is_local && patch_stem_size(symbol->name) == size && !strncmp(symbol->name, name, size));
    char *demangled = is_it ? NULL : demangle(symbol->name);
    is_it |= demangled && !strcmp(demangled, name);
    free(demangled);
    return is_it;
}

static struct crateld_error *bad_record(const struct link_section *section, uint64_t off, const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "%s: section %s+0x%" PRIx64 ": %s", section->object->path, section->name,
                        off, what);
}

/* What a section of records says of the variable; *ret stays as it is if that is nothing. */
static struct crateld_error *read_records(const struct link_section *section, const struct link_symbol *symbol,
                                          uint32_t *ret)
{
    const struct link_object *object = section->object;
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        const Elf64_Rela *reloc = &section->relocs[i];
        uint32_t number = (uint32_t)ELF64_R_SYM(reloc->r_info);
        struct crateld_on_change_record record;
        if (reloc->r_offset % sizeof record || !span_read(section->data, reloc->r_offset, &record, sizeof record))
            return bad_record(section, reloc->r_offset, "no record of what becomes of a variable is there");
        if (record.policy < CRATELD_ON_CHANGE_refuse || record.policy > CRATELD_ON_CHANGE_migrate)
            return bad_record(section, reloc->r_offset, "what becomes of the variable is unknown");
        uint64_t value = object->elf_symbols[number].st_value + (uint64_t)reloc->r_addend;
        if (object->symbols[number] == symbol ||
            (link_object_symbol_section(object, number) == symbol->section->index && value == symbol->value))
            *ret = record.policy;
    }
    return NULL;
}

struct crateld_error *patch_on_change(const struct matching *m, const struct link_symbol *symbol, uint32_t *ret)
{
    const struct link_options *options = m->link->options;
    const struct link_object *object = symbol->object;
    uint32_t policy = CRATELD_ON_CHANGE_refuse;
    for (uint32_t i = 1; i < object->section_count; i++)
        if (object->sections[i].kind == LINK_SECTION_ON_CHANGE)
            TRY(read_records(&object->sections[i], symbol, &policy));
    for (size_t i = 0; i < options->on_change_count; i++)
        if (is_called(symbol, options->on_changes[i].variable))
            policy = options->on_changes[i].policy;
    *ret = policy;
    return NULL;
}

static bool has_variable(const struct link *link, const char *name)
{
    for (size_t i = 0; i < link->patch->objects.count; i++) {
        const struct link_object *object = link->patch->objects.at[i].object;
        for (uint32_t k = 1; k < object->symbol_count; k++) {
            const struct link_symbol *symbol = object->symbols[k];
            if (symbol->object == object && symbol->section && patch_is_variable(symbol->section) &&
                is_called(symbol, name))
                return true;
        }
    }
    return false;
}

void patch_find_options(struct link *link)
{
    for (size_t i = 0; i < link->options->on_change_count; i++)
        if (has_variable(link, link->options->on_changes[i].variable))
            link->options->on_changes[i].is_found = true;
}

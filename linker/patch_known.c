#include "linker/patch_known.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

struct link_base_modules {
    VEC(struct base_module *) list; /* owned */
};

struct crateld_error *link_base_modules_create(struct link_base_modules **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? NULL : error_memory();
}

/* Forgets its names, and what is listed by them. */
static void release_names(struct base_module *module)
{
    hash_index_deinit(&module->names);
    hash_index_deinit(&module->section_names);
    free(module->sections);
    free(module->next_symbols);
    free(module->exported);
    *module = (struct base_module){.first_symbol = module->first_symbol, .symbols = module->symbols};
}

static void release(struct base_module *module)
{
    release_names(module);
    free(module->symbols);
    free(module);
}

void link_base_modules_destroy(struct link_base_modules *modules)
{
    if (!modules)
        return;
    for (size_t i = 0; i < modules->list.count; i++)
        release(modules->list.at[i]);
    free(modules->list.at);
    free(modules);
}

size_t patch_stem_size(const char *name)
{
    size_t size = strlen(name), end = size;
    while (end && isdigit((unsigned char)name[end - 1]))
        end--;
    return end > 1 && end < size && name[end - 1] == '.' ? end - 1 : size;
}

uint64_t patch_stem_hash(const char *name)
{
    return hash_bytes(name, patch_stem_size(name));
}

bool patch_is_same_stem(const char *a, const char *b)
{
    return patch_stem_size(a) == patch_stem_size(b) && !memcmp(a, b, patch_stem_size(a));
}

/* Decodes the symbols of a module that was not looked at before. */
static struct crateld_error *decode(const struct link_base *base, const struct relink_module *module,
                                    struct base_module **ret)
{
    struct base_module *added = calloc(1, sizeof *added);
    if (!added)
        return error_memory();
    added->first_symbol = module->first_symbol;
    added->symbols = calloc((size_t)module->symbol_count + 1, sizeof *added->symbols);
    struct crateld_error *error = added->symbols ? NULL : error_memory();
    if (!error && module->symbol_count) /* a new module has none */
        error = relink_view_symbols(&base->relink, module->first_symbol, module->symbol_count, added->symbols);
    if (!error && !VEC_PUSH(&base->modules->list, added))
        error = error_memory();
    if (error)
        release(added);
    else
        *ret = added;
    return error;
}

static struct crateld_error *find(const struct link_base *base, const struct relink_module *module,
                                  struct base_module **ret)
{
    const struct link_base_modules *modules = base->modules;
    for (size_t i = 0; i < modules->list.count; i++) {
        *ret = modules->list.at[i];
        if ((*ret)->first_symbol == module->first_symbol)
            return NULL;
    }
    return decode(base, module, ret);
}

struct crateld_error *patch_module_symbols(const struct link_base *base, const struct relink_module *module,
                                           const struct relink_symbol **ret)
{
    struct base_module *found = NULL;
    TRY(find(base, module, &found));
    *ret = found->symbols;
    return NULL;
}

static struct crateld_error *enter_sections(const struct link_base *base, const struct relink_module *module,
                                            struct base_module *found)
{
    if (!hash_index_reserve(&found->section_names, module->section_count))
        return error_memory();
    for (uint32_t i = 0; i < module->section_count; i++) {
        struct relink_section section;
        struct base_section *known = &found->sections[i];
        size_t cursor = 0;
        uint32_t other;
        TRY(relink_view_section(&base->relink, module->first_section + i, &section));
        *known = (struct base_section){.name = hash_string(section.name), .hash = section.hash, .rva = section.rva};
        while (!known->has_namesake &&
               (other = hash_index_next(&found->section_names, known->name, &cursor)) != HASH_INDEX_NONE)
            if (found->sections[other].name == known->name)
                found->sections[other].has_namesake = known->has_namesake = true;
        if (!hash_index_add(&found->section_names, known->name))
            return error_memory();
    }
    return NULL;
}

/* Lists symbols by their sections, in their order, and those that are exported. */
static void enter_symbols(const struct relink_module *module, struct base_module *found)
{
    for (uint32_t i = module->symbol_count; i-- > 0;) {
        const struct relink_symbol *symbol = &found->symbols[i];
        uint32_t section = symbol->section - module->first_section;
        if (symbol->where != RELINK_IN_SECTION)
            continue;
        if (symbol->binding != STB_LOCAL && symbol->flags & RELINK_SYMBOL_EXPORTED)
            found->exported[found->exported_count++] = i;
        if (section >= module->section_count)
            continue; /* another module's */
        found->next_symbols[i] = found->sections[section].first_symbol;
        found->sections[section].first_symbol = i + 1;
    }
}

static struct crateld_error *enter_names(const struct link_base *base, const struct relink_module *module,
                                         struct base_module *found)
{
    found->section_count = module->section_count;
    found->sections = calloc((size_t)module->section_count + 1, sizeof *found->sections);
    found->next_symbols = calloc((size_t)module->symbol_count + 1, sizeof *found->next_symbols);
    found->exported = calloc((size_t)module->symbol_count + 1, sizeof *found->exported);
    if (!found->sections || !found->next_symbols || !found->exported ||
        !hash_index_reserve(&found->names, module->symbol_count))
        return error_memory();
    for (uint32_t i = 0; i < module->symbol_count; i++)
        if (!hash_index_add(&found->names, patch_stem_hash(found->symbols[i].name)))
            return error_memory();
    TRY(enter_sections(base, module, found));
    enter_symbols(module, found);
    return NULL;
}

struct crateld_error *patch_module_names(const struct link_base *base, const struct relink_module *module,
                                         const struct base_module **ret)
{
    struct base_module *found = NULL;
    struct crateld_error *error = find(base, module, &found);
    if (!error && !found->has_names) {
        error = enter_names(base, module, found);
        found->has_names = !error;
        if (error)
            release_names(found); /* half of it is no use */
    }
    *ret = found;
    return error;
}

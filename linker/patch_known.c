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

static void release(struct base_module *module)
{
    hash_index_deinit(&module->names);
    hash_index_deinit(&module->sections);
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

static struct crateld_error *enter_names(const struct link_base *base, const struct relink_module *module,
                                         struct base_module *found)
{
    if (!hash_index_reserve(&found->names, module->symbol_count) ||
        !hash_index_reserve(&found->sections, module->section_count))
        return error_memory();
    for (uint32_t i = 0; i < module->symbol_count; i++)
        if (!hash_index_add(&found->names, patch_stem_hash(found->symbols[i].name)))
            return error_memory();
    for (uint32_t i = 0; i < module->section_count; i++) {
        struct relink_section section;
        TRY(relink_view_section(&base->relink, module->first_section + i, &section));
        if (!hash_index_add(&found->sections, hash_string(section.name)))
            return error_memory();
    }
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
        if (error) { /* half of it is no use */
            hash_index_deinit(&found->names);
            hash_index_deinit(&found->sections);
        }
    }
    *ret = found;
    return error;
}

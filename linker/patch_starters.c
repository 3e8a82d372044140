#include "linker/patch_starters.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/function.h"
#include "linker/relink_section.h"

/* Exports. */

/* Whether one of the new objects defines the symbol, wherever it will be. */
static bool is_defined(const struct link *link, const char *name)
{
    const struct link_symbol *symbol = link_symbol_table_find(&link->symbols, name);
    return symbol && (symbol->section || symbol->state == LINK_SYMBOL_ABSOLUTE || symbol->state == LINK_SYMBOL_COMMON);
}

struct crateld_error *patch_find_vanished(struct matching *m)
{
    struct link_patch *patch = m->link->patch;
    for (uint32_t i = m->module->exported_count; i-- > 0;) {
        const struct relink_symbol *symbol = &m->symbols[m->module->exported[i]];
        struct patch_vanished vanished = {symbol->name, patch_module_index(m)};
        if (!is_defined(m->link, symbol->name) && !VEC_PUSH(&patch->vanished, vanished))
            return error_memory();
    }
    return NULL;
}

/* Initialisers. */

/* The next thing in the base that the function there refers to: its name, or its section's; NULL: there is none.
 * Strings do not count. */
static struct crateld_error *next_old_target(struct relink_cursor *cursor, const char **ret)
{
    *ret = NULL;
    for (;;) {
        struct relink_reloc reloc;
        struct relink_symbol symbol;
        struct relink_section section = {.name = ""};
        bool is_end;
        TRY(relink_cursor_next(cursor, &reloc, &is_end));
        if (is_end)
            return NULL;
        TRY(relink_view_symbol(cursor->view, reloc.symbol, &symbol));
        if (symbol.where == RELINK_IN_SECTION)
            TRY(relink_view_section(cursor->view, symbol.section, &section));
        if (section.flags & RELINK_SECTION_MERGE)
            continue;
        *ret = *symbol.name ? symbol.name : section.name;
        return NULL;
    }
}

/* The next thing that the new version refers to, from relocation *i of its section on. */
static const char *next_new_target(const struct link_symbol *function, uint32_t *i)
{
    const struct link_section *section = function->section;
    while (*i < section->reloc_count) {
        const Elf64_Rela *reloc = &section->relocs[(*i)++];
        const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
        bool is_within = reloc->r_offset >= function->value && reloc->r_offset - function->value < function->size;
        if (is_within && !(symbol->section && symbol->section->flags & SHF_MERGE))
            return *symbol->name || !symbol->section ? symbol->name : symbol->section->name;
    }
    return NULL;
}

/* clang makes a function of each object, and calls them within a section, which needs no relocation. */
static bool constructs_one(const char *name)
{
    static const char start[] = "__cxx_global_var_init";
    return !strncmp(name, start, sizeof start - 1);
}

static bool has_as_many(const struct matching *m, const struct link_object *object)
{
    uint32_t is = 0, was = 0;
    for (uint32_t i = 1; i < object->first_global; i++)
        is += constructs_one(object->symbols[i]->name);
    for (uint32_t i = 0; i < m->object->module.symbol_count; i++)
        was += constructs_one(m->symbols[i].name);
    return is == was;
}

/* Whether both versions refer to the same things, in the same order. */
static struct crateld_error *compare_targets(const struct matching *m, const struct link_symbol *function,
                                             const struct relink_symbol *old, bool *ret)
{
    struct relink_cursor cursor;
    const char *was, *is;
    uint32_t i = 0;
    TRY(relink_view_relocs_in(&m->link->patch->base->relink, old->section, (uint32_t)old->value,
                              (uint32_t)(old->value + old->size), &cursor));
    do {
        TRY(next_old_target(&cursor, &was));
        is = next_new_target(function, &i);
        *ret = !was == !is && (!was || !strcmp(was, is));
    } while (was && *ret);
    return NULL;
}

struct crateld_error *patch_check_constructors(const struct matching *m, const struct link_symbol *function,
                                               const struct relink_symbol *old)
{
    bool is_same;
    TRY(compare_targets(m, function, old, &is_same));
    if (is_same && has_as_many(m, function->object))
        return NULL;
    return error_create(
        CRATELD_ERROR_UNSUPPORTED,
        "%s: objects with constructors came, went or changed ('%s'): constructors have run already: put "
        "new objects in a file of their own, or make them static in a function",
        function->object->path, function->name);
}

static bool is_initialisers(const struct link_section *section)
{
    return section->kind == LINK_SECTION_PLAIN &&
           (section->type == SHT_INIT_ARRAY || (section->is_reversed && !strncmp(section->name, ".ctors", 6)));
}

/* How many initialisers the module has in the base. */
static struct crateld_error *count_known(const struct matching *m, uint32_t *ret)
{
    const struct relink_module *module = &m->object->module;
    *ret = 0;
    for (uint32_t i = 0; i < module->section_count; i++) {
        struct relink_section section;
        TRY(relink_view_section(&m->link->patch->base->relink, module->first_section + i, &section));
        if (section.flags & RELINK_SECTION_INIT && !strstr(section.name, "fini") && !strstr(section.name, "dtors"))
            *ret += section.size / 8;
    }
    return NULL;
}

/* What the function does, with the parts that compilers make of it. */
static uint64_t hash_code(const struct link_symbol *function)
{
    const struct link_section *section = function->section;
    uint64_t hash = link_relink_hash(section);
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(section->relocs[i].r_info)];
        bool is_part = symbol->is_local && symbol->section && symbol->section != section &&
                       symbol->section->object == section->object && patch_is_text(symbol->section);
        const uint64_t both[] = {hash, is_part ? link_relink_hash(symbol->section) : 0};
        hash = is_part ? hash_bytes(both, sizeof both) : hash;
    }
    return hash;
}

/* Bytes of the name, if it is of the function that constructs a file's objects, before what it is called after: the
 * file, or its first symbol; else 0. With a priority they are more: "_GLOBAL__sub_I.00101_". */
static size_t compilers_prefix(const char *name)
{
    static const char start[] = "_GLOBAL__sub_I";
    size_t size = sizeof start - 1;
    return strncmp(name, start, size) ? 0 : size + strcspn(name + size, "_");
}

static struct crateld_error *add_starter(struct matching *m, struct link_symbol *function)
{
    struct link_patch *patch = m->link->patch;
    const struct relink_module *module = &m->object->module;
    size_t prefix = compilers_prefix(function->name), size = prefix ? prefix : strlen(function->name);
    struct patch_starter starter = {
        function,
        arena_printf(&m->link->arena, "%.*s of %s(%s)", (int)size, function->name, module->path, module->member),
        {.hash = hash_code(function), .module = patch_module_index(m)}};
    return starter.name && VEC_PUSH(&patch->starters, starter) ? NULL : error_memory();
}

/* Whether the module has the function by another name, in the base; if it constructs other objects there, that is
 * reported. */
static struct crateld_error *find_renamed(struct matching *m, const struct link_symbol *function, bool *ret)
{
    size_t size = compilers_prefix(function->name);
    for (uint32_t i = 0; i < m->object->module.symbol_count && size; i++) {
        const struct relink_symbol *symbol = &m->symbols[i];
        if (symbol->type != STT_FUNC || symbol->where != RELINK_IN_SECTION || compilers_prefix(symbol->name) != size ||
            strncmp(symbol->name, function->name, size) != 0)
            continue;
        link_report(m->link, patch_check_constructors(m, function, symbol));
        *ret = true;
        return NULL;
    }
    return NULL;
}

/* Takes up the initialiser that the relocation names; *known counts those that the base has. */
static struct crateld_error *take_initialiser(struct matching *m, const struct link_section *section,
                                              const Elf64_Rela *reloc, uint32_t *known)
{
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    struct link_symbol *function = NULL;
    struct counterpart old;
    if (symbol->section)
        TRY(link_function_symbol(m->link, symbol->section, symbol->value + (uint64_t)reloc->r_addend, &function));
    if (function && m->object->sections[function->section->index].fate == PATCH_SAME) {
        ++*known;
        return NULL;
    }
    if (!function) {
        link_report(m->link, error_create(CRATELD_ERROR_UNSUPPORTED,
                                          "%s: section %s+0x%llx: an initialiser that is no function of the module's",
                                          section->object->path, section->name, (unsigned long long)reloc->r_offset));
        return NULL;
    }
    TRY(patch_find_counterpart(m, function, &old));
    bool is_known = old.symbol.name && old.section.flags & RELINK_SECTION_TEXT;
    if (!is_known)
        TRY(find_renamed(m, function, &is_known));
    *known += is_known;
    return is_known ? NULL : add_starter(m, function);
}

/* Initialisers with a number run before those without, in its order. */
static uint32_t priority_of(const struct link_section *section)
{
    const char *dot = strrchr(section->name, '.');
    char *end;
    unsigned long number = dot && dot != section->name ? strtoul(dot + 1, &end, 10) : 65536;
    uint32_t priority = number < 65536 ? (uint32_t)number : 65536;
    return section->is_reversed && priority < 65536 ? 65535 - priority : priority;
}

static int compare_sections(const void *a, const void *b)
{
    const struct link_section *x = *(const struct link_section *const *)a, *y = *(const struct link_section *const *)b;
    uint32_t first = priority_of(x), second = priority_of(y);
    return first != second ? (first > second) - (first < second) : (x->index > y->index) - (x->index < y->index);
}

static struct crateld_error *take_sections(struct matching *m, struct link_section **sections, size_t count)
{
    uint32_t known = 0, in_base = 0;
    if (count)
        qsort(sections, count, sizeof *sections, compare_sections);
    for (size_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < sections[i]->reloc_count; k++) {
            uint32_t from_last = sections[i]->reloc_count - 1 - k; /* .ctors run backwards */
            TRY(take_initialiser(m, sections[i], &sections[i]->relocs[sections[i]->is_reversed ? from_last : k],
                                 &known));
        }
        if (m->object->sections[sections[i]->index].fate != PATCH_SAME)
            sections[i]->kind = LINK_SECTION_DROPPED;
    }
    TRY(count_known(m, &in_base));
    if (known > in_base)
        link_report(m->link, error_create(CRATELD_ERROR_UNSUPPORTED,
                                          "%s: section %s: a function of %s has become an initialiser: give the "
                                          "initialiser a name of its own",
                                          m->object->object->path, sections[0]->name, m->link->patch->base->path));
    return NULL;
}

struct crateld_error *patch_find_starters(struct matching *m)
{
    struct link_object *object = m->object->object;
    VEC(struct link_section *) sections = {0};
    struct crateld_error *error = NULL;
    for (uint32_t i = 1; i < object->section_count && !error; i++)
        if (is_initialisers(&object->sections[i]) && !VEC_PUSH(&sections, &object->sections[i]))
            error = error_memory();
    if (!error && sections.count)
        error = take_sections(m, sections.at, sections.count);
    free(sections.at);
    return error;
}

/* The comparison of new objects with the modules of the base.
 *
 * Sections are matched by name, in their order where several have one name; members of section groups with the copy
 * that the base kept. A function's section that says the same as the base's, and whose constants and cold parts do, is
 * the base's. Variables are matched by name: their storage stays, and so must their size and, where one section holds
 * several, their layout. docs/reload.md. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "linker/function.h"
#include "linker/patch_functions.h"
#include "linker/patch_matching.h"
#include "linker/patch_modules.h"
#include "linker/patch_sites.h"
#include "linker/patch_starters.h"
#include "linker/patch_types.h"
#include "linker/relink_section.h"

/* Modules. */

/* What the object at `path` is a new version of, as the options say: `path` itself if they say nothing. */
static const char *renamed(const struct link *link, const char *path)
{
    for (size_t i = 0; i < link->options->rename_count; i++) {
        const char *rename = link->options->renames[i], *equals = strchr(rename, '=');
        if (!strcmp(equals + 1, path))
            return rename;
    }
    return path;
}

/* Whether `text`, of `length` bytes, names the module: by "path" or "path(member)"; or by the file's name alone. */
static bool is_name_of(const struct relink_module *module, const char *text, size_t length, bool by_file)
{
    const char *name = *module->member ? module->member : module->path;
    if (by_file)
        return strlen(patch_file_name(name)) == length && !strncmp(patch_file_name(name), text, length);
    size_t path_length = strlen(module->path), member_length = strlen(module->member);
    if (!member_length)
        return path_length == length && !memcmp(module->path, text, length);
    return path_length + member_length + 2 == length && !memcmp(module->path, text, path_length) &&
           text[path_length] == '(' && !memcmp(text + path_length + 1, module->member, member_length);
}

struct crateld_error *patch_index_modules(struct link_base *base)
{
    for (uint32_t i = 0; i < base->relink.module_count; i++) {
        struct relink_module module;
        TRY(relink_view_module(&base->relink, i, &module));
        if (!hash_index_add(&base->file_names,
                            hash_string(patch_file_name(*module.member ? module.member : module.path))))
            return error_memory();
    }
    return NULL;
}

/* The name of the file that is named by "path" or "path(member)", with its length. */
static const char *file_of(const char *text, size_t length, size_t *ret_length)
{
    const char *end = text + length, *open = length && end[-1] == ')' ? memrchr(text, '(', length) : NULL;
    const char *start = open ? open + 1 : text, *stop = open ? end - 1 : end;
    const char *slash = memrchr(start, '/', (size_t)(stop - start));
    start = slash ? slash + 1 : start;
    *ret_length = (size_t)(stop - start);
    return start;
}

/* Sets *ret to the only module called so; *count is how many there are. */
static struct crateld_error *find_named(const struct link_base *base, const char *text, size_t length, bool by_file,
                                        struct relink_module *ret, uint32_t *count)
{
    size_t file_length, cursor = 0;
    const char *file = file_of(text, length, &file_length);
    uint64_t hash = hash_bytes(file, file_length);
    uint32_t i;
    *count = 0;
    while ((i = hash_index_next(&base->file_names, hash, &cursor)) != HASH_INDEX_NONE) {
        struct relink_module module;
        TRY(relink_view_module(&base->relink, i, &module));
        bool is_it = by_file ? is_name_of(&module, file, file_length, true) : is_name_of(&module, text, length, false);
        if (!*module.path || !is_it)
            continue;
        *ret = module;
        ++*count;
    }
    return NULL;
}

/* Sets *ret to the module that `name`, of `length` bytes, is: one called so, else one whose file is. */
static struct crateld_error *find_known(const struct link_base *base, const char *name, size_t length,
                                        struct relink_module *ret, uint32_t *count)
{
    TRY(find_named(base, name, length, false, ret, count));
    return *count ? NULL : find_named(base, name, length, true, ret, count);
}

struct crateld_error *link_patch_count_modules(const struct link_base *base, const char *module, uint32_t *ret)
{
    struct relink_module found;
    return find_known(base, module, strcspn(module, "="), &found, ret);
}

/* Sets *ret to the module of which the object is a new version; *is_new if there is none, and nobody said that there
 * is: it is a name only then. */
static struct crateld_error *find_module(struct link *link, const char *path, struct relink_module *ret, bool *is_new)
{
    const char *name = renamed(link, path);
    size_t length = name == path ? strlen(path) : strcspn(name, "=");
    uint32_t count;
    TRY(find_known(link->patch->base, name, length, ret, &count));
    *is_new = !count && name == path;
    if (*is_new)
        return patch_name_new_module(link, path, ret);
    if (count == 1)
        return NULL;
    return error_create(CRATELD_ERROR_NOT_FOUND,
                        "%s: %s of %s was linked from '%.*s': say of which it is a new version: OLD=%s", path,
                        count ? "more than one module" : "no module", patch_base_name(link), (int)length, name, path);
}

/* Sections. */

/* The module's section called as `section` is, by the order of both, of several: the one before which as many stand as
 * before `section`. */
static struct crateld_error *find_namesake(struct matching *m, const struct link_section *section, uint64_t hash,
                                           uint32_t *ret)
{
    uint32_t skip = 0, i;
    size_t cursor = 0;
    while ((i = hash_index_next(&m->own_section_names, hash, &cursor)) != HASH_INDEX_NONE)
        skip += !strcmp(m->own_sections[i]->name, section->name);
    m->own_sections[m->own_section_names.count] = section;
    if (!hash_index_add(&m->own_section_names, hash))
        return error_memory();
    cursor = 0;
    *ret = HASH_INDEX_NONE;
    while ((i = hash_index_next(&m->module->section_names, hash, &cursor)) != HASH_INDEX_NONE) {
        if (m->module->sections[i].name != hash || skip--)
            continue;
        *ret = i;
        return NULL;
    }
    return NULL;
}

/* Sets *ret to the number of the module's section that `section` is another version of; HASH_INDEX_NONE: there is none.
 * Names are compared by their hashes, as contents are; and most sections are in the order in which they were. */
static struct crateld_error *find_section(struct matching *m, const struct link_section *section, uint32_t *ret)
{
    uint64_t hash = hash_string(section->name);
    const struct base_module *module = m->module;
    size_t cursor = 0;
    uint32_t i = m->next_section;
    if (i >= module->section_count || module->sections[i].name != hash)
        while ((i = hash_index_next(&module->section_names, hash, &cursor)) != HASH_INDEX_NONE &&
               module->sections[i].name != hash) {
        }
    *ret = i;
    if (i == HASH_INDEX_NONE)
        return NULL;
    if (module->sections[i].has_namesake)
        TRY(find_namesake(m, section, hash, ret));
    else if (m->is_taken[i])
        *ret = HASH_INDEX_NONE;
    if (*ret == HASH_INDEX_NONE)
        return NULL;
    m->is_taken[*ret] = true;
    m->next_section = *ret + 1;
    if (module->sections[*ret].rva == RELINK_NONE)
        *ret = HASH_INDEX_NONE;
    return NULL;
}

/* The copy of a section group's member that the base kept, which may be another module's: where its symbol is. */
static struct crateld_error *find_kept_copy(struct matching *m, const struct link_section *section, uint32_t *ret)
{
    const struct relink_view *relink = &m->link->patch->base->relink;
    const struct link_object *object = section->object;
    for (uint32_t i = object->first_global; i < object->symbol_count; i++) {
        const struct link_symbol *symbol = object->symbols[i];
        if (symbol->state != LINK_SYMBOL_DEFINED || symbol->section != section)
            continue;
        struct relink_symbol known;
        struct relink_section found;
        uint32_t number;
        TRY(patch_find(m->link, object, symbol->name, &number));
        if (number == RELINK_NONE)
            continue;
        TRY(relink_view_symbol(relink, number, &known));
        if (known.where != RELINK_IN_SECTION || known.value != symbol->value)
            continue;
        TRY(relink_view_section(relink, known.section, &found));
        if (found.rva == RELINK_NONE || strcmp(found.name, section->name) != 0)
            continue;
        *ret = known.section;
        return NULL;
    }
    return NULL;
}

/* Whether the section is an array of functions that are run at start or exit. */
static bool is_array(const struct link_section *section)
{
    return section->type == SHT_INIT_ARRAY || section->type == SHT_FINI_ARRAY || section->type == SHT_PREINIT_ARRAY ||
           section->is_reversed;
}

/* Finds the section in the base; *hash is what it says there. */
static struct crateld_error *find_in_base(struct matching *m, struct link_section *section, uint32_t *ret,
                                          uint64_t *hash)
{
    struct relink_section base;
    uint32_t i;
    TRY(find_section(m, section, &i));
    *ret = RELINK_NONE;
    if (i != HASH_INDEX_NONE) {
        *ret = m->object->module.first_section + i;
        *hash = m->module->sections[i].hash;
        return NULL;
    }
    if (section->in_group)
        TRY(find_kept_copy(m, section, ret));
    if (*ret == RELINK_NONE)
        return NULL;
    TRY(relink_view_section(&m->link->patch->base->relink, *ret, &base));
    *hash = base.hash;
    return NULL;
}

static struct crateld_error *match_section(struct matching *m, struct link_section *section, struct patch_section *ret)
{
    uint64_t hash = 0;
    TRY(find_in_base(m, section, &ret->base, &hash));
    ret->fate = PATCH_NEW;
    if (ret->base == RELINK_NONE)
        return NULL;
    ret->fate = hash == link_relink_hash(section) ? PATCH_SAME : PATCH_CHANGED;
    if (ret->fate == PATCH_SAME || !is_array(section))
        return NULL;
    struct relink_section base;
    TRY(relink_view_section(&m->link->patch->base->relink, ret->base, &base));
    bool has_same = false; /* functions: those that share a section may have moved in it */
    if (base.size == section->size)
        TRY(patch_has_same_names(m, section, 0, section->size, ret->base, 0, &has_same));
    ret->fate = has_same ? PATCH_SAME : PATCH_CHANGED;
    return NULL;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

bool patch_is_variable(const struct link_section *section)
{
    return section->kind == LINK_SECTION_PLAIN && (section->flags & (SHF_WRITE | SHF_TLS)) &&
           !(section->flags & SHF_EXECINSTR) && !has_prefix(section->name, ".data.rel.ro");
}

bool patch_is_text(const struct link_section *section)
{
    return section->kind == LINK_SECTION_PLAIN && (section->flags & SHF_EXECINSTR);
}

static bool is_part(const char *name)
{
    size_t length = strlen(name);
    return length > 5 && !strcmp(name + length - 5, ".cold");
}

/* Whether the relocation names a label within a function's text, rather than a function: tables of labels and cold
 * parts belong to one version of it. */
static struct crateld_error *is_label(const struct matching *m, const struct link_section *section,
                                      const Elf64_Rela *reloc, bool *ret)
{
    const struct reloc_machine *machine = m->link->machine;
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    bool is_word = (uint32_t)ELF64_R_TYPE(reloc->r_info) == machine->type_word;
    *ret = !patch_is_text(section) && !is_word; /* a distance within a table */
    if (*ret)
        return NULL;
    bool is_start;
    uint64_t value = symbol->value + (uint64_t)reloc->r_addend + (uint64_t)(is_word ? 0 : machine->operand_bias);
    TRY(link_function_is_start(m->link, symbol->section, value, &is_start));
    *ret = !is_start;
    return NULL;
}

/* Whether `section` counts as changed because what the relocation names is: its own constants, a part of a function,
 * which only the function itself enters, or a label. */
static struct crateld_error *follows(const struct matching *m, const struct link_section *section,
                                     const Elf64_Rela *reloc, bool *ret)
{
    const struct link_object *object = m->object->object;
    const struct link_symbol *symbol = object->symbols[ELF64_R_SYM(reloc->r_info)];
    *ret = false;
    if (symbol->state != LINK_SYMBOL_DEFINED || symbol->section->object != object || !symbol->is_local)
        return NULL;
    const struct link_section *target = symbol->section;
    if (target == section || m->object->sections[target->index].fate == PATCH_SAME || patch_is_variable(target) ||
        target->kind != LINK_SECTION_PLAIN || !(target->flags & SHF_ALLOC))
        return NULL;
    *ret = !patch_is_text(target) || is_part(symbol->name) || has_prefix(target->name, ".text.unlikely");
    return *ret ? NULL : is_label(m, section, reloc, ret);
}

/* Lets a change reach the section if something that it names changed. */
static struct crateld_error *spread_to(const struct matching *m, const struct link_section *section, bool *is_again)
{
    struct patch_section *matched = &m->object->sections[section->index];
    bool is_changed = false;
    for (uint32_t k = 0; k < section->reloc_count && !is_changed; k++)
        TRY(follows(m, section, &section->relocs[k], &is_changed));
    if (is_changed)
        matched->fate = PATCH_CHANGED;
    *is_again |= is_changed;
    return NULL;
}

/* Lets changes reach what depends on them, until nothing more changes. */
static struct crateld_error *spread_changes(const struct matching *m)
{
    bool is_again;
    do {
        is_again = false;
        for (uint32_t i = 1; i < m->object->object->section_count; i++)
            if (m->object->sections[i].fate == PATCH_SAME)
                TRY(spread_to(m, &m->object->object->sections[i], &is_again));
    } while (is_again);
    return NULL;
}

static struct crateld_error *match_sections(struct matching *m)
{
    struct link_object *object = m->object->object;
    m->object->sections = arena_alloc_array(&m->link->arena, object->section_count, sizeof *m->object->sections);
    m->own_sections = arena_alloc_array(&m->link->arena, object->section_count, sizeof *m->own_sections);
    m->is_taken = arena_alloc_array(&m->link->arena, m->module->section_count + 1, sizeof *m->is_taken);
    if (!m->object->sections || !m->own_sections || !m->is_taken)
        return error_memory();
    for (uint32_t i = 0; i < object->section_count; i++) {
        m->object->sections[i] = (struct patch_section){.base = RELINK_NONE, .fate = PATCH_NEW};
        if (i && object->sections[i].kind == LINK_SECTION_PLAIN && link_relink_records(&object->sections[i]))
            TRY(match_section(m, &object->sections[i], &m->object->sections[i]));
    }
    return spread_changes(m);
}

/* Symbols of the base. */

/* The module's local symbol called as `symbol` is, or, if only one has its stem, that one. */
static struct crateld_error *find_local(struct matching *m, const struct link_symbol *symbol, struct counterpart *ret)
{
    size_t cursor = 0;
    uint32_t i;
    struct relink_symbol exact = {.name = NULL}, last = {.name = NULL};
    ret->count = 0;
    while ((i = hash_index_next(&m->module->names, patch_stem_hash(symbol->name), &cursor)) != HASH_INDEX_NONE) {
        struct relink_symbol known = m->symbols[i];
        if (known.binding != STB_LOCAL || known.type == STT_SECTION || known.where != RELINK_IN_SECTION ||
            !patch_is_same_stem(known.name, symbol->name))
            continue;
        ret->count++;
        last = known;
        if (!strcmp(known.name, symbol->name))
            exact = known;
    }
    ret->symbol = exact.name ? exact : last;
    return NULL;
}

/* The crate's symbol that is not local and has the name: mostly the module's own. */
static struct crateld_error *find_global(struct matching *m, const struct link_symbol *symbol,
                                         struct relink_symbol *ret)
{
    size_t cursor = 0;
    uint32_t i, number;
    while ((i = hash_index_next(&m->module->names, patch_stem_hash(symbol->name), &cursor)) != HASH_INDEX_NONE) {
        if (m->symbols[i].binding == STB_LOCAL || strcmp(m->symbols[i].name, symbol->name) != 0)
            continue;
        *ret = m->symbols[i];
        return NULL;
    }
    TRY(patch_find(m->link, m->object->object, symbol->name, &number));
    return number == RELINK_NONE ? NULL : relink_view_symbol(&m->link->patch->base->relink, number, ret);
}

/* The module's symbol of the name that was local and is not any more, or the reverse. */
static void find_other_binding(const struct matching *m, const struct link_symbol *symbol, struct relink_symbol *ret)
{
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&m->module->names, patch_stem_hash(symbol->name), &cursor)) != HASH_INDEX_NONE) {
        const struct relink_symbol *known = &m->symbols[i];
        if ((known->binding == STB_LOCAL) != symbol->is_local && known->type == symbol->type &&
            known->where == RELINK_IN_SECTION && !strcmp(known->name, symbol->name))
            *ret = *known;
    }
}

struct crateld_error *patch_find_counterpart(struct matching *m, const struct link_symbol *symbol,
                                             struct counterpart *ret)
{
    const struct relink_view *relink = &m->link->patch->base->relink;
    *ret = (struct counterpart){.symbol = {.name = NULL}, .count = 1};
    if (symbol->is_local)
        TRY(find_local(m, symbol, ret));
    else
        TRY(find_global(m, symbol, &ret->symbol));
    if (!ret->symbol.name && symbol->type != STT_NOTYPE && symbol->type != STT_SECTION) {
        find_other_binding(m, symbol, &ret->symbol);
        ret->count = 1;
    }
    if (!ret->symbol.name)
        return NULL;
    if (ret->symbol.where == RELINK_IN_SECTION)
        TRY(relink_view_section(relink, ret->symbol.section, &ret->section));
    if (ret->symbol.where != RELINK_IN_SECTION || ret->section.rva == RELINK_NONE)
        ret->symbol.name = NULL;
    return NULL;
}

/* Functions. */

uint32_t patch_module_index(const struct matching *m)
{
    return (uint32_t)(m->object - m->link->patch->objects.at);
}

/* Whether who calls the function finds it as it was: who enters plain code does not set the TOC register, and the entry
 * stub of TOC code copies the arguments that it knows. */
static struct crateld_error *check_kind(const struct matching *m, const struct link_symbol *symbol,
                                        const struct counterpart *old)
{
    const struct link_function *function = link_function_of_symbol(m->link, symbol);
    bool is_toc = symbol->section->is_toc, was_toc = old->section.flags & RELINK_SECTION_TOC_CODE;
    uint32_t known = old->symbol.refs[RELINK_REF_STACK_ARGUMENTS], before = known == RELINK_NONE ? 0 : known;
    uint32_t after = function ? function->stack_arguments : 0;
    if (is_toc != was_toc)
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: function '%s' is %s code, and was %s code in %s: compile it as it was, or link anew",
                            symbol->object->path, symbol->name, is_toc ? "TOC" : "plain", was_toc ? "TOC" : "plain",
                            patch_base_name(m->link));
    if (!is_toc || old->symbol.refs[RELINK_REF_ENTRY_STUB] == RELINK_NONE)
        return NULL;
    bool is_varargs = function && function->is_varargs, was_varargs = old->symbol.flags & RELINK_SYMBOL_VARARGS;
    if (after == before && is_varargs == was_varargs)
        return NULL;
    return error_create(
        CRATELD_ERROR_UNSUPPORTED,
        "%s: function '%s' takes %u bytes of arguments on the stack%s, and took %u%s in %s, whose entry "
        "stub for it copies them: link anew",
        symbol->object->path, symbol->name, after, is_varargs ? ", and more" : "", before,
        was_varargs ? ", and more," : "", patch_base_name(m->link));
}

static struct crateld_error *add_move(struct matching *m, struct link_symbol *symbol, const struct counterpart *old)
{
    struct link_patch *patch = m->link->patch;
    uint32_t rva = old->section.rva + (uint32_t)old->symbol.value;
    TRY(check_kind(m, symbol, old));
    TRY(patch_note_function(m->link, symbol, rva, &old->symbol, &old->section));
    for (size_t i = 0; i < patch->moves.count; i++)
        if (patch->moves.at[i].move.old_rva == rva)
            return NULL; /* an alias */
    bool is_leaked = old->symbol.flags & RELINK_SYMBOL_LEAKED;
    struct patch_move move = {
        .symbol = symbol,
        .section = old->symbol.section,
        .size = 1,
        .move = {.module = patch_module_index(m), .old_rva = rva, .flags = is_leaked ? CRATE_MOVE_FLAG_LEAKED : 0}};
    return VEC_PUSH(&patch->moves, move) ? NULL : error_memory();
}

/* The text of the base that the section, which changed, supersedes. */
static struct crateld_error *add_unit(struct matching *m, const struct patch_section *section)
{
    struct link_patch *patch = m->link->patch;
    struct relink_section base;
    if (section->fate != PATCH_CHANGED)
        return NULL;
    TRY(relink_view_section(&patch->base->relink, section->base, &base));
    for (size_t i = 0; i < patch->units.count; i++)
        if (patch->units.at[i].rva == base.rva)
            return NULL; /* another module's copy of the same function */
    struct crate_unit unit = {.module = patch_module_index(m), .rva = base.rva, .size = base.size};
    return VEC_PUSH(&patch->units, unit) ? NULL : error_memory();
}

/* Whether the function is the one that g++ or clang makes of a file's objects that are constructed before main, or a
 * part of it. */
static bool constructs_objects(const struct link_symbol *symbol)
{
    return has_prefix(symbol->name, "_GLOBAL__sub_I") ||
           strstr(symbol->name, "__static_initialization_and_destruction_") ||
           has_prefix(symbol->name, "__cxx_global_var_init");
}

/* A function, or a label, in text: the base's if its section is, else a new version of what the base has by its name.
 */
static struct crateld_error *place_code(struct matching *m, struct link_symbol *symbol)
{
    const struct patch_section *section = &m->object->sections[symbol->section->index];
    struct counterpart old;
    TRY(patch_find_counterpart(m, symbol, &old));
    bool is_known = old.symbol.name && old.symbol.type == symbol->type && old.section.flags & RELINK_SECTION_TEXT;
    if (section->fate == PATCH_SAME) {
        struct relink_section base;
        TRY(relink_view_section(&m->link->patch->base->relink, section->base, &base));
        uint32_t rva = base.rva + (uint32_t)symbol->value;
        if (is_known && symbol->type == STT_FUNC)
            TRY(patch_note_function(m->link, symbol, rva, &old.symbol, &old.section));
        return patch_use_base(m->link, symbol, rva);
    }
    if (!is_known || symbol->type != STT_FUNC || is_part(symbol->name))
        return NULL;
    if (old.count > 1 && strcmp(old.symbol.name, symbol->name) != 0)
        return NULL;
    if (constructs_objects(symbol))
        TRY(patch_check_constructors(m, symbol, &old.symbol));
    return add_move(m, symbol, &old);
}

/* Everything else. */

/* Notes that others may refer to a constant that changed. What is the module's alone goes with its functions: see
 * follows(). What C++ keeps of types stays, for it is told by its address. */
static struct crateld_error *add_constant(struct matching *m, struct link_symbol *symbol)
{
    struct link_patch *patch = m->link->patch;
    struct patch_type_change change;
    struct counterpart old;
    if (symbol->is_local || symbol->type != STT_OBJECT || !symbol->size || has_prefix(symbol->name, "_ZT"))
        return NULL;
    TRY(patch_find_counterpart(m, symbol, &old));
    if (!old.symbol.name || old.symbol.type != STT_OBJECT || !old.symbol.size ||
        !(old.section.flags & (RELINK_SECTION_RODATA | RELINK_SECTION_DATA)) || old.section.flags & RELINK_SECTION_TLS)
        return NULL;
    uint32_t rva = old.section.rva + (uint32_t)old.symbol.value;
    for (size_t i = 0; i < patch->moves.count; i++)
        if (patch->moves.at[i].move.old_rva == rva)
            return NULL; /* another name, or another module's copy */
    TRY(patch_compare_types(m, symbol, &old, &change));
    struct patch_move move = {
        .symbol = symbol,
        .section = old.symbol.section,
        .size = (uint32_t)old.symbol.size,
        .difference = change.relation == TYPE_CHANGED ? change.difference : NULL,
        .move = {.module = patch_module_index(m), .old_rva = rva, .flags = CRATE_MOVE_FLAG_CONSTANT}};
    return VEC_PUSH(&patch->moves, move) ? NULL : error_memory();
}

/* Constants that did not change are the base's. */
static struct crateld_error *place_constant(struct matching *m, struct link_symbol *symbol)
{
    const struct patch_section *section = &m->object->sections[symbol->section->index];
    struct relink_section base;
    if (section->fate != PATCH_SAME && patch_is_virtual_table(symbol))
        TRY(patch_check_virtual_table(m, symbol));
    if (symbol->section->kind != LINK_SECTION_PLAIN)
        return NULL;
    if (section->fate != PATCH_SAME)
        return add_constant(m, symbol);
    TRY(relink_view_section(&m->link->patch->base->relink, section->base, &base));
    return patch_use_base(m->link, symbol, base.rva + (uint32_t)symbol->value);
}

/* What can not be in a patch. */
static struct crateld_error *check_section(const struct matching *m, const struct link_section *section)
{
    const struct patch_section *matched = &m->object->sections[section->index];
    bool is_at_exit = section->type == SHT_FINI_ARRAY || section->type == SHT_PREINIT_ARRAY || section->is_reversed;
    if (is_at_exit && matched->fate != PATCH_SAME)
        return error_create(CRATELD_ERROR_UNSUPPORTED,
                            "%s: section %s: functions that run at exit came, went or changed", section->object->path,
                            section->name);
    return NULL;
}

static struct crateld_error *place_sections(struct matching *m)
{
    struct link_object *object = m->object->object;
    TRY(patch_find_starters(m));
    for (uint32_t i = 1; i < object->section_count; i++) {
        struct link_section *section = &object->sections[i];
        if (section->kind != LINK_SECTION_PLAIN || !link_relink_records(section))
            continue;
        link_report(m->link, check_section(m, section));
        if (patch_is_text(section))
            TRY(add_unit(m, &m->object->sections[i]));
        if (patch_is_variable(section) && !is_array(section))
            link_report(m->link, patch_place_variables(m, section));
    }
    return NULL;
}

/* Whether the section is the base's, and nothing of it is in the patch. */
static bool is_bases(const struct matching *m, const struct link_section *section)
{
    return section->kind == LINK_SECTION_PLAIN && m->object->sections[section->index].fate == PATCH_SAME;
}

/* Marks what sections that may be in the patch refer to. Unwind tables refer to all text, and go with it. */
static struct crateld_error *find_wanted(struct matching *m)
{
    struct link_object *object = m->object->object;
    m->is_wanted = arena_alloc_array(&m->link->arena, object->symbol_count, sizeof *m->is_wanted);
    if (!m->is_wanted)
        return error_memory();
    for (uint32_t i = 1; i < object->section_count; i++) {
        const struct link_section *section = &object->sections[i];
        if (is_bases(m, section) || !(section->flags & SHF_ALLOC))
            continue;
        for (uint32_t k = 0; k < section->reloc_count; k++) {
            uint32_t index = (uint32_t)ELF64_R_SYM(section->relocs[k].r_info);
            const struct link_symbol *symbol = object->symbols[index];
            bool is_its_text =
                section->kind == LINK_SECTION_EH_FRAME && symbol->section && patch_is_text(symbol->section);
            m->is_wanted[index] |= !is_its_text;
        }
    }
    return NULL;
}

static struct crateld_error *place_symbols(struct matching *m)
{
    struct link_object *object = m->object->object;
    struct link_symbol *ignored;
    bool is_alone = m->link->objects.count == 1; /* nobody else refers to its symbols */
    /* Functions are listed by place before any of them becomes the base's. */
    TRY(link_function_symbol(m->link, &object->sections[0], 0, &ignored));
    TRY(find_wanted(m));
    for (uint32_t i = 1; i < object->symbol_count; i++) {
        struct link_symbol *symbol = object->symbols[i];
        if (symbol->state != LINK_SYMBOL_DEFINED || symbol->section->object != object || symbol->object != object ||
            (is_alone && !m->is_wanted[i] && is_bases(m, symbol->section)))
            continue;
        if (patch_is_text(symbol->section))
            link_report(m->link, place_code(m, symbol));
        else if (!patch_is_variable(symbol->section) && (symbol->section->flags & SHF_ALLOC))
            link_report(m->link, place_constant(m, symbol));
    }
    return place_sections(m);
}

/* Enters the objects with the modules that they are, new ones last: of which crate of a bundle they are is known from
 * the others. */
static struct crateld_error *enter_objects(struct link *link)
{
    struct link_patch *patch = link->patch;
    size_t known = 0;
    for (size_t i = 0; i < link->objects.count; i++) {
        struct patch_object object = {.object = link->objects.at[i]};
        struct crateld_error *error = find_module(link, object.object->path, &object.module, &object.is_new);
        if (error) {
            link_report(link, error);
            continue;
        }
        if (!VEC_PUSH(&patch->objects, object))
            return error_memory();
        if (object.is_new)
            continue;
        memmove(&patch->objects.at[known + 1], &patch->objects.at[known],
                (patch->objects.count - 1 - known) * sizeof object);
        patch->objects.at[known++] = object;
    }
    return patch_check_new_modules(link);
}

static struct crateld_error *match_object(struct link *link, struct patch_object *object)
{
    struct matching m = {.link = link, .object = object};
    hash_index_init(&m.own_section_names);
    struct crateld_error *error = patch_module_names(link->patch->base, &m.object->module, &m.module);
    if (!error) {
        m.symbols = m.module->symbols;
        error = match_sections(&m);
    }
    if (!error)
        error = place_symbols(&m);
    if (!error)
        error = patch_find_vanished(&m);
    hash_index_deinit(&m.own_section_names);
    return error;
}

static int compare_moves(const void *a, const void *b)
{
    const struct patch_move *x = a, *y = b;
    return (x->move.old_rva > y->move.old_rva) - (x->move.old_rva < y->move.old_rva);
}

static int compare_units(const void *a, const void *b)
{
    const struct crate_unit *x = a, *y = b;
    return (x->rva > y->rva) - (x->rva < y->rva);
}

static int compare_grown(const void *a, const void *b)
{
    const struct patch_grown *x = a, *y = b;
    return (x->grown.base_rva > y->grown.base_rva) - (x->grown.base_rva < y->grown.base_rva);
}

static int compare_inits(const void *a, const void *b)
{
    const struct patch_init *x = a, *y = b;
    return (x->init.base_rva > y->init.base_rva) - (x->init.base_rva < y->init.base_rva);
}

/* Several names of one variable are one. */
static void unite_inits(struct link_patch *patch)
{
    size_t count = 0;
    for (size_t i = 0; i < patch->inits.count; i++)
        if (!count || patch->inits.at[count - 1].init.base_rva != patch->inits.at[i].init.base_rva)
            patch->inits.at[count++] = patch->inits.at[i];
    patch->inits.count = count;
}

static void sort(void *at, size_t count, size_t size, int (*compare)(const void *, const void *))
{
    if (count) /* of an empty list there may be no first element */
        qsort(at, count, size, compare);
}

struct crateld_error *link_patch_match(struct link *link)
{
    struct link_patch *patch = link->patch;
    if (!patch)
        return NULL;
    TRY(enter_objects(link));
    for (size_t i = 0; i < patch->objects.count; i++)
        TRY(match_object(link, &patch->objects.at[i]));
    patch_find_options(link);
    sort(patch->moves.at, patch->moves.count, sizeof *patch->moves.at, compare_moves);
    sort(patch->units.at, patch->units.count, sizeof *patch->units.at, compare_units);
    sort(patch->inits.at, patch->inits.count, sizeof *patch->inits.at, compare_inits);
    unite_inits(patch);
    sort(patch->grown.at, patch->grown.count, sizeof *patch->grown.at, compare_grown);
    TRY(patch_find_sites(link));
    return patch_bind_undefined(link);
}

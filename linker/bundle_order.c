/* Where functions go in a bundle. What runs first lies together: the functions that a trace names, in its order; then
 * those that the entry and the initialisers lead to, near ones first; and the data that they refer to, in the same
 * order. All else stays as it stood in its crate. */
#include <string.h>

#include "base/hash.h"
#include "linker/bundle_member.h"
#include "linker/output.h"

struct ordering {
    struct link *link;
    VEC(struct link_section *) text; /* numbered sections of code, in their order */
    size_t next;                     /* those before it were followed */
    uint64_t data_count;
    struct hash_index names; /* of `functions` */
    VEC(struct bundle_function {
        struct bundle_member *member;
        const char *module; /* as messages call it */
        const struct relink_symbol *symbol;
    })
    functions;
};

/* Whether the section may go anywhere in its output. */
static bool is_free(const struct link_section *section)
{
    return section->is_live && section->record && section->order >= BUNDLE_ORDER_REST &&
           !(section->record->flags & (RELINK_SECTION_INIT | RELINK_SECTION_TLS)) && !link_is_set_name(section->name) &&
           strcmp(section->name, ".init") != 0 && strcmp(section->name, ".fini") != 0 && !strchr(section->name, ':');
}

static struct crateld_error *number_text(struct ordering *o, struct link_section *section)
{
    if (!(section->flags & SHF_EXECINSTR) || !is_free(section))
        return NULL;
    section->order = o->text.count;
    return VEC_PUSH(&o->text, section) ? NULL : error_memory();
}

/* Numbers what the section refers to. */
static struct crateld_error *follow(struct ordering *o, const struct link_section *section)
{
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(section->relocs[i].r_info)];
        if (symbol->state != LINK_SYMBOL_DEFINED || !symbol->section->record)
            continue;
        if (symbol->section->flags & SHF_EXECINSTR)
            TRY(number_text(o, symbol->section));
        else if (is_free(symbol->section))
            symbol->section->order = o->data_count++;
    }
    return NULL;
}

/* All that those which are numbered lead to. */
static struct crateld_error *follow_all(struct ordering *o)
{
    for (; o->next < o->text.count; o->next++)
        TRY(follow(o, o->text.at[o->next]));
    return NULL;
}

/* What runs before the entry: what the arrays of initialisers point at. */
static struct crateld_error *number_initialisers(struct ordering *o, const struct bundle_member *member)
{
    for (uint32_t i = 0; i < member->placed_count; i++)
        if (member->placed[i]->type == SHT_INIT_ARRAY || member->placed[i]->type == SHT_PREINIT_ARRAY)
            TRY(follow(o, member->placed[i]));
    return NULL;
}

static struct crateld_error *index_functions(struct ordering *o)
{
    for (size_t i = 0; i < o->link->bundle->count; i++) {
        struct bundle_member *member = o->link->bundle->members.at[i];
        for (uint32_t k = 0; k < member->relink.module_count; k++)
            for (uint32_t n = 0; n < member->modules[k].symbol_count; n++) {
                const struct relink_symbol *symbol = &member->records[k][n];
                struct bundle_function function = {member, member->objects[k]->path, symbol};
                if (symbol->where != RELINK_IN_SECTION || (symbol->type != STT_FUNC && symbol->type != STT_GNU_IFUNC))
                    continue;
                if (!VEC_PUSH(&o->functions, function) || !hash_index_add(&o->names, hash_string(symbol->name)))
                    return error_memory();
            }
    }
    return NULL;
}

/* A field of a line: up to a tab, which becomes its end. */
static char *take_field(char **rest)
{
    char *field = *rest;
    if (!field)
        return NULL;
    *rest = strchr(field, '\t');
    if (*rest)
        *(*rest)++ = '\0';
    return field;
}

/* A line: the crate, the module and the function. Numbers that; *found is left alone if there is no such function. */
static struct crateld_error *read_line(struct ordering *o, char *line, size_t number, bool *found)
{
    char *rest = line, *crate = take_field(&rest), *module = take_field(&rest), *name = take_field(&rest);
    size_t cursor = 0;
    uint32_t i;
    if (!name || rest)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s:%zu: wanted a crate, a module and a function, with tabs between them",
                            o->link->options->order, number);
    while ((i = hash_index_next(&o->names, hash_string(name), &cursor)) != HASH_INDEX_NONE) {
        const struct bundle_function *function = &o->functions.at[i];
        if (strcmp(function->symbol->name, name) != 0 || strcmp(function->member->name, crate) != 0 ||
            strcmp(function->module, module) != 0)
            continue;
        *found = true;
        TRY(number_text(o, function->member->sections[function->symbol->section]));
    }
    return NULL;
}

static struct crateld_error *read_lines(struct ordering *o, char *text)
{
    size_t number = 0, count = 0, missing = 0;
    for (char *line = text, *end; line && *line; line = end) {
        bool found = false;
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        number++;
        if (!*line || *line == '#')
            continue;
        TRY(read_line(o, line, number, &found));
        count++;
        missing += !found;
    }
    if (missing)
        link_warn(o->link, "%s: %zu of its %zu functions are not in the bundle: it is of another build",
                  o->link->options->order, missing, count);
    return NULL;
}

static struct crateld_error *read_order(struct ordering *o)
{
    struct file file;
    TRY(index_functions(o));
    TRY(file_open(o->link->options->order, &file));
    char *text = arena_strndup(&o->link->arena, (const char *)file.data.data, file.data.size);
    struct crateld_error *error = text ? read_lines(o, text) : error_memory();
    file_close(&file);
    return error;
}

static struct crateld_error *order_all(struct ordering *o)
{
    const struct link_bundle *bundle = o->link->bundle;
    if (o->link->options->order)
        TRY(read_order(o));
    TRY(follow_all(o));
    for (size_t i = 0; i < bundle->count; i++)
        if (!bundle->members.at[i]->is_late)
            TRY(number_initialisers(o, bundle->members.at[i]));
    if (o->link->entry)
        TRY(number_text(o, o->link->entry->section));
    return follow_all(o);
}

struct crateld_error *link_bundle_order(struct link *link)
{
    struct ordering ordering = {.link = link};
    hash_index_init(&ordering.names);
    struct crateld_error *error = order_all(&ordering);
    hash_index_deinit(&ordering.names);
    free(ordering.text.at);
    free(ordering.functions.at);
    return error;
}

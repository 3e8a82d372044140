#include "linker/gc.h"

#include <stdlib.h>
#include <string.h>

#include "linker/eh_frame.h"
#include "linker/own.h"
#include "linker/patch.h"

#ifndef SHF_GNU_RETAIN
#define SHF_GNU_RETAIN (1 << 21)
#endif

/* One thread's part in it. What is marked is the same whoever gets there first: each section is claimed once. */
struct marking {
    struct link *link;
    VEC(struct link_section *) work; /* owned; claimed, and what they refer to is not marked yet */
    bool is_out_of_memory;
};

/* Sets `*is_set`, which was false for one caller. */
static bool claim(bool *is_set)
{
    return !__atomic_load_n(is_set, __ATOMIC_RELAXED) && !__atomic_exchange_n(is_set, true, __ATOMIC_RELAXED);
}

static void mark_section(void *context, struct link_section *section)
{
    struct marking *marking = context;
    if (section->kind != LINK_SECTION_DROPPED && claim(&section->is_live) && !VEC_PUSH(&marking->work, section))
        marking->is_out_of_memory = true;
}

/* All sections that somebody walks from __start_ to __stop_. */
static void mark_bounds(struct marking *marking, struct link_marker *marker)
{
    const struct link *link = marking->link;
    if (!claim(&marker->is_marked))
        return;
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++)
            if (!strcmp(link->objects.at[i]->sections[k].name, marker->bounds_name))
                mark_section(marking, &link->objects.at[i]->sections[k]);
}

static void mark_symbol(struct marking *marking, const struct link_symbol *symbol)
{
    const struct link *link = marking->link;
    if (symbol->is_fresh)
        mark_section(marking, symbol->base->fresh);
    if (symbol->state != LINK_SYMBOL_DEFINED)
        return;
    struct link_marker *marker = symbol->section->object == &link->own ? link_own_marker(link, symbol->section) : NULL;
    if (marker && marker->bounds_name)
        mark_bounds(marking, marker);
    mark_section(marking, symbol->section);
}

static void mark_reloc(void *context, const struct link_section *from, const Elf64_Rela *reloc)
{
    const struct link_symbol *symbol = from->object->symbols[ELF64_R_SYM(reloc->r_info)];
    if (!symbol->is_exported) /* those have been marked, or will be */
        mark_symbol(context, symbol);
}

/* Sections that stay with the one they are linked to (SHF_LINK_ORDER). */
static void mark_linked(struct marking *marking, struct link_section *section)
{
    for (uint32_t i = section->first_linked; i; i = section->object->sections[i].next_linked)
        mark_section(marking, &section->object->sections[i]);
}

/* The sections of a group stay together (gABI ch. 4, "Section Groups"). */
static void mark_group(struct marking *marking, const struct link_section *section)
{
    struct link_group *group = section->group;
    if (!group || !claim(&group->is_live))
        return;
    for (uint32_t i = 0; i < group->member_count; i++) {
        struct link_section *member = &section->object->sections[group->members[i]];
        if (member->kind == LINK_SECTION_PLAIN || member->kind == LINK_SECTION_MERGE)
            mark_section(marking, member);
    }
}

static bool is_initialiser(const struct link_section *section)
{
    static const char *const names[] = {".init", ".fini",          ".ctors",      ".dtors",
                                        ".jcr",  ".preinit_array", ".init_array", ".fini_array"};
    if (section->type == SHT_INIT_ARRAY || section->type == SHT_FINI_ARRAY || section->type == SHT_PREINIT_ARRAY)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i]);
        if (!strncmp(section->name, names[i], length) && (!section->name[length] || section->name[length] == '.'))
            return true;
    }
    return false;
}

/* Marks what is live by what it is. Sections that are not loaded describe others and hold none of them alive.
 */
static void mark_roots_of(struct marking *marking, struct link_object *object)
{
    bool keeps_all = !marking->link->options->collect_garbage;
    for (uint32_t i = 1; i < object->section_count; i++) {
        struct link_section *section = &object->sections[i];
        if (section->kind == LINK_SECTION_DEBUG ||
            (section->kind == LINK_SECTION_MERGE && !(section->flags & SHF_ALLOC))) {
            __atomic_store_n(&section->is_live, true, __ATOMIC_RELAXED);
            continue;
        }
        if (section->kind != LINK_SECTION_PLAIN && section->kind != LINK_SECTION_MERGE)
            continue;
        bool is_linked = (section->flags & SHF_LINK_ORDER) && section->link;
        if (marking->link->patch) /* what it holds is decided: linker/patch.h */
            continue;
        if ((section->flags & SHF_GNU_RETAIN) ||
            (!is_linked && (keeps_all || is_initialiser(section) || section->type == SHT_NOTE)))
            mark_section(marking, section);
    }
}

/* Marks what the section's relocations refer to. */
static void mark_relocs(struct marking *marking, const struct link_section *section)
{
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        link_look_ahead(section, i);
        mark_reloc(marking, section, &section->relocs[i]);
    }
}

/* Goes on from what has been marked. */
static void follow(struct marking *marking)
{
    while (marking->work.count) {
        struct link_section *section = marking->work.at[--marking->work.count];
        if (marking->work.count > 1)
            link_look_beyond(marking->work.at[marking->work.count - 1], marking->work.at[marking->work.count - 2]);
        mark_relocs(marking, section);
        link_eh_frame_visit(marking->link, section, mark_reloc, marking);
        mark_linked(marking, section);
        if (!marking->link->patch) /* some of the group may be the base's */
            mark_group(marking, section);
    }
}

enum { SYMBOLS_A_TASK = 1024 };

/* Marks from the exported ones of some symbols on. */
static void mark_exported(struct marking *marking, size_t first)
{
    const struct link_symbol_table *symbols = &marking->link->symbols;
    for (size_t i = first; i < symbols->count && i < first + SYMBOLS_A_TASK; i++)
        if (symbols->at[i]->is_exported)
            mark_symbol(marking, symbols->at[i]);
}

/* Tasks: for each object, its roots; for each so many symbols, those. */
static struct crateld_error *mark_some(void *context, uint32_t worker, size_t task)
{
    struct marking *marking = (struct marking *)context + worker;
    size_t object_count = marking->link->objects.count;
    if (task < object_count)
        mark_roots_of(marking, marking->link->objects.at[task]);
    else
        mark_exported(marking, (task - object_count) * SYMBOLS_A_TASK);
    follow(marking);
    return NULL;
}

/* What is asked for by name. */
static void mark_named(struct marking *marking)
{
    const struct link *link = marking->link;
    if (link->entry)
        mark_symbol(marking, link->entry);
    if (link->patch)
        link_patch_roots(link, mark_section, marking);
    for (size_t i = 0; i < link->options->undefined_count; i++)
        mark_symbol(marking, link_symbol_table_find(&link->symbols, link->options->undefined[i]));
    follow(marking);
}

struct crateld_error *link_collect_garbage(struct link *link)
{
    struct marking markings[WORKERS_MAX];
    bool is_out_of_memory = false;
    size_t tasks = link->objects.count + (link->symbols.count + SYMBOLS_A_TASK - 1) / SYMBOLS_A_TASK;
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        markings[i] = (struct marking){.link = link};
    mark_named(&markings[0]);
    struct crateld_error *error = workers_run(link_workers_for(link, link->objects.count), tasks, mark_some, markings);
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        is_out_of_memory |= markings[i].is_out_of_memory;
        free(markings[i].work.at);
    }
    return is_out_of_memory && !error ? error_memory() : error;
}

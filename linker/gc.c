#include "linker/gc.h"

#include <stdlib.h>
#include <string.h>

#include "linker/eh_frame.h"
#include "linker/own.h"
#include "linker/patch.h"

#ifndef SHF_GNU_RETAIN
#define SHF_GNU_RETAIN (1 << 21)
#endif

struct marking {
    struct link *link;
    VEC(struct link_section *) work;
    bool is_out_of_memory;
};

/* link_eh_frame_visit() calls back with the link alone, so the marking in progress hangs on it. */
static void mark_section(struct link *link, struct link_section *section)
{
    struct marking *marking = link->marking;
    if (section->is_live || section->kind == LINK_SECTION_DROPPED)
        return;
    section->is_live = true;
    if (!VEC_PUSH(&marking->work, section))
        marking->is_out_of_memory = true;
}

/* All sections that somebody walks from __start_ to __stop_. */
static void mark_bounds(struct link *link, struct link_marker *marker)
{
    const char *name = marker->bounds_name;
    if (marker->is_marked)
        return;
    marker->is_marked = true;
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++)
            if (!strcmp(link->objects.at[i]->sections[k].name, name))
                mark_section(link, &link->objects.at[i]->sections[k]);
}

static void mark_symbol(struct link *link, const struct link_symbol *symbol)
{
    if (symbol->is_fresh)
        mark_section(link, symbol->base->fresh);
    if (symbol->state != LINK_SYMBOL_DEFINED)
        return;
    struct link_marker *marker = link_own_marker(link, symbol->section);
    if (marker && marker->bounds_name)
        mark_bounds(link, marker);
    mark_section(link, symbol->section);
}

static void mark_reloc(struct link *link, struct link_section *from, const Elf64_Rela *reloc)
{
    mark_symbol(link, from->object->symbols[ELF64_R_SYM(reloc->r_info)]);
}

/* Sections that stay with the one they are linked to (SHF_LINK_ORDER). */
static void mark_linked(struct link *link, struct link_section *section)
{
    for (uint32_t i = section->first_linked; i; i = section->object->sections[i].next_linked)
        mark_section(link, &section->object->sections[i]);
}

/* The sections of a group stay together (gABI ch. 4, "Section Groups"). */
static void mark_group(struct link *link, const struct link_section *section)
{
    struct link_group *group = section->group;
    if (!group || group->is_live)
        return;
    group->is_live = true;
    for (uint32_t i = 0; i < group->member_count; i++) {
        uint32_t member;
        memcpy(&member, group->members + 4 * i, 4);
        if (section->object->sections[member].kind == LINK_SECTION_PLAIN ||
            section->object->sections[member].kind == LINK_SECTION_MERGE)
            mark_section(link, &section->object->sections[member]);
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
static void mark_roots_of(struct link *link, struct link_object *object, bool keeps_all)
{
    for (uint32_t i = 1; i < object->section_count; i++) {
        struct link_section *section = &object->sections[i];
        if (section->kind == LINK_SECTION_DEBUG ||
            (section->kind == LINK_SECTION_MERGE && !(section->flags & SHF_ALLOC))) {
            section->is_live = true;
            continue;
        }
        if (section->kind != LINK_SECTION_PLAIN && section->kind != LINK_SECTION_MERGE)
            continue;
        bool is_linked = (section->flags & SHF_LINK_ORDER) && section->link;
        if (link->patch) /* what it holds is decided: linker/patch.h */
            continue;
        if ((section->flags & SHF_GNU_RETAIN) ||
            (!is_linked && (keeps_all || is_initialiser(section) || section->type == SHT_NOTE)))
            mark_section(link, section);
    }
}

static void mark_all(struct link *link)
{
    struct marking *marking = link->marking;
    for (size_t i = 0; i < link->objects.count; i++)
        mark_roots_of(link, link->objects.at[i], !link->options->collect_garbage);
    for (size_t i = 0; i < link->symbols.count; i++)
        if (link->symbols.at[i]->is_exported)
            mark_symbol(link, link->symbols.at[i]);
    if (link->entry)
        mark_symbol(link, link->entry);
    if (link->patch)
        link_patch_roots(link, mark_section);
    for (size_t i = 0; i < link->options->undefined_count; i++)
        mark_symbol(link, link_symbol_table_find(&link->symbols, link->options->undefined[i]));
    while (marking->work.count) {
        struct link_section *section = marking->work.at[--marking->work.count];
        for (uint32_t i = 0; i < section->reloc_count; i++)
            mark_reloc(link, section, &section->relocs[i]);
        link_eh_frame_visit(link, section, mark_reloc);
        mark_linked(link, section);
        if (!link->patch) /* some of the group may be the base's */
            mark_group(link, section);
    }
}

struct crateld_error *link_collect_garbage(struct link *link)
{
    struct marking marking = {.link = link};
    link->marking = &marking;
    mark_all(link);
    link->marking = NULL;
    free(marking.work.at);
    return marking.is_out_of_memory ? error_memory() : NULL;
}

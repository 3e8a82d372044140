#include "linker/leaked.h"

#include "linker/function.h"
#include "linker/patch.h"

/* Whether some relocation patches `off`; *next moves along with rising offsets. */
static bool is_relocated(const struct link_section *section, uint64_t off, uint32_t *next)
{
    while (*next < section->reloc_count && section->relocs[*next].r_offset < off)
        ++*next;
    return *next < section->reloc_count && section->relocs[*next].r_offset == off;
}

static struct crateld_error *mark(struct link *link, struct link_section *section, uint64_t value)
{
    bool is_start;
    struct link_function *function;
    TRY(link_function_is_start(link, section, value, &is_start));
    if (!is_start)
        return NULL;
    TRY(link_function_enter(link, section, value, &function));
    function->is_leaked = true;
    return link->patch ? link_patch_enter_leaked(link, function) : NULL;
}

static struct crateld_error *search_section(struct link *link, struct link_section *section)
{
    uint64_t at = 0, field;
    int64_t target;
    uint32_t next_reloc = 0;
    while (link->machine->next_code_address(section->data, &at, &field, &target))
        if (!is_relocated(section, field, &next_reloc) && target >= 0 && (uint64_t)target < section->data.size)
            TRY(mark(link, section, (uint64_t)target));
    return NULL;
}

struct crateld_error *link_find_leaked(struct link *link)
{
    if (!link->options->keep_relink && !link->patch)
        return NULL; /* there the address of plain code is the function anyway */
    for (size_t i = 0; i < link->objects.count; i++) {
        struct link_object *object = link->objects.at[i];
        for (uint32_t k = 1; k < object->section_count; k++) {
            struct link_section *section = &object->sections[k];
            if (section->kind == LINK_SECTION_PLAIN && section->is_live && !section->is_toc &&
                (section->flags & SHF_EXECINSTR))
                TRY(search_section(link, section));
        }
    }
    return NULL;
}

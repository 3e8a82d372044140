#include "linker/leaked.h"

#include <string.h>

#include "linker/function.h"

/* lea disp32(%rip), reg: a REX prefix with W set, 8d, a ModRM byte with mod 00 and r/m 101 (Intel SDM vol. 2, LEA). */
enum {
    REX_W_MASK = 0xf8, /* of 0x48: R, X and B may be anything, W is set */
    REX_W = 0x48,
    OPCODE_LEA = 0x8d,
    MODRM_RIP_MASK = 0xc7,
    MODRM_RIP = 0x05,
    LEA_SIZE = 6, /* opcode, ModRM, displacement */
};

/* Whether some relocation patches `off`; *next moves along with rising offsets. */
static bool is_relocated(const struct link_section *section, uint64_t off, uint32_t *next)
{
    while (*next < section->reloc_count && section->relocs[*next].r_offset < off)
        ++*next;
    return *next < section->reloc_count && section->relocs[*next].r_offset == off;
}

static bool is_lea(const struct span data, size_t at)
{
    return at > 0 && data.size - at >= LEA_SIZE && (data.data[at - 1] & REX_W_MASK) == REX_W &&
           (data.data[at + 1] & MODRM_RIP_MASK) == MODRM_RIP;
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
    return NULL;
}

static struct crateld_error *search_section(struct link *link, struct link_section *section)
{
    struct span data = section->data;
    uint32_t next_reloc = 0;
    TRY(link_sort_relocs(link, section));
    for (size_t at = 0; at < data.size; at++) {
        const uint8_t *found = memchr(data.data + at, OPCODE_LEA, data.size - at);
        if (!found)
            break;
        at = (size_t)(found - data.data);
        if (!is_lea(data, at) || is_relocated(section, at + 2, &next_reloc))
            continue;
        int32_t displacement;
        memcpy(&displacement, found + 2, 4);
        int64_t target = (int64_t)at + LEA_SIZE + displacement;
        if (target >= 0 && (uint64_t)target < data.size)
            TRY(mark(link, section, (uint64_t)target));
    }
    return NULL;
}

struct crateld_error *link_find_leaked(struct link *link)
{
    if (!link->options->keep_relink)
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

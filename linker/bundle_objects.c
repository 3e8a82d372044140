/* The objects of a bundle's crates get their relocations, and the symbols that those refer to. */
#include <elf.h>
#include <string.h>

#include "linker/bundle_member.h"

/* An object's symbols, as they are found to be needed; the crate's sections and symbols that have a number in it. */
struct making {
    struct link *link;
    struct bundle_member *member;
    struct link_object *object;
    VEC(struct link_symbol *) symbols;
    VEC(Elf64_Sym) elf_symbols;
    VEC(Elf32_Word) shndx;
    uint32_t *numbers;                 /* owned; by the crate's symbols: number in the object, 0: none yet */
    uint32_t *section_numbers;         /* owned; by the crate's sections: likewise, of what stands for them */
    VEC(uint32_t) used, used_sections; /* those that have one */
};

static struct crateld_error *append(struct making *m, struct link_symbol *symbol, uint32_t *ret)
{
    bool is_own = symbol->state == LINK_SYMBOL_DEFINED && symbol->section->object == m->object;
    Elf64_Sym elf = {.st_shndx = SHN_XINDEX, .st_value = symbol->value};
    elf.st_info = (unsigned char)ELF64_ST_INFO(symbol->binding, symbol->type);
    *ret = (uint32_t)m->symbols.count;
    if (!VEC_PUSH(&m->symbols, symbol) || !VEC_PUSH(&m->elf_symbols, elf) ||
        !VEC_PUSH(&m->shndx, is_own ? symbol->section->index : SHN_UNDEF))
        return error_memory();
    return NULL;
}

static struct crateld_error *use_symbol(struct making *m, uint32_t i, uint32_t *ret)
{
    if (i >= m->member->relink.header.symbol_count || !m->member->symbols[i])
        return error_create(CRATELD_ERROR_FORMAT, "%s: relink section: a relocation against symbol %u", m->member->path,
                            i);
    if (!m->numbers[i]) {
        TRY(append(m, m->member->symbols[i], &m->numbers[i]));
        if (!VEC_PUSH(&m->used, i))
            return error_memory();
    }
    *ret = m->numbers[i];
    return NULL;
}

/* The symbol that stands for the section, made if the crate's relink section has none. */
static struct crateld_error *section_symbol(struct link *link, struct bundle_member *member, uint32_t i,
                                            struct link_symbol **ret)
{
    struct link_symbol **symbol = &member->section_symbols[i];
    if (!*symbol) {
        *symbol = arena_alloc(&link->arena, sizeof **symbol);
        if (!*symbol)
            return error_memory();
        **symbol = (struct link_symbol){.name = "",
                                        .section = member->sections[i],
                                        .object = member->sections[i]->object,
                                        .provider = UINT32_MAX,
                                        .state = LINK_SYMBOL_DEFINED,
                                        .type = STT_SECTION,
                                        .is_local = true};
    }
    *ret = *symbol;
    return NULL;
}

static struct crateld_error *use_section(struct making *m, uint32_t i, uint32_t *ret)
{
    struct link_symbol *symbol;
    if (!m->section_numbers[i]) {
        TRY(section_symbol(m->link, m->member, i, &symbol));
        TRY(append(m, symbol, &m->section_numbers[i]));
        if (!VEC_PUSH(&m->used_sections, i))
            return error_memory();
    }
    *ret = m->section_numbers[i];
    return NULL;
}

/* The module's own symbols: the local ones first. */
static struct crateld_error *list_own_symbols(struct making *m, const struct relink_module *module)
{
    uint32_t number;
    TRY(append(m, &m->object->locals[0], &number));
    for (int globals = 0; globals < 2; globals++)
        for (uint32_t k = 0; k < module->symbol_count; k++) {
            uint32_t i = module->first_symbol + k;
            const struct relink_symbol *known = &m->member->records[module - m->member->modules][k];
            struct link_symbol *symbol = m->member->symbols[i];
            if ((known->binding != STB_LOCAL) != globals || !symbol)
                continue;
            TRY(use_symbol(m, i, &number));
        }
    return NULL;
}

static struct crateld_error *make_relocs(struct making *m, uint32_t number)
{
    struct link_section *section = m->member->sections[number];
    uint32_t count = section->record->reloc_count;
    struct relink_cursor cursor;
    if (!section->is_live || !count)
        return NULL;
    Elf64_Rela *relocs = arena_alloc_array(&m->link->arena, count, sizeof *relocs);
    if (!relocs)
        return error_memory();
    TRY(relink_view_relocs_in(&m->member->relink, number, 0, UINT32_MAX, &cursor));
    for (uint32_t i = 0; i < count; i++) {
        struct relink_reloc reloc;
        uint32_t symbol = 0;
        bool is_end;
        TRY(relink_cursor_next(&cursor, &reloc, &is_end));
        if (is_end)
            break;
        TRY(use_symbol(m, reloc.symbol, &symbol));
        if (reloc.off >= section->size)
            return error_create(CRATELD_ERROR_FORMAT, "%s: relink section: a relocation behind section %s",
                                m->member->path, section->name);
        relocs[section->reloc_count++] = (Elf64_Rela){
            .r_offset = reloc.off, .r_info = ELF64_R_INFO((uint64_t)symbol, reloc.type), .r_addend = reloc.addend};
    }
    section->relocs = relocs;
    return NULL;
}

/* The object's last section: what it has of the crate's unwind tables. */
static struct crateld_error *make_unwind(struct making *m, const struct bundle_unwind *unwind)
{
    struct link_section *section = &m->object->sections[m->object->section_count - 1];
    if (!unwind->bytes.count)
        return NULL;
    uint8_t *bytes = arena_alloc(&m->link->arena, unwind->bytes.count);
    Elf64_Rela *relocs = arena_alloc_array(&m->link->arena, unwind->relocs.count, sizeof *relocs);
    if (!bytes || !relocs)
        return error_memory();
    memcpy(bytes, unwind->bytes.at, unwind->bytes.count);
    for (size_t i = 0; i < unwind->relocs.count; i++) {
        uint32_t target = (uint32_t)ELF64_R_SYM(unwind->relocs.at[i].r_info), symbol = 0;
        relocs[i] = unwind->relocs.at[i];
        TRY(target & BUNDLE_UNWIND_SYMBOL ? use_symbol(m, target & ~(uint32_t)BUNDLE_UNWIND_SYMBOL, &symbol)
                                          : use_section(m, target, &symbol));
        relocs[i].r_info = ELF64_R_INFO((uint64_t)symbol, ELF64_R_TYPE(relocs[i].r_info));
    }
    *section = (struct link_section){
        .object = m->object,
        .name = ".eh_frame",
        .data = {bytes, unwind->bytes.count},
        .size = unwind->bytes.count,
        .flags = SHF_ALLOC,
        .type = SHT_PROGBITS,
        .index = section->index,
        .align_log2 = 3,
        .kind = LINK_SECTION_EH_FRAME,
        .relocs = relocs,
        .reloc_count = (uint32_t)unwind->relocs.count,
    };
    return NULL;
}

/* The object gets copies of what was gathered. */
static struct crateld_error *finish(struct making *m)
{
    size_t count = m->symbols.count;
    struct link_symbol **symbols = arena_alloc_array(&m->link->arena, count, sizeof *symbols);
    Elf64_Sym *elf_symbols = arena_alloc_array(&m->link->arena, count, sizeof *elf_symbols);
    Elf32_Word *shndx = arena_alloc_array(&m->link->arena, count, sizeof *shndx);
    if (!symbols || !elf_symbols || !shndx)
        return error_memory();
    memcpy(symbols, m->symbols.at, count * sizeof *symbols);
    memcpy(elf_symbols, m->elf_symbols.at, count * sizeof *elf_symbols);
    memcpy(shndx, m->shndx.at, count * sizeof *shndx);
    m->object->symbols = symbols;
    m->object->elf_symbols = elf_symbols;
    m->object->symbol_shndx = shndx;
    m->object->symbol_count = (uint32_t)count;
    m->symbols.count = m->elf_symbols.count = m->shndx.count = 0;
    for (size_t i = 0; i < m->used.count; i++)
        m->numbers[m->used.at[i]] = 0;
    for (size_t i = 0; i < m->used_sections.count; i++)
        m->section_numbers[m->used_sections.at[i]] = 0;
    m->used.count = m->used_sections.count = 0;
    return NULL;
}

static struct crateld_error *make_object(struct making *m, uint32_t i, const struct bundle_unwind *unwind)
{
    const struct relink_module *module = &m->member->modules[i];
    m->object = m->member->objects[i];
    TRY(list_own_symbols(m, module));
    for (uint32_t k = 0; k < module->section_count; k++)
        TRY(make_relocs(m, module->first_section + k));
    TRY(make_unwind(m, unwind));
    return finish(m);
}

static struct crateld_error *make_all(struct making *m, struct bundle_unwind *unwinds)
{
    if (!m->numbers || !m->section_numbers || !unwinds)
        return error_memory();
    TRY(bundle_read_unwind(m->link->machine, m->member, unwinds));
    for (uint32_t i = 0; i < m->member->relink.module_count; i++)
        TRY(make_object(m, i, &unwinds[i]));
    return NULL;
}

struct crateld_error *bundle_make_objects(struct link *link, struct bundle_member *member)
{
    struct bundle_unwind *unwinds = calloc(member->relink.module_count + 1, sizeof *unwinds);
    struct making making = {
        .link = link,
        .member = member,
        .numbers = calloc((size_t)member->relink.header.symbol_count + 1, sizeof(uint32_t)),
        .section_numbers = calloc((size_t)member->relink.section_count + 1, sizeof(uint32_t)),
    };
    struct crateld_error *error = make_all(&making, unwinds);
    for (uint32_t i = 0; unwinds && i < member->relink.module_count; i++) {
        free(unwinds[i].bytes.at);
        free(unwinds[i].relocs.at);
    }
    void *owned[] = {unwinds,        making.symbols.at,      making.elf_symbols.at, making.shndx.at,
                     making.numbers, making.section_numbers, making.used.at,        making.used_sections.at};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    return error;
}

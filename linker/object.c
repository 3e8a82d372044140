#include "linker/object.h"

#include <stdlib.h>
#include <string.h>

#include "crateld/reload.h"
#include "crateld/toc_record.h"
#include "linker/compressed.h"

/* The ELF header, as far as it decides whether this is an object for us. */
static struct crateld_error *check_header(const char *path, struct span image, uint16_t machine)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)(const void *)image.data;
    if (image.size < EI_NIDENT || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return error_create(CRATELD_ERROR_FORMAT, "%s: damaged ELF header: it does not begin as ELF files do", path);
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: ELF class %u, data encoding %u; wanted 64-bit little-endian",
                            path, header->e_ident[EI_CLASS], header->e_ident[EI_DATA]);
    if (image.size < sizeof *header)
        return error_create(CRATELD_ERROR_FORMAT, "%s: damaged ELF header: the file ends in it", path);
    if (header->e_machine != machine)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: object of machine %u, wanted %u", path, header->e_machine,
                            machine);
    if (header->e_type != ET_REL)
        return error_create(CRATELD_ERROR_FORMAT, "%s: ELF type %u, wanted a relocatable object (%u)", path,
                            header->e_type, ET_REL);
    return NULL;
}

struct reading {
    struct arena *arena;
    struct link_object *object;
    const Elf64_Shdr *headers; /* in the image */
    uint32_t header_count;
    struct span section_names;
};

/* Of section number `i` of the file, as in all that follows. */
static struct crateld_error *section_error(const struct reading *r, uint32_t i, const char *what)
{
    const char *name = span_string(r->section_names, r->headers[i].sh_name);
    return error_create(CRATELD_ERROR_FORMAT, "%s: section %u (%s): %s", r->object->path, i, name ? name : "?", what);
}

/* Whether the section is about others, and only looked at here. */
static bool is_table(const Elf64_Shdr *header)
{
    switch (header->sh_type) {
    case SHT_NULL:
    case SHT_SYMTAB:
    case SHT_STRTAB:
    case SHT_RELA:
    case SHT_REL:
    case SHT_GROUP:
    case SHT_SYMTAB_SHNDX:
        return true;
    default:
        return false;
    }
}

/* What the section holds, which is known to lie within the file. */
static struct span contents_of(const struct reading *r, uint32_t i)
{
    const Elf64_Shdr *header = &r->headers[i];
    if (header->sh_type == SHT_NOBITS || header->sh_type == SHT_NULL)
        return (struct span){0};
    return (struct span){r->object->image.data + header->sh_offset, header->sh_size};
}

/* What becomes of a section of the name, whatever its contents; LINK_SECTION_PLAIN: that the name does not say. */
static uint8_t kind_by_name(const char *name)
{
    if (name[0] != '.' || !strchr("cegln", name[1])) /* most are of text, data and relocations */
        return LINK_SECTION_PLAIN;
    if (!strcmp(name, CRATELD_TOC_RECORD_SECTION))
        return LINK_SECTION_TOC_RECORDS;
    if (!strcmp(name, CRATELD_ON_CHANGE_SECTION))
        return LINK_SECTION_ON_CHANGE;
    if (!strcmp(name, ".note.GNU-stack") || !strcmp(name, ".note.gnu.property") ||
        !strcmp(name, ".note.GNU-split-stack") || !strcmp(name, ".note.GNU-no-split-stack") ||
        !strncmp(name, ".gnu.lto_", 9) || !strncmp(name, ".gnu.debuglto_", 14) || !strncmp(name, ".gnu.warning.", 13) ||
        !strncmp(name, ".llvm", 5) || !strcmp(name, ".comment"))
        return LINK_SECTION_DROPPED;
    return !strcmp(name, ".eh_frame") ? LINK_SECTION_EH_FRAME : LINK_SECTION_PLAIN;
}

/* What becomes of a section, by its type, flags and name. */
static uint8_t kind_of(const Elf64_Shdr *header, const char *name)
{
    bool is_alloc = header->sh_flags & SHF_ALLOC;
    uint8_t kind = kind_by_name(name);
    if (kind == LINK_SECTION_TOC_RECORDS || kind == LINK_SECTION_ON_CHANGE)
        return kind;
    if (header->sh_flags & SHF_EXCLUDE)
        return LINK_SECTION_DROPPED;
    if (kind != LINK_SECTION_PLAIN)
        return kind;
    if ((header->sh_flags & SHF_MERGE) && header->sh_entsize && header->sh_entsize <= UINT32_MAX && header->sh_size &&
        !(header->sh_flags & SHF_WRITE) && header->sh_type != SHT_NOBITS)
        return LINK_SECTION_MERGE;
    return is_alloc ? LINK_SECTION_PLAIN : LINK_SECTION_DEBUG;
}

/* Whether `name` is `base`, or `base` with a dot and more. */
static bool has_base_name(const char *name, const char *base)
{
    size_t length = strlen(base);
    return !strncmp(name, base, length) && (!name[length] || name[length] == '.');
}

/* Expands a section of SHF_COMPRESSED into the arena. */
static struct crateld_error *expand(struct reading *r, uint32_t i, struct link_section *section)
{
    uint64_t align;
    struct crateld_error *error = compressed_expand(r->arena, section->data, &section->data, &align);
    if (error)
        return error_prefix(error, "%s: section %u (%s)", r->object->path, i, section->name);
    section->size = section->data.size;
    section->align_log2 = (uint8_t)__builtin_ctzll(align);
    section->flags &= ~(uint64_t)SHF_COMPRESSED;
    return NULL;
}

/* What holds of every section, and is relied on. */
static struct crateld_error *check_section(const struct reading *r, uint32_t i)
{
    const Elf64_Shdr *header = &r->headers[i];
    uint64_t align = header->sh_addralign;
    if (!span_string(r->section_names, header->sh_name))
        return section_error(r, i, "its name lies outside the section name table");
    if ((align & (align - 1)) || align > (UINT64_C(1) << 31))
        return section_error(r, i, "its alignment is not a power of two below 2^32");
    if (header->sh_type != SHT_NOBITS && header->sh_type != SHT_NULL &&
        !span_has(r->object->image, header->sh_offset, header->sh_size))
        return section_error(r, i, "its contents lie outside the file (truncated?)");
    if (header->sh_size > (UINT64_C(1) << 40))
        return section_error(r, i, "its size is absurd");
    return NULL;
}

static struct crateld_error *read_section(struct reading *r, uint32_t i)
{
    const Elf64_Shdr *header = &r->headers[i];
    struct link_object *object = r->object;
    struct link_section *section = &object->sections[object->section_numbers[i]];
    section->object = object;
    section->index = object->section_numbers[i];
    section->name = span_string(r->section_names, header->sh_name);
    section->type = header->sh_type;
    section->flags = header->sh_flags;
    section->size = header->sh_size;
    section->link = header->sh_link < r->header_count ? object->section_numbers[header->sh_link] : 0;
    section->entry_size = header->sh_entsize <= UINT32_MAX ? (uint32_t)header->sh_entsize : 0;
    section->align_log2 = (uint8_t)__builtin_ctzll(header->sh_addralign > 1 ? header->sh_addralign : 1);
    section->data = contents_of(r, i);
    section->kind = kind_of(header, section->name);
    if ((section->flags & SHF_TLS) && section->kind != LINK_SECTION_DROPPED &&
        (section->flags & (SHF_ALLOC | SHF_EXECINSTR)) != SHF_ALLOC)
        return section_error(r, i, "thread-locals that are code, or not loaded");
    if ((section->flags & SHF_COMPRESSED) && section->kind != LINK_SECTION_DROPPED)
        TRY(expand(r, i, section));
    section->is_reversed = section->kind == LINK_SECTION_PLAIN && section->size % 8 == 0 &&
                           (has_base_name(section->name, ".ctors") || has_base_name(section->name, ".dtors"));
    if (section->kind == LINK_SECTION_MERGE && (!section->entry_size || section->size % section->entry_size))
        section->kind = (section->flags & SHF_ALLOC) ? LINK_SECTION_PLAIN : LINK_SECTION_DEBUG;
    return NULL;
}

/* The symbol table: bounds, and every symbol's name and section index. */
static struct crateld_error *read_symbols(struct reading *r, uint32_t i)
{
    const Elf64_Shdr *header = &r->headers[i];
    struct link_object *object = r->object;
    struct span contents = contents_of(r, i);
    if (object->elf_symbols)
        return section_error(r, i, "a second symbol table");
    if (header->sh_entsize != sizeof(Elf64_Sym) || contents.size % sizeof(Elf64_Sym) ||
        (uintptr_t)contents.data % _Alignof(Elf64_Sym))
        return section_error(r, i, "entry size or alignment is not that of a symbol table");
    object->elf_symbols = (const Elf64_Sym *)(const void *)contents.data;
    size_t count = contents.size / sizeof(Elf64_Sym);
    if (count > UINT32_MAX / 2 || header->sh_info > count)
        return section_error(r, i, "its number of local symbols is above its number of symbols");
    object->symbol_count = (uint32_t)count;
    object->first_global = header->sh_info;
    if (header->sh_link >= r->header_count || r->headers[header->sh_link].sh_type != SHT_STRTAB)
        return section_error(r, i, "its string table is missing");
    object->symbol_names = contents_of(r, header->sh_link);
    if (object->symbol_names.size && object->symbol_names.data[object->symbol_names.size - 1])
        return section_error(r, header->sh_link, "does not end with a NUL");
    return NULL;
}

static struct crateld_error *symbol_error(const struct link_object *object, uint32_t i, const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "%s: symbol %u (%s): %s", object->path, i,
                        link_object_symbol_name(object, i), what);
}

/* What a symbol's type promises of its section. */
static struct crateld_error *check_type(const struct link_object *object, uint32_t i)
{
    const Elf64_Sym *symbol = &object->elf_symbols[i];
    const struct link_section *section = &object->sections[link_object_symbol_section(object, i)];
    uint8_t type = ELF64_ST_TYPE(symbol->st_info);
    bool is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
    if (type == STT_TLS && !(section->flags & SHF_TLS))
        return symbol_error(object, i, "a thread-local symbol in a section without thread-locals");
    if (type == STT_GNU_IFUNC && !(section->flags & SHF_EXECINSTR))
        return symbol_error(object, i, "an indirect function that is no code");
    if ((is_function || type == STT_TLS) && symbol->st_value > section->size)
        return symbol_error(object, i, "it lies outside its section");
    return NULL;
}

/* Symbol `i`: its name, and its section's index. */
static struct crateld_error *check_symbol(const struct reading *r, uint32_t i)
{
    const struct link_object *object = r->object;
    const Elf64_Sym *symbol = &object->elf_symbols[i];
    if (symbol->st_name >= object->symbol_names.size && symbol->st_name)
        return error_create(CRATELD_ERROR_FORMAT, "%s: symbol %u: its name lies outside the string table", object->path,
                            i);
    uint8_t binding = ELF64_ST_BIND(symbol->st_info), type = ELF64_ST_TYPE(symbol->st_info);
    if ((i < object->first_global) != (binding == STB_LOCAL))
        return symbol_error(object, i, "a local symbol among the global ones, or a global one among the local");
    if ((binding > STB_WEAK && binding != STB_GNU_UNIQUE) || (type > STT_TLS && type != STT_GNU_IFUNC))
        return symbol_error(object, i, "its binding or its type is unknown");
    if (i >= object->first_global && !*link_object_symbol_name(object, i))
        return symbol_error(object, i, "a global symbol without a name");
    uint32_t section = symbol->st_shndx;
    if (section == SHN_XINDEX) {
        if (!object->symbol_shndx)
            return symbol_error(object, i, "SHN_XINDEX without an index table");
        section = object->symbol_shndx[i];
    } else if (section >= SHN_LORESERVE) {
        if (section == SHN_ABS || section == SHN_COMMON)
            return NULL;
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: symbol %u (%s): unknown section index 0x%x", object->path,
                            i, link_object_symbol_name(object, i), section);
    }
    if (section >= r->header_count)
        return error_create(CRATELD_ERROR_FORMAT, "%s: symbol %u: section index %u, and there are %u sections",
                            object->path, i, section, r->header_count);
    return object->section_numbers[section] ? check_type(object, i) : NULL;
}

static struct crateld_error *check_symbols(const struct reading *r)
{
    for (uint32_t i = 0; i < r->object->symbol_count; i++)
        TRY(check_symbol(r, i));
    return NULL;
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = ((const Elf64_Rela *)a)->r_offset, y = ((const Elf64_Rela *)b)->r_offset;
    return (x > y) - (x < y);
}

/* Sorts a section's relocations by offset, which compilers nearly always did. */
static struct crateld_error *sort_relocs(struct arena *arena, struct link_section *section)
{
    Elf64_Rela *sorted = arena_alloc_array(arena, section->reloc_count, sizeof *sorted);
    if (!sorted)
        return error_memory();
    memcpy(sorted, section->relocs, section->reloc_count * sizeof *sorted);
    qsort(sorted, section->reloc_count, sizeof *sorted, compare_offsets);
    section->relocs = sorted;
    return NULL;
}

static struct crateld_error *read_relocs(struct reading *r, uint32_t i)
{
    const Elf64_Shdr *header = &r->headers[i];
    struct span contents = contents_of(r, i);
    if (header->sh_type == SHT_REL)
        return section_error(r, i, "SHT_REL relocations, which x86-64 does not use");
    if (header->sh_info >= r->header_count || !header->sh_info)
        return section_error(r, i, "it relocates a section that does not exist");
    if (header->sh_entsize != sizeof(Elf64_Rela) || contents.size % sizeof(Elf64_Rela) ||
        (uintptr_t)contents.data % _Alignof(Elf64_Rela) || contents.size / sizeof(Elf64_Rela) > UINT32_MAX)
        return section_error(r, i, "entry size or alignment is not that of relocations");
    struct link_section *target = &r->object->sections[r->object->section_numbers[header->sh_info]];
    if (!target->index || target->kind == LINK_SECTION_DROPPED)
        return NULL;
    if (target->relocs)
        return section_error(r, i, "a second set of relocations for one section");
    target->relocs = (const Elf64_Rela *)(const void *)contents.data;
    target->reloc_count = (uint32_t)(contents.size / sizeof(Elf64_Rela));
    bool is_sorted = true;
    for (uint32_t k = 0; k < target->reloc_count; k++) {
        is_sorted &= !k || target->relocs[k - 1].r_offset <= target->relocs[k].r_offset;
        if (target->relocs[k].r_offset >= target->size ||
            ELF64_R_SYM(target->relocs[k].r_info) >= r->object->symbol_count)
            return error_create(CRATELD_ERROR_FORMAT, "%s: %s[%u]: offset 0x%llx or symbol %llu does not exist",
                                r->object->path, span_string(r->section_names, header->sh_name), k,
                                (unsigned long long)target->relocs[k].r_offset,
                                (unsigned long long)ELF64_R_SYM(target->relocs[k].r_info));
    }
    for (uint32_t k = 0; k < target->reloc_count && target->is_reversed; k++)
        if (target->relocs[k].r_offset % 8)
            return section_error(r, header->sh_info, "initialisers with a relocation that is not on one of them");
    if (!is_sorted)
        TRY(sort_relocs(r->arena, target));
    /* Merging pieces would tear relocated contents apart. */
    if (target->reloc_count && target->kind == LINK_SECTION_MERGE)
        target->kind = (target->flags & SHF_ALLOC) ? LINK_SECTION_PLAIN : LINK_SECTION_DEBUG;
    return NULL;
}

static struct crateld_error *read_group(struct reading *r, uint32_t i, struct link_group *ret)
{
    const Elf64_Shdr *header = &r->headers[i];
    struct link_object *object = r->object;
    struct span data = contents_of(r, i);
    uint32_t flags, member;
    if (data.size % 4 || !span_read(data, 0, &flags, 4) || header->sh_info >= object->symbol_count)
        return section_error(r, i, "a damaged section group");
    *ret = (struct link_group){
        .signature = link_object_symbol_name(object, header->sh_info),
        .members = arena_alloc_array(r->arena, data.size / 4, sizeof *ret->members),
        .is_comdat = flags & GRP_COMDAT,
    };
    if (!ret->members)
        return error_memory();
    /* Old assemblers sign a group by a section symbol: then the section's name is the signature. */
    uint32_t signer = link_object_symbol_section(object, header->sh_info);
    if (ELF64_ST_TYPE(object->elf_symbols[header->sh_info].st_info) == STT_SECTION && signer < LINK_RESERVED)
        ret->signature = object->sections[signer].name;
    for (uint64_t off = 4; off < data.size; off += 4) {
        memcpy(&member, data.data + off, 4);
        if (member >= r->header_count)
            return section_error(r, i, "a group member does not exist");
        struct link_section *section = &object->sections[object->section_numbers[member]];
        if (!section->index) /* relocations of a member */
            continue;
        section->in_group = true;
        section->group = ret;
        ret->members[ret->member_count++] = section->index;
    }
    return NULL;
}

static struct crateld_error *read_groups(struct reading *r)
{
    struct link_object *object = r->object;
    uint32_t count = 0;
    for (uint32_t i = 1; i < r->header_count; i++)
        count += r->headers[i].sh_type == SHT_GROUP;
    if (!count)
        return NULL;
    object->groups = arena_alloc_array(r->arena, count, sizeof *object->groups);
    if (!object->groups)
        return error_memory();
    for (uint32_t i = 1; i < r->header_count; i++)
        if (r->headers[i].sh_type == SHT_GROUP)
            TRY(read_group(r, i, &object->groups[object->group_count++]));
    return NULL;
}

/* Hangs the sections of SHF_LINK_ORDER on those that they go with. */
static void chain_linked(struct link_object *object)
{
    for (uint32_t i = object->section_count; i-- > 1;) {
        struct link_section *section = &object->sections[i];
        if (!(section->flags & SHF_LINK_ORDER) || !section->link)
            continue;
        section->next_linked = object->sections[section->link].first_linked;
        object->sections[section->link].first_linked = i;
    }
}

/* Sections that share bytes would let a small file ask for any amount of work and memory. */
static struct crateld_error *check_overlap(const struct reading *r)
{
    uint64_t left = r->object->image.size;
    for (uint32_t i = 1; i < r->header_count; i++) {
        if (r->headers[i].sh_type == SHT_NOBITS || r->headers[i].sh_type == SHT_NULL)
            continue;
        if (r->headers[i].sh_size > left)
            return error_create(CRATELD_ERROR_FORMAT, "%s: its sections overlap, or lie outside the file (truncated?)",
                                r->object->path);
        left -= r->headers[i].sh_size;
    }
    return NULL;
}

/* Gives each section that is no table its number, and reads them. */
static struct crateld_error *read_sections(struct reading *r)
{
    struct link_object *object = r->object;
    object->section_numbers = arena_alloc_array(r->arena, r->header_count, sizeof *object->section_numbers);
    if (!object->section_numbers)
        return error_memory();
    object->section_count = 1;
    for (uint32_t i = 1; i < r->header_count; i++) {
        TRY(check_section(r, i));
        if (!is_table(&r->headers[i]))
            object->section_numbers[i] = object->section_count++;
    }
    object->sections = arena_alloc_array(r->arena, object->section_count, sizeof *object->sections);
    if (!object->sections)
        return error_memory();
    object->sections[0] = (struct link_section){.object = object, .name = ""};
    for (uint32_t i = 1; i < r->header_count; i++) {
        if (!object->section_numbers[i])
            continue;
        TRY(read_section(r, i));
        const char *name = object->sections[object->section_numbers[i]].name;
        if (!strncmp(name, ".gnu.lto_", 9))
            object->is_lto = true;
        if (!strcmp(name, ".note.GNU-stack") && (r->headers[i].sh_flags & SHF_EXECINSTR))
            object->has_exec_stack = true;
    }
    return NULL;
}

static struct crateld_error *read_all_sections(struct reading *r)
{
    struct link_object *object = r->object;
    struct span indices = {0};
    uint32_t indices_number = 0;
    TRY(check_overlap(r));
    TRY(read_sections(r));
    for (uint32_t i = 1; i < r->header_count; i++) {
        if (r->headers[i].sh_type == SHT_SYMTAB)
            TRY(read_symbols(r, i));
        if (r->headers[i].sh_type == SHT_SYMTAB_SHNDX) {
            indices = contents_of(r, i);
            indices_number = i;
        }
    }
    if (indices_number && (indices.size / 4 < object->symbol_count || (uintptr_t)indices.data % 4))
        return section_error(r, indices_number, "shorter than the symbol table");
    object->symbol_shndx = (const Elf32_Word *)(const void *)indices.data;
    TRY(check_symbols(r));
    TRY(read_groups(r));
    chain_linked(object);
    for (uint32_t i = 1; i < r->header_count; i++)
        if (r->headers[i].sh_type == SHT_RELA || r->headers[i].sh_type == SHT_REL)
            TRY(read_relocs(r, i));
    return NULL;
}

/* Finds the section header table. What the ELF header has no room for is in the first section's header (gABI, chapter
 * 4). */
static struct crateld_error *find_headers(struct reading *r)
{
    const struct link_object *object = r->object;
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)(const void *)object->image.data;
    if (!header->e_shoff || header->e_shentsize != sizeof(Elf64_Shdr))
        return error_create(CRATELD_ERROR_FORMAT, "%s: section header table is missing or damaged", object->path);
    if (!span_has(object->image, header->e_shoff, sizeof(Elf64_Shdr)) || header->e_shoff % 8)
        return error_create(CRATELD_ERROR_FORMAT, "%s: section header table lies outside the file (truncated?)",
                            object->path);
    r->headers = (const Elf64_Shdr *)(const void *)(object->image.data + header->e_shoff);
    uint64_t count = header->e_shnum ? header->e_shnum : r->headers->sh_size;
    uint64_t names = header->e_shstrndx == SHN_XINDEX ? r->headers->sh_link : header->e_shstrndx;
    if (!count || count > UINT32_MAX / 2 || names >= count)
        return error_create(CRATELD_ERROR_FORMAT, "%s: section header table is missing or damaged", object->path);
    if (!span_has(object->image, header->e_shoff, count * sizeof(Elf64_Shdr)))
        return error_create(CRATELD_ERROR_FORMAT, "%s: section header table lies outside the file (truncated?)",
                            object->path);
    r->header_count = (uint32_t)count;
    if (!span_slice(object->image, r->headers[names].sh_offset, r->headers[names].sh_size, &r->section_names))
        return error_create(CRATELD_ERROR_FORMAT, "%s: section name table lies outside the file", object->path);
    return NULL;
}

struct crateld_error *link_object_read(struct arena *arena, const char *path, struct span image, uint16_t machine,
                                       struct link_object *ret)
{
    struct reading reading = {.arena = arena, .object = ret};
    *ret = (struct link_object){.path = path, .image = image};
    TRY(check_header(path, image, machine));
    TRY(find_headers(&reading));
    return read_all_sections(&reading);
}

struct crateld_error *link_object_align(struct arena *arena, struct span *image)
{
    if ((uintptr_t)image->data % 8 == 0)
        return NULL;
    uint8_t *copy = arena_alloc(arena, image->size);
    if (!copy)
        return error_memory();
    memcpy(copy, image->data, image->size);
    image->data = copy;
    return NULL;
}

uint32_t link_object_symbol_section(const struct link_object *object, uint32_t i)
{
    uint32_t section = object->elf_symbols[i].st_shndx;
    if (section == SHN_XINDEX)
        section = object->symbol_shndx[i];
    else if (section >= SHN_LORESERVE)
        return section | LINK_RESERVED;
    return object->section_numbers ? object->section_numbers[section] : section;
}

const char *link_object_symbol_name(const struct link_object *object, uint32_t i)
{
    uint32_t name = object->elf_symbols[i].st_name;
    return name < object->symbol_names.size ? (const char *)object->symbol_names.data + name : "";
}

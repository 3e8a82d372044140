#include "linker/debug_info.h"

#include <dwarf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 64,         /* of scopes in scopes */
    MAX_ENTRIES = 64 << 20, /* of units that are looked at */
};

struct debug_info {
    uint8_t *image; /* owned; NULL: the file is another's */
    uint64_t size;  /* of the image */
    Elf *elf;       /* owned */
    Dwarf *dwarf;   /* owned */
};

/* The sections that say what types are. */
static const char *const wanted_names[] = {
    ".debug_info",     ".debug_types",       ".debug_abbrev", ".debug_str",
    ".debug_line_str", ".debug_str_offsets", ".debug_addr",
};
enum { WANTED_COUNT = sizeof wanted_names / sizeof *wanted_names };

void debug_info_close(struct debug_info *info)
{
    if (!info)
        return;
    dwarf_end(info->dwarf);
    elf_end(info->elf);
    free(info->image);
    free(info);
}

/* Takes over `image`, which may be NULL. */
static struct crateld_error *open_image(struct span file, uint8_t *image, struct debug_info **ret)
{
    *ret = NULL;
    struct debug_info *info = calloc(1, sizeof *info);
    if (!info) {
        free(image);
        return error_memory();
    }
    info->image = image;
    info->size = file.size;
    elf_version(EV_CURRENT);
    /* libelf takes a writable pointer and does not write to images opened for reading. */
    info->elf = elf_memory((char *)(uintptr_t)file.data, file.size);
    info->dwarf = info->elf ? dwarf_begin_elf(info->elf, DWARF_C_READ, NULL) : NULL;
    if (info->dwarf)
        *ret = info;
    else
        debug_info_close(info);
    return NULL;
}

struct crateld_error *debug_info_open_file(struct span file, struct debug_info **ret)
{
    return open_image(file, NULL, ret);
}

/* Relocation. libdw wants a file whose sections are relocated, and one of each name, where an object has a further one
 * in each section group. So the wanted sections are put together in an ELF file of their own. */

struct assembly {
    const struct link_object *object;
    const struct reloc_machine *machine;
    uint64_t *places; /* by section index: where in its output section it begins, + 1; 0: it is not wanted */
    uint64_t sizes[WANTED_COUNT]; /* of the output sections */
    uint64_t offs[WANTED_COUNT];  /* in the file */
    uint64_t size;
    uint8_t *image;
};

static int wanted_index(const struct link_section *section)
{
    if (!section->data.size || section->flags & SHF_ALLOC || strncmp(section->name, ".debug_", 7) != 0)
        return -1;
    for (int i = 0; i < WANTED_COUNT; i++)
        if (!strcmp(section->name, wanted_names[i]))
            return i;
    return -1;
}

static uint64_t align_up(uint64_t value)
{
    return (value + 7) & ~UINT64_C(7);
}

/* Decides what goes where. */
static void lay_out(struct assembly *a)
{
    for (uint32_t i = 1; i < a->object->section_count; i++) {
        int wanted = wanted_index(&a->object->sections[i]);
        if (wanted < 0)
            continue;
        a->places[i] = a->sizes[wanted] + 1;
        a->sizes[wanted] += a->object->sections[i].data.size;
    }
    a->size = sizeof(Elf64_Ehdr);
    for (int i = 0; i < WANTED_COUNT; i++) {
        a->offs[i] = a->size;
        a->size = align_up(a->size + a->sizes[i]);
    }
}

uint64_t debug_info_address(const struct link_object *object, uint32_t section, uint64_t value)
{
    uint64_t off = 0;
    if (!(object->sections[section].flags & SHF_TLS))
        return ((uint64_t)section << 32) + value;
    for (uint32_t i = 1; i < section; i++)
        if (object->sections[i].flags & SHF_TLS)
            off += object->sections[i].size;
    return off + value;
}

/* What the relocation's symbol is worth, as it stands in the object: resolution may have changed it since. */
static uint64_t symbol_value(const struct assembly *a, uint32_t symbol)
{
    uint32_t section = link_object_symbol_section(a->object, symbol);
    uint64_t value = a->object->elf_symbols[symbol].st_value;
    if (section >= LINK_RESERVED || !section)
        return section == LINK_SHN_ABS ? value : 0;
    return a->places[section] ? a->places[section] - 1 + value : debug_info_address(a->object, section, value);
}

static void relocate(const struct assembly *a, const struct link_section *section, uint8_t *bytes)
{
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        const Elf64_Rela *reloc = &section->relocs[i];
        const struct reloc_howto *howto = a->machine->howto((uint32_t)ELF64_R_TYPE(reloc->r_info));
        uint64_t value =
            symbol_value(a, (uint32_t)ELF64_R_SYM(reloc->r_info)) + (uint64_t)reloc->r_addend; /* little-endian */
        bool is_known = howto->formula == RELOC_ABSOLUTE || howto->formula == RELOC_TLS_BLOCK;
        if (is_known && span_has(section->data, reloc->r_offset, howto->size))
            memcpy(bytes + reloc->r_offset, &value, howto->size);
    }
}

static void copy_sections(const struct assembly *a)
{
    for (uint32_t i = 1; i < a->object->section_count; i++) {
        const struct link_section *section = &a->object->sections[i];
        if (!a->places[i])
            continue;
        uint8_t *bytes = a->image + a->offs[wanted_index(section)] + a->places[i] - 1;
        memcpy(bytes, section->data.data, section->data.size);
        relocate(a, section, bytes);
    }
}

/* The headers: a section for each that is wanted, and one for their names. */
static void write_headers(const struct assembly *a, uint64_t names_off, uint64_t table_off)
{
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = a->machine->elf_machine,
        .e_version = EV_CURRENT,
        .e_shoff = table_off,
        .e_ehsize = sizeof header,
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = WANTED_COUNT + 2,
        .e_shstrndx = WANTED_COUNT + 1,
    };
    Elf64_Shdr sections[WANTED_COUNT + 2] = {0};
    uint64_t at = 1;
    for (int i = 0; i < WANTED_COUNT; i++) {
        sections[i + 1] = (Elf64_Shdr){.sh_name = (Elf64_Word)at,
                                       .sh_type = SHT_PROGBITS,
                                       .sh_offset = a->offs[i],
                                       .sh_size = a->sizes[i],
                                       .sh_addralign = 1};
        strcpy((char *)a->image + names_off + at, wanted_names[i]);
        at += strlen(wanted_names[i]) + 1;
    }
    sections[WANTED_COUNT + 1] =
        (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_offset = names_off, .sh_size = at, .sh_addralign = 1};
    memcpy(a->image, &header, sizeof header);
    memcpy(a->image + table_off, sections, sizeof sections);
}

static struct crateld_error *assemble(struct assembly *a)
{
    uint64_t names_size = 1;
    lay_out(a);
    for (int i = 0; i < WANTED_COUNT; i++)
        names_size += strlen(wanted_names[i]) + 1;
    uint64_t names_off = a->size, table_off = align_up(names_off + names_size);
    a->size = table_off + (WANTED_COUNT + 2) * sizeof(Elf64_Shdr);
    a->image = calloc(1, a->size);
    if (!a->image)
        return error_memory();
    copy_sections(a);
    write_headers(a, names_off, table_off);
    return NULL;
}

static bool has_info(const struct link_object *object)
{
    for (uint32_t i = 1; i < object->section_count; i++)
        if (object->sections[i].data.size && !strcmp(object->sections[i].name, ".debug_info"))
            return true;
    return false;
}

struct crateld_error *debug_info_open_object(const struct link_object *object, const struct reloc_machine *machine,
                                             struct debug_info **info, bool *is_same)
{
    struct assembly a = {.object = object, .machine = machine};
    struct debug_info *before = *info;
    struct crateld_error *error = NULL;
    if (has_info(object)) {
        a.places = calloc(object->section_count, sizeof *a.places);
        error = a.places ? assemble(&a) : error_memory();
        free(a.places);
    }
    *is_same = !error && a.image && before && before->size == a.size && !memcmp(before->image, a.image, a.size);
    if (*is_same) {
        free(a.image);
        return NULL;
    }
    debug_info_close(before);
    *info = NULL;
    return error || !a.image ? error : open_image((struct span){a.image, a.size}, a.image, info);
}

/* Variables. */

struct walk {
    struct debug_variables *variables;
    uint64_t budget; /* of entries: damaged ones may refer to each other in circles */
};

static bool is_expression(Dwarf_Attribute *attribute)
{
    switch (dwarf_whatform(attribute)) {
    case DW_FORM_exprloc:
    case DW_FORM_block:
    case DW_FORM_block1:
    case DW_FORM_block2:
    case DW_FORM_block4:
        return true;
    default:
        return false;
    }
}

/* The address or number that the expression's first operation gives. */
static bool read_operand(Dwarf_Attribute *location, const Dwarf_Op *operation, uint64_t *ret)
{
    Dwarf_Attribute indexed;
    Dwarf_Addr address;
    Dwarf_Word word;
    switch (operation->atom) {
    case DW_OP_addr:
    case DW_OP_const4u:
    case DW_OP_const8u:
    case DW_OP_const4s:
    case DW_OP_const8s:
        *ret = operation->number;
        return true;
    case DW_OP_addrx:
    case DW_OP_GNU_addr_index:
        if (dwarf_getlocation_attr(location, operation, &indexed) != 0 || dwarf_formaddr(&indexed, &address) != 0)
            return false;
        *ret = address;
        return true;
    case DW_OP_constx:
    case DW_OP_GNU_const_index:
        if (dwarf_getlocation_attr(location, operation, &indexed) != 0 || dwarf_formudata(&indexed, &word) != 0)
            return false;
        *ret = word;
        return true;
    default:
        return false;
    }
}

static bool is_address(const Dwarf_Op *operation)
{
    return operation->atom == DW_OP_addr || operation->atom == DW_OP_addrx || operation->atom == DW_OP_GNU_addr_index;
}

static bool is_tls(const Dwarf_Op *operation)
{
    return operation->atom == DW_OP_form_tls_address || operation->atom == DW_OP_GNU_push_tls_address;
}

static bool is_piece(const Dwarf_Op *operation)
{
    return operation->atom == DW_OP_piece || operation->atom == DW_OP_bit_piece;
}

/* Compilers put the parts of a struct that nobody refers to as a whole where they like: each is a variable then. */
static struct crateld_error *add_places(const struct walk *walk, Dwarf_Attribute *location, Dwarf_Die type)
{
    Dwarf_Op *operations;
    size_t count;
    if (!is_expression(location) || dwarf_getlocation(location, &operations, &count) != 0)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct debug_variable variable = {.type = type};
        size_t end = i + 1;
        variable.is_thread_local = end < count && is_tls(&operations[end]);
        end += variable.is_thread_local;
        bool is_place =
            (variable.is_thread_local || is_address(&operations[i])) && (end == count || is_piece(&operations[end]));
        if (is_place && read_operand(location, &operations[i], &variable.address) &&
            !VEC_PUSH(&walk->variables->list, variable))
            return error_memory();
    }
    return NULL;
}

static struct crateld_error *add_variable(const struct walk *walk, Dwarf_Die *die)
{
    Dwarf_Attribute location, attribute;
    Dwarf_Die type;
    if (!dwarf_attr(die, DW_AT_location, &location) || !dwarf_attr_integrate(die, DW_AT_type, &attribute) ||
        !dwarf_formref_die(&attribute, &type))
        return NULL;
    return add_places(walk, &location, type);
}

/* Variables are in scopes, and scopes in scopes. */
static struct crateld_error *walk_scope(struct walk *walk, Dwarf_Die *scope, int depth)
{
    Dwarf_Die die;
    if (depth == MAX_DEPTH || dwarf_child(scope, &die) != 0)
        return NULL;
    do {
        switch (dwarf_tag(&die)) {
        case DW_TAG_variable:
            TRY(add_variable(walk, &die));
            break;
        case DW_TAG_namespace:
        case DW_TAG_subprogram:
            if (dwarf_haschildren(&die) > 0 && !VEC_PUSH(&walk->variables->functions, die))
                return error_memory();
            break;
        case DW_TAG_lexical_block:
        case DW_TAG_module:
            TRY(walk_scope(walk, &die, depth + 1));
            break;
        default:
            break;
        }
    } while (walk->budget && walk->budget-- && dwarf_siblingof(&die, &die) == 0);
    return NULL;
}

static int compare_variables(const void *a, const void *b)
{
    const struct debug_variable *x = a, *y = b;
    return (x->address > y->address) - (x->address < y->address);
}

static void sort(struct debug_variables *variables)
{
    if (variables->list.count)
        qsort(variables->list.at, variables->list.count, sizeof *variables->list.at, compare_variables);
}

static struct crateld_error *walk_unit(struct walk *walk, Dwarf_Die *unit, bool *is_missing)
{
    Dwarf_Die split;
    uint8_t kind;
    if (dwarf_cu_info(unit->cu, NULL, &kind, NULL, &split, NULL, NULL, NULL) != 0)
        return NULL;
    if (kind != DW_UT_skeleton)
        return walk_scope(walk, unit, 0);
    *is_missing |= !split.addr;
    return split.addr ? walk_scope(walk, &split, 0) : NULL;
}

struct crateld_error *debug_info_variables(struct debug_info *info, uint64_t off, uint64_t size,
                                           struct debug_variables *ret, bool *is_missing)
{
    Dwarf_Off at = off, next;
    size_t header_size;
    struct walk walk = {ret, MAX_ENTRIES};
    while (at - off < size &&
           dwarf_next_unit(info->dwarf, at, &next, &header_size, NULL, NULL, NULL, NULL, NULL, NULL) == 0) {
        Dwarf_Die unit;
        if (dwarf_offdie(info->dwarf, at + header_size, &unit))
            TRY(walk_unit(&walk, &unit, is_missing));
        if (next <= at)
            break;
        at = next;
    }
    sort(ret);
    return NULL;
}

static bool find_known(const struct debug_variables *variables, uint64_t address, bool is_thread_local, Dwarf_Die *ret)
{
    size_t low = 0, high = variables->list.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (variables->list.at[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < variables->list.count && variables->list.at[low].address == address; low++)
        if (variables->list.at[low].is_thread_local == is_thread_local) {
            *ret = variables->list.at[low].type;
            return true;
        }
    return false;
}

/* Looks for variables in functions, and in functions of those. */
static struct crateld_error *walk_functions(struct debug_variables *variables)
{
    struct walk walk = {variables, MAX_ENTRIES};
    for (size_t i = 0; i < variables->functions.count; i++) {
        Dwarf_Die function = variables->functions.at[i];
        TRY(walk_scope(&walk, &function, 0));
    }
    variables->functions.count = 0;
    sort(variables);
    return NULL;
}

struct crateld_error *debug_variables_find(struct debug_variables *variables, uint64_t address, bool is_thread_local,
                                           Dwarf_Die *ret, bool *is_found)
{
    *is_found = find_known(variables, address, is_thread_local, ret);
    if (*is_found || !variables->functions.count)
        return NULL;
    TRY(walk_functions(variables));
    *is_found = find_known(variables, address, is_thread_local, ret);
    return NULL;
}

void debug_variables_deinit(struct debug_variables *variables)
{
    free(variables->list.at);
    free(variables->functions.at);
}

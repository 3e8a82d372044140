/* What a bundle's functions are called in the sources, and where their code comes from.
 *
 * The crates' own debug information says so of other addresses, in sections that name each other by offsets, and the
 * relink section has no relocations of what is not loaded. So it is read as any debugger reads it, and the part that
 * says which line an instruction is of, and which function, is written anew: a unit for each of the crates' units
 * (DWARF 4: chapters 3, 6.1, 6.2, 7). The addresses in it are relocated as those of objects are.
 */
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <libelf.h>
#include <string.h>

#include "linker/bundle_member.h"

enum part { PART_ABBREV, PART_INFO, PART_LINE, PART_RANGES, PART_ARANGES, PART_COUNT };

static const char *const part_names[PART_COUNT] = {
    [PART_ABBREV] = ".debug_abbrev", [PART_INFO] = ".debug_info",       [PART_LINE] = ".debug_line",
    [PART_RANGES] = ".debug_ranges", [PART_ARANGES] = ".debug_aranges",
};

enum {
    VERSION = 4,
    ARANGES_VERSION = 2,
    LINE_BASE = -5, /* of the line numbers' differences that one byte tells: as GNU as has it */
    LINE_RANGE = 14,
    OPCODE_BASE = 13,
};

enum abbrev { ABBREV_UNIT = 1, ABBREV_FUNCTION, ABBREV_LINKED_FUNCTION };

/* The forms of what is written into .debug_info. */
static const uint8_t abbrevs[] = {
    /* clang-format off */
    ABBREV_UNIT, DW_TAG_compile_unit, DW_CHILDREN_yes,
    DW_AT_name, DW_FORM_string,
    DW_AT_comp_dir, DW_FORM_string,
    DW_AT_language, DW_FORM_data2,
    DW_AT_stmt_list, DW_FORM_sec_offset,
    DW_AT_low_pc, DW_FORM_addr,
    DW_AT_ranges, DW_FORM_sec_offset,
    0, 0,
    ABBREV_FUNCTION, DW_TAG_subprogram, DW_CHILDREN_no,
    DW_AT_name, DW_FORM_string,
    DW_AT_external, DW_FORM_flag,
    DW_AT_low_pc, DW_FORM_addr,
    DW_AT_high_pc, DW_FORM_data8,
    0, 0,
    ABBREV_LINKED_FUNCTION, DW_TAG_subprogram, DW_CHILDREN_no,
    DW_AT_name, DW_FORM_string,
    DW_AT_external, DW_FORM_flag,
    DW_AT_low_pc, DW_FORM_addr,
    DW_AT_high_pc, DW_FORM_data8,
    DW_AT_linkage_name, DW_FORM_string,
    0, 0,
    0,
    /* clang-format on */
};

struct bytes {
    VEC(uint8_t) bytes;
    VEC(Elf64_Rela) relocs;
};

/* Code of one section, from one row with an address to the end. */
struct sequence {
    uint32_t symbol; /* of its section */
    uint64_t off;    /* in the section */
    uint64_t size;
};

struct writing {
    struct link *link;
    const struct bundle_member *member; /* whose debug information is read */
    struct bytes parts[PART_COUNT];     /* owned */
    struct bytes program;               /* owned; of the unit's line table */
    VEC(struct link_symbol *) symbols;  /* owned; that the relocations are against */
    VEC(const char *) files;            /* owned; of the unit, borrowed from its line table */
    VEC(struct sequence) sequences;     /* owned; of the unit */
    bool is_out_of_memory;
};

static void put(struct writing *w, struct bytes *part, const void *bytes, size_t size)
{
    if (!size)
        return;
    if (w->is_out_of_memory || !VEC_RESERVE(&part->bytes, size) || !part->bytes.at) {
        w->is_out_of_memory = true;
        return;
    }
    memcpy(part->bytes.at + part->bytes.count, bytes, size);
    part->bytes.count += size;
}

static void put_number(struct writing *w, struct bytes *part, uint64_t value, size_t size)
{
    put(w, part, &value, size); /* little-endian */
}

static void put_uleb(struct writing *w, struct bytes *part, uint64_t value)
{
    do {
        put_number(w, part, (value & 0x7f) | (value > 0x7f ? 0x80 : 0), 1);
        value >>= 7;
    } while (value);
}

static void put_sleb(struct writing *w, struct bytes *part, int64_t value)
{
    for (bool is_last = false; !is_last;) {
        uint8_t byte = value & 0x7f;
        value = value < 0 ? ~(~value >> 7) : value >> 7;
        is_last = (!value && !(byte & 0x40)) || (value == -1 && byte & 0x40);
        put_number(w, part, byte | (is_last ? 0 : 0x80), 1);
    }
}

static void put_string(struct writing *w, struct bytes *part, const char *text)
{
    put(w, part, text, strlen(text) + 1);
}

/* An address, and its relocation. */
static void put_address(struct writing *w, struct bytes *part, uint32_t symbol, uint64_t off)
{
    Elf64_Rela reloc = {part->bytes.count, ELF64_R_INFO((uint64_t)symbol, w->link->machine->type_word), (int64_t)off};
    w->is_out_of_memory |= !VEC_PUSH(&part->relocs, reloc);
    put_number(w, part, 0, 8);
}

/* Sets the unit's length, which stands at `off` and counts what is behind it. */
static void set_length(struct writing *w, struct bytes *part, size_t off)
{
    uint32_t length = (uint32_t)(part->bytes.count - off - 4);
    if (!w->is_out_of_memory)
        memcpy(part->bytes.at + off, &length, sizeof length);
}

/* Places. */

/* Finds the section of code that holds [address, address + size) in the crate; false if none does, as where the code
 * was left out. */
static bool find_code(struct writing *w, uint64_t address, uint64_t size, struct sequence *ret)
{
    uint64_t base = w->member->view.header.preferred_base;
    struct link_section *section = address >= base ? bundle_section_at(w->member, address - base) : NULL;
    if (!section || !section->is_live || !(section->flags & SHF_EXECINSTR))
        return false;
    uint64_t off = address - base - section->record->rva;
    if (off >= section->size || size > section->size - off)
        return false;
    struct link_symbol *symbol = w->symbols.count ? w->symbols.at[w->symbols.count - 1] : NULL;
    if (!symbol || symbol->section != section) {
        symbol = arena_alloc(&w->link->arena, sizeof *symbol);
        if (!symbol || !VEC_PUSH(&w->symbols, symbol)) {
            w->is_out_of_memory = true;
            return false;
        }
        *symbol = (struct link_symbol){.name = "",
                                       .section = section,
                                       .object = section->object,
                                       .provider = UINT32_MAX,
                                       .state = LINK_SYMBOL_DEFINED,
                                       .type = STT_SECTION,
                                       .is_local = true};
    }
    *ret = (struct sequence){(uint32_t)w->symbols.count - 1, off, size};
    return true;
}

/* Lines. */

/* The number of a file of the unit's; the names that libdw gives are the same for the same file. */
static uint32_t file_number(struct writing *w, const char *name)
{
    for (size_t i = w->files.count; i; i--)
        if (w->files.at[i - 1] == name || !strcmp(w->files.at[i - 1], name))
            return (uint32_t)i;
    w->is_out_of_memory |= !VEC_PUSH(&w->files, name);
    return (uint32_t)w->files.count;
}

struct row {
    uint64_t address;
    int64_t line;
    uint32_t file;
    bool is_statement, is_prologue_end, is_end;
};

static bool read_row(struct writing *w, Dwarf_Line *line, struct row *ret)
{
    Dwarf_Addr address;
    int number;
    const char *file = dwarf_linesrc(line, NULL, NULL);
    if (!file || dwarf_lineaddr(line, &address) || dwarf_lineno(line, &number) ||
        dwarf_linebeginstatement(line, &ret->is_statement) || dwarf_lineprologueend(line, &ret->is_prologue_end) ||
        dwarf_lineendsequence(line, &ret->is_end))
        return false;
    ret->address = address;
    ret->line = number;
    ret->file = ret->is_end ? 0 : file_number(w, file);
    return true;
}

static void put_row(struct writing *w, struct row *state, const struct row *row)
{
    struct bytes *program = &w->program;
    uint64_t advance = row->address - state->address;
    int64_t difference = row->line - state->line;
    if (row->file != state->file) {
        put_number(w, program, DW_LNS_set_file, 1);
        put_uleb(w, program, row->file);
    }
    if (row->is_statement != state->is_statement)
        put_number(w, program, DW_LNS_negate_stmt, 1);
    if (row->is_prologue_end)
        put_number(w, program, DW_LNS_set_prologue_end, 1);
    if (difference < LINE_BASE || difference >= LINE_BASE + LINE_RANGE) {
        put_number(w, program, DW_LNS_advance_line, 1);
        put_sleb(w, program, difference);
        difference = 0;
    }
    uint64_t most = (uint64_t)(255 - OPCODE_BASE - (difference - LINE_BASE)) / LINE_RANGE;
    if (advance > most) {
        put_number(w, program, DW_LNS_advance_pc, 1);
        put_uleb(w, program, advance);
        advance = 0;
    }
    put_number(w, program, (uint64_t)(difference - LINE_BASE + OPCODE_BASE) + advance * LINE_RANGE, 1);
    *state = *row;
}

/* Writes the rows [first, last], of which the last one only tells where the code ends. libdw has sorted them, with ends
 * before other rows of their address: so a sequence's last rows may have come to stand before the next one. */
static void put_sequence(struct writing *w, Dwarf_Lines *lines, size_t first, size_t last)
{
    struct row row, end, state = {.line = 1, .file = 1, .is_statement = true};
    struct sequence sequence;
    bool is_code = false;
    if (!read_row(w, dwarf_onesrcline(lines, last), &end))
        return;
    for (; first < last && !is_code; first += !is_code)
        is_code = read_row(w, dwarf_onesrcline(lines, first), &row) && row.address < end.address &&
                  find_code(w, row.address, end.address - row.address, &sequence);
    if (!is_code)
        return;
    put_number(w, &w->program, 0, 1);
    put_uleb(w, &w->program, 9);
    put_number(w, &w->program, DW_LNE_set_address, 1);
    put_address(w, &w->program, sequence.symbol, sequence.off);
    state.address = row.address;
    for (size_t i = first; i < last; i++)
        if (read_row(w, dwarf_onesrcline(lines, i), &row) && row.address >= state.address && row.address < end.address)
            put_row(w, &state, &row);
    put_number(w, &w->program, DW_LNS_advance_pc, 1);
    put_uleb(w, &w->program, end.address - state.address);
    put_number(w, &w->program, 0, 1);
    put_uleb(w, &w->program, 1);
    put_number(w, &w->program, DW_LNE_end_sequence, 1);
    w->is_out_of_memory |= !VEC_PUSH(&w->sequences, sequence);
}

static void put_program(struct writing *w, Dwarf_Die *unit)
{
    Dwarf_Lines *lines;
    size_t count, first = 0;
    if (dwarf_getsrclines(unit, &lines, &count))
        return;
    for (size_t i = 0; i < count; i++) {
        bool is_end;
        if (dwarf_lineendsequence(dwarf_onesrcline(lines, i), &is_end) || !is_end)
            continue;
        if (i > first)
            put_sequence(w, lines, first, i);
        first = i + 1;
    }
}

/* The unit's line table: its head, and its program. */
static void put_line_table(struct writing *w, const char *folder)
{
    static const uint8_t operand_counts[OPCODE_BASE - 1] = {0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1};
    struct bytes *part = &w->parts[PART_LINE];
    size_t start = part->bytes.count, folder_length = strlen(folder);
    put_number(w, part, 0, 4);
    put_number(w, part, VERSION, 2);
    size_t head = part->bytes.count;
    put_number(w, part, 0, 4);
    put_number(w, part, 1, 1); /* bytes of the shortest instruction */
    put_number(w, part, 1, 1); /* operations in one */
    put_number(w, part, 1, 1); /* rows begin statements, unless it is said */
    put_number(w, part, (uint8_t)LINE_BASE, 1);
    put_number(w, part, LINE_RANGE, 1);
    put_number(w, part, OPCODE_BASE, 1);
    put(w, part, operand_counts, sizeof operand_counts);
    put_number(w, part, 0, 1); /* no folders but the unit's */
    for (size_t i = 0; i < w->files.count; i++) {
        const char *file = w->files.at[i];
        bool is_in_folder = folder_length && !strncmp(file, folder, folder_length) && file[folder_length] == '/' &&
                            file[folder_length + 1];
        put_string(w, part, is_in_folder ? file + folder_length + 1 : file);
        put_number(w, part, 0, 3); /* folder, time, size */
    }
    put_number(w, part, 0, 1);
    set_length(w, part, head);
    for (size_t i = 0; i < w->program.relocs.count; i++) {
        Elf64_Rela reloc = w->program.relocs.at[i];
        reloc.r_offset += part->bytes.count;
        w->is_out_of_memory |= !VEC_PUSH(&part->relocs, reloc);
    }
    put(w, part, w->program.bytes.at, w->program.bytes.count);
    set_length(w, part, start);
}

/* Functions and units. */

static int put_function(Dwarf_Die *function, void *context)
{
    struct writing *w = context;
    struct bytes *part = &w->parts[PART_INFO];
    Dwarf_Addr low, high;
    Dwarf_Attribute attribute;
    struct sequence place;
    bool is_external = false;
    const char *name = dwarf_diename(function);
    if (!name || dwarf_entrypc(function, &low))
        return DWARF_CB_OK;
    if (dwarf_highpc(function, &high)) { /* in pieces: the one with the entry */
        Dwarf_Addr base, start, end;
        ptrdiff_t off = 0;
        high = low;
        while ((off = dwarf_ranges(function, off, &base, &start, &end)) > 0)
            high = start <= low && low < end ? end : high;
    }
    if (high <= low || !find_code(w, low, high - low, &place))
        return DWARF_CB_OK;
    if (dwarf_attr_integrate(function, DW_AT_external, &attribute))
        (void)dwarf_formflag(&attribute, &is_external);
    const char *linkage =
        dwarf_attr_integrate(function, DW_AT_linkage_name, &attribute) ? dwarf_formstring(&attribute) : NULL;
    put_uleb(w, part, linkage ? ABBREV_LINKED_FUNCTION : ABBREV_FUNCTION);
    put_string(w, part, name);
    put_number(w, part, is_external, 1);
    put_address(w, part, place.symbol, place.off);
    put_number(w, part, place.size, 8);
    if (linkage)
        put_string(w, part, linkage);
    return DWARF_CB_OK;
}

static void put_ranges(struct writing *w, size_t unit)
{
    struct bytes *ranges = &w->parts[PART_RANGES], *aranges = &w->parts[PART_ARANGES];
    size_t start = aranges->bytes.count;
    put_number(w, aranges, 0, 4);
    put_number(w, aranges, ARANGES_VERSION, 2);
    put_number(w, aranges, unit, 4);
    put_number(w, aranges, 8, 1); /* bytes of an address */
    put_number(w, aranges, 0, 1); /* no segments */
    put_number(w, aranges, 0, 4); /* up to a multiple of 16 */
    for (size_t i = 0; i < w->sequences.count; i++) {
        struct sequence sequence = w->sequences.at[i];
        put_address(w, ranges, sequence.symbol, sequence.off);
        put_address(w, ranges, sequence.symbol, sequence.off + sequence.size);
        put_address(w, aranges, sequence.symbol, sequence.off);
        put_number(w, aranges, sequence.size, 8);
    }
    for (int i = 0; i < 2; i++) {
        put_number(w, ranges, 0, 8);
        put_number(w, aranges, 0, 8);
    }
    set_length(w, aranges, start);
}

static const char *string_of(Dwarf_Die *unit, unsigned name)
{
    Dwarf_Attribute attribute;
    const char *text = dwarf_attr(unit, name, &attribute) ? dwarf_formstring(&attribute) : NULL;
    return text ? text : "";
}

static void put_unit(struct writing *w, Dwarf_Die *unit)
{
    struct bytes *part = &w->parts[PART_INFO];
    size_t start = part->bytes.count, line_off = w->parts[PART_LINE].bytes.count;
    size_t ranges_off = w->parts[PART_RANGES].bytes.count;
    const char *folder = string_of(unit, DW_AT_comp_dir);
    w->program.bytes.count = w->program.relocs.count = w->files.count = w->sequences.count = 0;
    put_program(w, unit);
    if (!w->sequences.count)
        return;
    put_line_table(w, folder);
    put_ranges(w, start);
    put_number(w, part, 0, 4);
    put_number(w, part, VERSION, 2);
    put_number(w, part, 0, 4); /* all units have the same abbreviations */
    put_number(w, part, 8, 1); /* bytes of an address */
    int language = dwarf_srclang(unit);
    put_uleb(w, part, ABBREV_UNIT);
    put_string(w, part, string_of(unit, DW_AT_name));
    put_string(w, part, folder);
    put_number(w, part, (uint64_t)(language < 0 ? 0 : language), 2);
    put_number(w, part, line_off, 4);
    put_number(w, part, 0, 8); /* the base of its ranges */
    put_number(w, part, ranges_off, 4);
    (void)dwarf_getfuncs(unit, put_function, w, 0);
    put_number(w, part, 0, 1);
    set_length(w, part, start);
}

/* Reads what the crate has; where that is missing or damaged, there are no lines. */
static void put_member(struct writing *w)
{
    elf_version(EV_CURRENT);
    /* libelf takes a writable pointer and does not write to images opened for reading. */
    Elf *elf = elf_memory((char *)(uintptr_t)w->member->bytes.data, w->member->bytes.size);
    Dwarf *dwarf = elf ? dwarf_begin_elf(elf, DWARF_C_READ, NULL) : NULL;
    Dwarf_CU *cu = NULL;
    Dwarf_Die unit;
    uint8_t kind;
    while (dwarf && !w->is_out_of_memory && !dwarf_get_units(dwarf, cu, &cu, NULL, &kind, &unit, NULL))
        if (kind == DW_UT_compile || kind == DW_UT_skeleton)
            put_unit(w, &unit);
    dwarf_end(dwarf);
    elf_end(elf);
}

/* Makes sections of what has been written. */
static struct crateld_error *add_sections(struct writing *w)
{
    struct arena *arena = &w->link->arena;
    struct link_object *object = arena_alloc(arena, sizeof *object);
    struct link_symbol **symbols = arena_alloc_array(arena, w->symbols.count, sizeof(struct link_symbol *));
    if (!object || !symbols)
        return error_memory();
    memcpy(symbols, w->symbols.at, w->symbols.count * sizeof(struct link_symbol *));
    object->path = w->link->options->output;
    object->symbols = symbols;
    for (int i = 0; i < PART_COUNT; i++) {
        struct bytes *part = &w->parts[i];
        struct link_section *section = arena_alloc(arena, sizeof *section);
        uint8_t *bytes = arena_alloc_bytes(arena, part->bytes.count);
        Elf64_Rela *relocs = arena_alloc_array(arena, part->relocs.count, sizeof *relocs);
        if (!section || !bytes || !relocs || !VEC_PUSH(&w->link->own_sections, section))
            return error_memory();
        memcpy(bytes, part->bytes.at, part->bytes.count);
        if (part->relocs.count)
            memcpy(relocs, part->relocs.at, part->relocs.count * sizeof *relocs);
        *section = (struct link_section){
            .object = object,
            .name = part_names[i],
            .data = {bytes, part->bytes.count},
            .size = part->bytes.count,
            .type = SHT_PROGBITS,
            .kind = LINK_SECTION_DEBUG,
            .is_live = true,
            .relocs = relocs,
            .reloc_count = (uint32_t)part->relocs.count,
        };
    }
    return NULL;
}

struct crateld_error *link_bundle_lines(struct link *link)
{
    struct writing w = {.link = link};
    if (link->options->is_strip_debug)
        return NULL;
    put(&w, &w.parts[PART_ABBREV], abbrevs, sizeof abbrevs);
    for (size_t i = 0; i < link->bundle->count && !w.is_out_of_memory; i++) {
        w.member = link->bundle->members.at[i];
        put_member(&w);
    }
    struct crateld_error *error = w.is_out_of_memory               ? error_memory()
                                  : w.parts[PART_INFO].bytes.count ? add_sections(&w)
                                                                   : NULL;
    for (int i = 0; i < PART_COUNT; i++) {
        free(w.parts[i].bytes.at);
        free(w.parts[i].relocs.at);
    }
    void *owned[] = {w.program.bytes.at, w.program.relocs.at, w.symbols.at, w.files.at, w.sequences.at};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    return error;
}

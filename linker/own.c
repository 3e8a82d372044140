#include "linker/own.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "crateld/toc.h"
#include "linker/output.h"
#include "linker/patch.h"
#include "linker/resolve.h"
#include "toc/stubs.h"

static const struct {
    const char *name;
    enum link_place place;
} own_symbols[] = {
    {"_TOC_", LINK_PLACE_TOC},
    {"_GLOBAL_OFFSET_TABLE_", LINK_PLACE_TOC},
    {"__dso_handle", LINK_PLACE_TOC_CRATE},
    {"_TLS_MODULE_BASE_", LINK_PLACE_TLS_START}, /* of local-dynamic code that uses TLS descriptors */
    {"__ehdr_start", LINK_PLACE_IMAGE_START},
    {"__executable_start", LINK_PLACE_IMAGE_START},
    {"etext", LINK_PLACE_TEXT_END},
    {"_etext", LINK_PLACE_TEXT_END},
    {"__etext", LINK_PLACE_TEXT_END},
    {"edata", LINK_PLACE_DATA_END},
    {"_edata", LINK_PLACE_DATA_END},
    {"__bss_start", LINK_PLACE_BSS_START},
    {"end", LINK_PLACE_IMAGE_END},
    {"_end", LINK_PLACE_IMAGE_END},
    {"__preinit_array_start", LINK_PLACE_PREINIT_START},
    {"__preinit_array_end", LINK_PLACE_PREINIT_END},
    {"__init_array_start", LINK_PLACE_INIT_START},
    {"__init_array_end", LINK_PLACE_INIT_END},
    {"__fini_array_start", LINK_PLACE_FINI_START},
    {"__fini_array_end", LINK_PLACE_FINI_END},
};

struct crateld_error *link_own_section(struct link *link, const char *name, uint32_t type, uint64_t flags,
                                       uint64_t size, uint8_t align_log2, struct link_section **ret)
{
    struct link_section *section = arena_alloc(&link->arena, sizeof *section);
    if (!section)
        return error_memory();
    section->object = &link->own;
    section->name = name;
    section->type = type;
    section->flags = flags;
    section->size = size;
    section->align_log2 = align_log2;
    section->kind = LINK_SECTION_PLAIN;
    section->is_live = true;
    *ret = section;
    return NULL;
}

struct crateld_error *link_own_common(struct link *link, struct link_symbol *symbol)
{
    uint64_t align = symbol->value > 1 ? symbol->value : 1;
    if ((align & (align - 1)) || align > (UINT64_C(1) << 31))
        return error_create(CRATELD_ERROR_FORMAT, "%s: common symbol '%s': alignment %llu is not a power of two",
                            symbol->object->path, symbol->name, (unsigned long long)align);
    bool is_tls = symbol->type == STT_TLS;
    struct link_section *section = NULL;
    TRY(link_own_section(link, is_tls ? ".tbss" : ".bss", SHT_NOBITS, SHF_ALLOC | SHF_WRITE | (is_tls ? SHF_TLS : 0),
                         symbol->size, (uint8_t)__builtin_ctzll(align), &section));
    if (!VEC_PUSH(&link->own_sections, section))
        return error_memory();
    symbol->state = LINK_SYMBOL_DEFINED;
    symbol->binding = STB_GLOBAL;
    symbol->type = is_tls ? STT_TLS : STT_OBJECT;
    symbol->section = section;
    symbol->value = 0;
    return NULL;
}

/* Makes `symbol` a hidden symbol at a marker, which layout gives its place. */
static struct crateld_error *define_marker(struct link *link, struct link_symbol *symbol,
                                           const struct link_marker *like)
{
    bool is_tls = like->place == LINK_PLACE_TLS_START;
    struct link_marker *marker = arena_alloc(&link->arena, sizeof *marker);
    if (!marker || !VEC_PUSH(&link->markers, marker))
        return error_memory();
    *marker = *like;
    marker->section = (struct link_section){
        .object = &link->own,
        .name = "",
        .type = SHT_NULL,
        .flags = SHF_ALLOC | (is_tls ? SHF_TLS : 0),
        .kind = LINK_SECTION_PLAIN,
        .is_live = true,
    };
    symbol->state = LINK_SYMBOL_DEFINED;
    symbol->binding = STB_GLOBAL;
    symbol->type = is_tls ? STT_TLS : STT_NOTYPE; /* whatever references say */
    symbol->visibility = STV_HIDDEN;
    symbol->object = &link->own;
    symbol->section = &marker->section;
    symbol->value = 0;
    return NULL;
}

/* --defsym name=value: the symbol called name, and what stands behind the equals sign. */
static struct crateld_error *read_defsym(struct link *link, const char *definition, struct link_symbol **symbol,
                                         const char **value)
{
    const char *equals = strchr(definition, '=');
    if (!equals || equals == definition || !equals[1])
        return error_create(CRATELD_ERROR_USAGE, "--defsym %s: wanted name=value", definition);
    char *name = arena_strndup(&link->arena, definition, (size_t)(equals - definition));
    *symbol = name ? link_symbol_table_enter(&link->symbols, &link->arena, name, NULL) : NULL;
    *value = equals + 1;
    return *symbol ? NULL : error_memory();
}

static bool read_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 0);
    return !errno && end != text && !*end;
}

/* Makes the symbol's value known, or refers to the symbol that it is to equal; objects' definitions give way to it. */
static struct crateld_error *begin_defsym(struct link *link, const char *definition)
{
    struct link_symbol *symbol, *other;
    const char *value;
    TRY(read_defsym(link, definition, &symbol, &value));
    symbol->state = LINK_SYMBOL_ABSOLUTE;
    symbol->binding = STB_GLOBAL;
    symbol->type = STT_NOTYPE;
    symbol->object = &link->own;
    if (read_number(value, &symbol->value))
        return NULL;
    other = link_symbol_table_enter(&link->symbols, &link->arena, value, NULL);
    return other ? link_refer(link, other, false) : error_memory();
}

static struct crateld_error *finish_defsym(struct link *link, const char *definition)
{
    struct link_symbol *symbol;
    const char *value;
    TRY(read_defsym(link, definition, &symbol, &value));
    if (read_number(value, &symbol->value))
        return NULL;
    const struct link_symbol *other = link_symbol_table_find(&link->symbols, value);
    if (other->state != LINK_SYMBOL_DEFINED && other->state != LINK_SYMBOL_ABSOLUTE) {
        link_report(link, error_create(CRATELD_ERROR_UNDEFINED, "--defsym %s: '%s' is neither a number nor defined%s",
                                       definition, value,
                                       other->state == LINK_SYMBOL_UNDEFINED ? "" : " by an object with a value"));
        return NULL;
    }
    symbol->state = other->state;
    symbol->section = other->section;
    symbol->value = other->value;
    symbol->size = other->size;
    symbol->type = other->type;
    return NULL;
}

struct crateld_error *link_own_begin_defsyms(struct link *link)
{
    for (size_t i = 0; i < link->options->defsym_count; i++)
        TRY(begin_defsym(link, link->options->defsyms[i]));
    return NULL;
}

struct crateld_error *link_own_finish_defsyms(struct link *link)
{
    for (size_t i = 0; i < link->options->defsym_count; i++)
        TRY(finish_defsym(link, link->options->defsyms[i]));
    return NULL;
}

/* Whether the linker's definition of one of its symbols counts: where no object has one. Objects of TOC code bring a
 * weak _TOC_, which is for programs that are no crates. */
static bool is_own_definition_wanted(const struct link_symbol *symbol)
{
    if (symbol->state == LINK_SYMBOL_DEFINED && symbol->binding == STB_WEAK)
        return !strcmp(symbol->name, "_TOC_");
    return symbol->state == LINK_SYMBOL_UNDEFINED;
}

bool link_own_is_name(const char *name)
{
    for (size_t i = 0; i < sizeof own_symbols / sizeof *own_symbols; i++)
        if (!strcmp(own_symbols[i].name, name))
            return true;
    return false;
}

struct crateld_error *link_own_symbols(struct link *link)
{
    for (size_t i = 0; i < sizeof own_symbols / sizeof *own_symbols; i++) {
        struct link_symbol *symbol = link_symbol_table_find(&link->symbols, own_symbols[i].name);
        if (!symbol || !is_own_definition_wanted(symbol))
            continue;
        struct link_marker marker = {.place = own_symbols[i].place};
        /* Code of a patch runs with its base's TOC. */
        bool is_base = link->patch && !strcmp(symbol->name, "_TOC_");
        TRY(is_base ? link_patch_use_toc(link, symbol) : define_marker(link, symbol, &marker));
    }
    return NULL;
}

static bool has_section(const struct link *link, const char *name)
{
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++) {
            const struct link_section *section = &link->objects.at[i]->sections[k];
            if (section->kind != LINK_SECTION_DROPPED && (section->flags & SHF_ALLOC) && !strcmp(section->name, name))
                return true;
        }
    return false;
}

struct crateld_error *link_own_bounds(struct link *link)
{
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        if (strncmp(symbol->name, "__st", 4) != 0)
            continue;
        bool is_start = !strncmp(symbol->name, "__start_", 8);
        bool is_stop = !strncmp(symbol->name, "__stop_", 7);
        const char *name = symbol->name + (is_start ? 8 : 7);
        bool is_ours = symbol->state == LINK_SYMBOL_DEFINED || symbol->state == LINK_SYMBOL_ABSOLUTE;
        if (is_ours || (!is_start && !is_stop) || !link_is_set_name(name) || !has_section(link, name))
            continue;
        bool is_base = false;
        TRY(link_patch_has_place(link, symbol->name, &is_base));
        if (is_base) /* the set is what the crate has of it */
            continue;
        TRY(link_own_bound(link, symbol, name, is_start));
    }
    return NULL;
}

struct crateld_error *link_own_bound(struct link *link, struct link_symbol *symbol, const char *name, bool is_start)
{
    struct link_marker marker = {
        .place = is_start ? LINK_PLACE_SECTION_START : LINK_PLACE_SECTION_END,
        .bounds_name = name,
    };
    return define_marker(link, symbol, &marker);
}

static bool has_live_pieces(const struct link *link, const char *name)
{
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++) {
            const struct link_section *section = &link->objects.at[i]->sections[k];
            if (section->kind == LINK_SECTION_PLAIN && section->is_live && section->size &&
                !strcmp(section->name, name))
                return true;
        }
    return false;
}

/* A section of the linker's own that holds the given bytes. */
static struct crateld_error *add_bytes(struct link *link, const char *name, uint64_t flags, struct span bytes,
                                       uint8_t align_log2, struct link_section **ret)
{
    TRY(link_own_section(link, name, SHT_PROGBITS, SHF_ALLOC | flags, bytes.size, align_log2, ret));
    (*ret)->data = bytes;
    return VEC_PUSH(&link->own_sections, *ret) ? NULL : error_memory();
}

/* Puts a function around the pieces in section `name`, and its address into `array`. `number` is that of its symbol. */
static struct crateld_error *wrap_pieces(struct link *link, const char *name, const char *array, uint32_t type,
                                         uint32_t number)
{
    static const uint8_t zeros[8];
    struct span begin, end;
    struct link_section *prologue, *epilogue, *pointer;
    link->machine->stubs->init_frame(&begin, &end);
    TRY(add_bytes(link, name, SHF_EXECINSTR, begin, 4, &prologue));
    TRY(add_bytes(link, name, SHF_EXECINSTR, end, 0, &epilogue));
    TRY(add_bytes(link, array, SHF_WRITE, (struct span){zeros, sizeof zeros}, 3, &pointer));
    pointer->type = type;
    prologue->init_part = LINK_INIT_PROLOGUE;
    epilogue->init_part = LINK_INIT_EPILOGUE;
    Elf64_Rela *reloc = arena_alloc(&link->arena, sizeof *reloc);
    struct link_symbol *symbol = arena_alloc(&link->arena, sizeof *symbol);
    if (!reloc || !symbol)
        return error_memory();
    *reloc = (Elf64_Rela){.r_info = ELF64_R_INFO(number, link->machine->type_word)};
    *symbol = (struct link_symbol){.name = name,
                                   .object = &link->own,
                                   .section = prologue,
                                   .provider = UINT32_MAX,
                                   .state = LINK_SYMBOL_DEFINED,
                                   .type = STT_FUNC,
                                   .is_local = true};
    link->own.symbols[number] = symbol;
    pointer->relocs = reloc;
    pointer->reloc_count = 1;
    return NULL;
}

struct crateld_error *link_own_init(struct link *link)
{
    link->own.symbols = arena_alloc_array(&link->arena, LINK_OWN_SYMBOL_COUNT, sizeof *link->own.symbols);
    if (!link->own.symbols)
        return error_memory();
    if (has_live_pieces(link, ".init"))
        TRY(wrap_pieces(link, ".init", ".init_array.0", SHT_INIT_ARRAY, LINK_OWN_SYMBOL_INIT));
    if (has_live_pieces(link, ".fini"))
        TRY(wrap_pieces(link, ".fini", ".fini_array.0", SHT_FINI_ARRAY, LINK_OWN_SYMBOL_FINI));
    return NULL;
}

struct link_marker *link_own_marker(const struct link *link, struct link_section *section)
{
    if (section->object != &link->own || section->type != SHT_NULL)
        return NULL;
    return (struct link_marker *)(void *)((char *)section - offsetof(struct link_marker, section));
}

static void bind_to(struct link_section *section, struct link_output *output, bool is_end)
{
    section->output = output;
    section->out_off = output && is_end ? output->size : 0;
}

/* The last output of a segment, and among those the last (or first) one that is, or is not, NOBITS. */
static struct link_output *edge_output(const struct link *link, uint8_t segment, bool is_nobits, bool is_first)
{
    struct link_output *found = NULL;
    for (size_t i = 0; i < link->outputs.count; i++) {
        struct link_output *output = link->outputs.at[i];
        if (output->segment == segment && (output->type == SHT_NOBITS) == is_nobits && !(found && is_first) &&
            !(output->flags & SHF_TLS && is_nobits))
            found = output;
    }
    return found;
}

/* Where thread-locals begin; NULL: there are none. */
static struct link_output *first_tls(const struct link *link)
{
    for (size_t i = 0; i < link->outputs.count; i++)
        if (link->outputs.at[i]->flags & SHF_TLS)
            return link->outputs.at[i];
    return NULL;
}

static struct link_output *last_data(const struct link *link)
{
    return edge_output(link, CRATE_SEGMENT_DATA, false, false);
}

static void place_marker(const struct link *link, struct link_marker *marker)
{
    static const char *const arrays[] = {".preinit_array", ".init_array", ".fini_array"};
    struct link_section *section = &marker->section;
    int array = marker->place - LINK_PLACE_PREINIT_START;
    switch (marker->place) {
    case LINK_PLACE_IMAGE_START:
        bind_to(section, link->outputs.at[0], false); /* .crate.header, at rva 0 */
        break;
    case LINK_PLACE_TEXT_END:
        bind_to(section, edge_output(link, CRATE_SEGMENT_TEXT, false, false), true);
        break;
    case LINK_PLACE_DATA_END:
        bind_to(section, last_data(link), true);
        break;
    case LINK_PLACE_BSS_START:
    case LINK_PLACE_IMAGE_END: {
        bool is_start = marker->place == LINK_PLACE_BSS_START;
        struct link_output *bss = edge_output(link, CRATE_SEGMENT_DATA, true, is_start);
        bind_to(section, bss ? bss : last_data(link), !bss || !is_start);
        break;
    }
    case LINK_PLACE_TOC:
        bind_to(section, link_find_output(link, ".toc"), false);
        break;
    case LINK_PLACE_TOC_CRATE:
        bind_to(section, link_find_output(link, ".toc"), false);
        section->out_off += offsetof(struct crateld_toc, crate);
        break;
    case LINK_PLACE_TLS_START:
        bind_to(section, first_tls(link), false);
        break;
    case LINK_PLACE_SECTION_START:
    case LINK_PLACE_SECTION_END:
        bind_to(section, link_find_output(link, marker->bounds_name), marker->place == LINK_PLACE_SECTION_END);
        break;
    default: {
        /* Without such an array the bounds are some place, and equal. */
        struct link_output *output = link_find_output(link, arrays[array / 2]);
        bind_to(section, output ? output : last_data(link), output && array % 2);
        break;
    }
    }
}

void link_own_place(struct link *link)
{
    for (size_t i = 0; i < link->markers.count; i++)
        place_marker(link, link->markers.at[i]);
}

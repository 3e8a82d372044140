#include "linker/relink_section.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "linker/address.h"
#include "linker/function.h"
#include "linker/rest.h"
#include "linker/scan.h"
#include "reloc/relink_hash.h"

bool link_relink_records(const struct link_section *section)
{
    return (section->flags & SHF_ALLOC) && section->type != SHT_NULL &&
           (section->kind == LINK_SECTION_PLAIN || section->kind == LINK_SECTION_MERGE ||
            section->kind == LINK_SECTION_EH_FRAME || (section->kind == LINK_SECTION_DROPPED && section->in_group));
}

/* Whether the section has a place of its own in the crate. Merged sections' contents are in the linker's module, and
 * unwind tables are put together anew. */
static bool is_placed(const struct link_section *section)
{
    return section->kind == LINK_SECTION_PLAIN && section->is_live;
}

/* Those that follow from the object. */
static uint32_t fixed_flags(const struct link_section *section)
{
    uint32_t flags = section->flags & SHF_EXECINSTR ? RELINK_SECTION_TEXT
                     : section->type == SHT_NOBITS  ? RELINK_SECTION_BSS
                                                    : 0;
    if (section->flags & SHF_TLS)
        flags |= RELINK_SECTION_TLS;
    if (section->is_toc)
        flags |= RELINK_SECTION_TOC_CODE;
    if (section->in_group)
        flags |= RELINK_SECTION_COMDAT;
    if (section->flags & SHF_MERGE)
        flags |= RELINK_SECTION_MERGE;
    if (section->flags & SHF_STRINGS)
        flags |= RELINK_SECTION_STRINGS;
    if (section->kind == LINK_SECTION_EH_FRAME || !strncmp(section->name, ".gcc_except_table", 17))
        flags |= RELINK_SECTION_UNWIND;
    if (section->type == SHT_INIT_ARRAY || section->type == SHT_FINI_ARRAY || section->type == SHT_PREINIT_ARRAY ||
        section->is_reversed)
        flags |= RELINK_SECTION_INIT;
    return flags;
}

static uint32_t section_flags(const struct link_section *section)
{
    uint32_t flags = fixed_flags(section);
    bool is_written = (section->flags & SHF_WRITE) || section->is_relocated_at_load;
    if (!(flags & (RELINK_SECTION_TEXT | RELINK_SECTION_BSS)))
        flags |= is_written ? RELINK_SECTION_DATA : RELINK_SECTION_RODATA;
    return flags | (is_placed(section) ? 0 : RELINK_SECTION_DROPPED);
}

/* The element of merged strings or constants at `off` of their section: what it is called may change, and where it is.
 */
static struct span merged_element(const struct link_section *section, uint64_t off)
{
    struct span rest = span_from(section->data, off);
    uint64_t unit = section->entry_size ? section->entry_size : 1, size = unit;
    if (section->flags & SHF_STRINGS) {
        static const uint8_t zero[8];
        for (size = 0; size + unit <= rest.size && unit <= sizeof zero && memcmp(rest.data + size, zero, unit) != 0;)
            size += unit;
    }
    return (struct span){rest.data, size < rest.size ? (size_t)size : rest.size};
}

/* What identifies a relocation's target when sections and symbols are renumbered; *addend is what counts of the addend.
 */
static struct span target_of(const struct link_section *section, const Elf64_Rela *reloc, int64_t *addend)
{
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    *addend = reloc->r_addend;
    if (symbol->section && symbol->section->kind == LINK_SECTION_MERGE) {
        if (symbol->type != STT_SECTION)
            return merged_element(symbol->section, symbol->value);
        *addend = 0;
        return merged_element(symbol->section, symbol->value + (uint64_t)reloc->r_addend);
    }
    const char *name = !*symbol->name && symbol->section ? symbol->section->name : symbol->name;
    return (struct span){(const uint8_t *)name, strlen(name)};
}

uint64_t link_relink_hash(const struct link_section *section)
{
    struct relink_hash hash;
    /* What the link makes of the section does not count. */
    relink_hash_init(&hash, section->data, section->size,
                     fixed_flags(section) | (section->flags & SHF_WRITE ? RELINK_SECTION_DATA : RELINK_SECTION_RODATA));
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        const Elf64_Rela *reloc = &section->relocs[i];
        int64_t addend;
        link_look_ahead(section, i);
        struct span target = target_of(section, reloc, &addend);
        relink_hash_reloc(&hash, reloc->r_offset, (uint32_t)ELF64_R_TYPE(reloc->r_info), addend, target);
    }
    return relink_hash_finish(&hash);
}

static struct crateld_error *add_section(struct relink_builder *builder, struct link_section *section)
{
    uint32_t flags = section_flags(section);
    struct relink_section record = {
        .name = section->name,
        .rva = RELINK_NONE,
        .size = (uint32_t)section->size,
        .capacity = (uint32_t)section->size,
        .flags = flags,
        .align_log2 = section->align_log2,
        .hash = section->record ? section->record->hash : section->content_hash,
    };
    if (section->record) { /* of a bundle: as it was in its crate */
        record.name = section->record->name;
        record.flags = section->record->flags;
    }
    if (is_placed(section)) {
        record.rva = (uint32_t)link_section_rva(section, 0);
        record.capacity = section->capacity;
    }
    return relink_builder_add_section(builder, &record, &section->relink);
}

static uint32_t slot_rva(const struct link *link, uint32_t slot_plus_one)
{
    return slot_plus_one ? (uint32_t)link_global_slot_rva(link, slot_plus_one - 1) : RELINK_NONE;
}

/* What the link made for the symbol. */
static void fill_refs(const struct link *link, const struct link_symbol *symbol, uint32_t *refs)
{
    for (int i = 0; i < RELINK_REF_COUNT; i++)
        refs[i] = RELINK_NONE;
    bool is_ifunc = symbol->state == LINK_SYMBOL_DEFINED && symbol->type == STT_GNU_IFUNC;
    if (symbol->call_plain) {
        uint32_t slot = symbol->call_plain - 1 + (is_ifunc ? link->lazy_count : 0);
        refs[RELINK_REF_IMPORT_PLAIN] = slot;
        refs[RELINK_REF_STUB_PLAIN] = (uint32_t)link_import_stub_rva(link, slot);
    }
    if (symbol->call_toc) {
        refs[RELINK_REF_IMPORT_TOC] = symbol->call_toc - 1;
        refs[RELINK_REF_STUB_TOC] = (uint32_t)link_import_stub_rva(link, symbol->call_toc - 1);
    }
    if (symbol->address_import)
        refs[RELINK_REF_IMPORT_ADDRESS] = symbol->address_import - 1;
    refs[RELINK_REF_SLOT_ADDRESS] = slot_rva(link, symbol->address);
    refs[RELINK_REF_SLOT_TLS_OFFSET] = slot_rva(link, symbol->tls_offset);
    refs[RELINK_REF_SLOT_TLS_INDEX] = slot_rva(link, symbol->tls_index);
    if (symbol->state != LINK_SYMBOL_DEFINED || !(symbol->section->flags & SHF_EXECINSTR))
        return;
    const struct link_function *function = link_function_of_symbol(link, symbol);
    if (!function || !function->func_ref)
        return;
    refs[RELINK_REF_FUNC_REF] = function->func_ref - 1;
    refs[RELINK_REF_ENTRY_STUB] = (uint32_t)link_entry_stub_rva(link, function);
    if (function->stack_arguments)
        refs[RELINK_REF_STACK_ARGUMENTS] = function->stack_arguments;
}

static uint32_t symbol_flags(const struct link *link, const struct link_symbol *symbol)
{
    uint32_t flags = (symbol->is_exported ? RELINK_SYMBOL_EXPORTED : 0) | (symbol->is_vague ? RELINK_SYMBOL_VAGUE : 0);
    if (symbol->state != LINK_SYMBOL_DEFINED)
        return flags;
    if (symbol->section->object == &link->own && symbol->object != &link->own)
        flags |= RELINK_SYMBOL_COMMON;
    const struct link_function *function = link_function_of_symbol(link, symbol);
    if (function && function->is_varargs)
        flags |= RELINK_SYMBOL_VARARGS;
    if (function && function->is_leaked)
        flags |= RELINK_SYMBOL_LEAKED;
    return flags;
}

static struct crateld_error *add_symbol(const struct link *link, struct relink_builder *builder,
                                        struct link_symbol *symbol)
{
    struct relink_symbol record = {
        .name = symbol->type == STT_SECTION ? "" : symbol->name,
        .where = RELINK_UNDEFINED,
        .section = RELINK_NONE,
        .value = symbol->value,
        .size = symbol->size,
        .type = symbol->type,
        .binding = symbol->is_local ? STB_LOCAL : symbol->binding,
        .visibility = symbol->visibility,
        .flags = symbol_flags(link, symbol),
    };
    if (symbol->state == LINK_SYMBOL_DEFINED) {
        const struct link_section *section = symbol->section;
        if (section->merge)
            section = link_merge_find(section, symbol->value, &record.value);
        record.where = RELINK_IN_SECTION;
        record.section = section->type == SHT_NULL ? RELINK_NONE : section->relink;
        if (section->type == SHT_NULL) { /* a place of the linker's own: an rva */
            record.where = RELINK_ABSOLUTE;
            record.value = link_symbol_rva(symbol, 0);
        }
    } else if (symbol->state == LINK_SYMBOL_ABSOLUTE) {
        record.where = RELINK_ABSOLUTE;
    } else {
        record.value = 0;
        record.where = symbol->state == LINK_SYMBOL_IMPORTED ? RELINK_IMPORTED : RELINK_UNDEFINED;
    }
    fill_refs(link, symbol, record.refs);
    uint32_t number;
    TRY(relink_builder_add_symbol(builder, &record, &number));
    symbol->relink = number + 1;
    return NULL;
}

/* Whether the symbol can be recorded: what it names is. */
static bool has_record(const struct link_symbol *symbol)
{
    if (symbol->state != LINK_SYMBOL_DEFINED)
        return true;
    return symbol->section->type == SHT_NULL || link_relink_records(symbol->section);
}

static struct crateld_error *add_own_module(struct link *link, struct relink_builder *builder)
{
    struct relink_module module = {.path = "", .member = ""};
    TRY(relink_builder_add_module(builder, &module, NULL));
    for (size_t i = 0; i < link->own_sections.count; i++)
        if (link->own_sections.at[i]->flags & SHF_ALLOC)
            TRY(add_section(builder, link->own_sections.at[i]));
    for (size_t i = 0; i < link->own_sections.count; i++) {
        struct link_section *section = link->own_sections.at[i];
        struct link_symbol *symbol = section->flags & SHF_ALLOC ? arena_alloc(&link->arena, sizeof *symbol) : NULL;
        if (!(section->flags & SHF_ALLOC))
            continue;
        if (!symbol)
            return error_memory();
        *symbol = (struct link_symbol){
            .name = "", .section = section, .state = LINK_SYMBOL_DEFINED, .type = STT_SECTION, .is_local = true};
        TRY(add_symbol(link, builder, symbol));
        section->relink_symbol = symbol->relink;
    }
    for (uint32_t i = LINK_OWN_SYMBOL_INIT; i < LINK_OWN_SYMBOL_COUNT; i++)
        if (link->own.symbols[i])
            TRY(add_symbol(link, builder, link->own.symbols[i]));
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        bool is_own = symbol->state != LINK_SYMBOL_DEFINED && symbol->state != LINK_SYMBOL_ABSOLUTE;
        is_own |= symbol->state == LINK_SYMBOL_DEFINED && symbol->section->object == &link->own;
        if (is_own)
            TRY(add_symbol(link, builder, symbol));
    }
    return NULL;
}

/* "libx.a(y.o)" is member y.o of libx.a. */
static struct crateld_error *split_path(struct link *link, const struct link_object *object, struct relink_module *ret)
{
    const char *open = strrchr(object->path, '('), *close = strrchr(object->path, ')');
    ret->path = object->path;
    ret->member = "";
    if (!open || !close || close[1] || close < open)
        return NULL;
    ret->path = arena_strndup(&link->arena, object->path, (size_t)(open - object->path));
    ret->member = arena_strndup(&link->arena, open + 1, (size_t)(close - open - 1));
    return ret->path && ret->member ? NULL : error_memory();
}

/* Where the types of the object's variables are: patches are compared with them. */
static void find_debug_info(const struct link_object *object, struct relink_module *ret)
{
    for (uint32_t i = 1; i < object->section_count; i++) {
        const struct link_section *section = &object->sections[i];
        if (section->kind != LINK_SECTION_DEBUG || !section->output || section->in_group ||
            strcmp(section->name, ".debug_info") != 0 || section->out_off + section->size > UINT32_MAX)
            continue;
        ret->debug_off = (uint32_t)section->out_off;
        ret->debug_size = (uint32_t)section->size;
    }
}

static struct crateld_error *add_module(struct link *link, struct relink_builder *builder, struct link_object *object)
{
    struct relink_module module = {.hash = object->record ? object->record->hash : object->hash};
    find_debug_info(object, &module);
    TRY(split_path(link, object, &module));
    TRY(relink_builder_add_module(builder, &module, &object->module));
    for (uint32_t i = 1; i < object->section_count; i++)
        if (link_relink_records(&object->sections[i]))
            TRY(add_section(builder, &object->sections[i]));
    for (uint32_t i = 1; i < object->symbol_count; i++) {
        struct link_symbol *symbol = object->symbols[i];
        bool is_ours = symbol->object == object &&
                       (symbol->state == LINK_SYMBOL_DEFINED || symbol->state == LINK_SYMBOL_ABSOLUTE) &&
                       !(symbol->state == LINK_SYMBOL_DEFINED && symbol->section->object != object);
        if (is_ours && !symbol->relink && symbol->type != STT_FILE && has_record(symbol))
            TRY(add_symbol(link, builder, symbol));
    }
    return NULL;
}

/* The type under which a relocation was applied. */
static uint32_t applied_type(const struct link *link, uint8_t action, const Elf64_Rela *reloc)
{
    switch (action) {
    case LINK_ACTION_RELAX_LOAD:
        return link->machine->type_relative;
    case LINK_ACTION_RELAX_CALL:
        return link->machine->type_branch;
    case LINK_ACTION_TLS_DESC:
        return link->machine->type_tls_offset;
    default:
        return (uint32_t)ELF64_R_TYPE(reloc->r_info);
    }
}

static struct crateld_error *add_reloc(const struct link *link, struct relink_builder *builder,
                                       const struct link_section *section, uint32_t number)
{
    const Elf64_Rela *reloc = &section->relocs[number];
    const struct link_symbol *symbol = section->object->symbols[ELF64_R_SYM(reloc->r_info)];
    uint8_t action = section->decisions[number] & LINK_DECISION_ACTION;
    if (action == LINK_ACTION_NONE || action == LINK_ACTION_TLS_DESC_CALL || !symbol->relink)
        return NULL;
    int shift =
        action == LINK_ACTION_RELAX_CALL ? link->machine->relax_branch_shift(section->data, reloc->r_offset) : 0;
    uint64_t off = section->is_reversed ? section->size - 8 - reloc->r_offset : reloc->r_offset;
    struct relink_reloc record = {
        .section = section->relink,
        .off = (uint32_t)(off + (uint64_t)(int64_t)shift),
        .symbol = symbol->relink - 1,
        .type = applied_type(link, action, reloc),
        .addend = reloc->r_addend,
    };
    const struct link_section *target = symbol->section;
    if (symbol->type == STT_SECTION && symbol->state == LINK_SYMBOL_DEFINED && target->merge) {
        uint64_t merged_off;
        target = link_merge_find(target, symbol->value + (uint64_t)reloc->r_addend, &merged_off);
        record.symbol = target->relink_symbol - 1;
        record.addend = (int64_t)merged_off;
    }
    return relink_builder_add_reloc(builder, &record);
}

static struct crateld_error *add_section_relocs(const struct link *link, struct relink_builder *builder,
                                                const struct link_section *section)
{
    for (uint32_t i = 0; i < section->reloc_count; i++) {
        link_look_ahead(section, i);
        TRY(add_reloc(link, builder, section, i));
    }
    return NULL;
}

static struct crateld_error *add_relocs(struct link *link, struct relink_builder *builder)
{
    for (size_t i = 0; i < link->own_sections.count; i++)
        if (link->own_sections.at[i]->flags & SHF_ALLOC)
            TRY(add_section_relocs(link, builder, link->own_sections.at[i]));
    for (size_t i = 0; i < link->objects.count; i++) {
        struct link_object *object = link->objects.at[i];
        for (uint32_t k = 1; k < object->section_count; k++) {
            if (k + 2 < object->section_count)
                link_look_beyond(&object->sections[k + 1], &object->sections[k + 2]);
            if (is_placed(&object->sections[k]) && (object->sections[k].flags & SHF_ALLOC))
                TRY(add_section_relocs(link, builder, &object->sections[k]));
        }
        link_rest_after(link, i);
    }
    return NULL;
}

/* Lets each section know how far it is to the next one of its output. */
static void measure_sections(struct link *link)
{
    for (size_t i = 0; i < link->outputs.count; i++) {
        struct link_output *output = link->outputs.at[i];
        for (size_t k = 0; k < output->sections.count; k++) {
            bool is_last = k + 1 == output->sections.count;
            uint64_t end = is_last ? output->size : output->sections.at[k + 1]->out_off;
            output->sections.at[k]->capacity = (uint32_t)(end - output->sections.at[k]->out_off);
        }
    }
}

static struct crateld_error *hash_object(void *context, uint32_t worker, size_t i)
{
    struct link *link = context;
    struct link_object *object = link->objects.at[i];
    (void)worker;
    if (object->record) /* of a bundle, as all its sections */
        return NULL;
    object->hash = hash_bytes(object->image.data, object->image.size);
    for (uint32_t k = 1; k < object->section_count; k++) {
        if (k + 2 < object->section_count)
            link_look_beyond(&object->sections[k + 1], &object->sections[k + 2]);
        if (link_relink_records(&object->sections[k]))
            object->sections[k].content_hash = link_relink_hash(&object->sections[k]);
    }
    return NULL;
}

struct crateld_error *link_relink_begin_hashes(struct link *link)
{
    size_t count = link->objects.count;
    if (!link->options->keep_relink)
        return NULL;
    return workers_start(link_workers_for(link, count), count, hash_object, link, &link->hashing);
}

struct crateld_error *link_relink_end_hashes(struct link *link)
{
    if (!link->hashing)
        return NULL;
    for (size_t i = 0; i < link->own_sections.count; i++)
        link->own_sections.at[i]->content_hash = link_relink_hash(link->own_sections.at[i]);
    return workers_finish(STEAL_PTR(link->hashing));
}

/* At most. */
static size_t count_relocs(const struct link *link)
{
    size_t count = 0;
    for (size_t i = 0; i < link->objects.count; i++)
        for (uint32_t k = 1; k < link->objects.at[i]->section_count; k++)
            if (is_placed(&link->objects.at[i]->sections[k]))
                count += link->objects.at[i]->sections[k].reloc_count;
    return count;
}

struct crateld_error *link_relink_begin(struct link *link, struct relink_builder **ret)
{
    measure_sections(link);
    TRY(relink_builder_create(ret));
    TRY(relink_builder_reserve_symbols(*ret, link_symbol_count(link)));
    TRY(add_own_module(link, *ret));
    for (size_t i = 0; i < link->objects.count; i++) {
        TRY(add_module(link, *ret, link->objects.at[i]));
        link_rest_after(link, i);
    }
    return NULL;
}

struct crateld_error *link_relink_relocs(struct link *link, struct relink_builder *builder)
{
    TRY(relink_builder_reserve_relocs(builder, count_relocs(link)));
    TRY(add_relocs(link, builder));
    return relink_builder_end_relocs(builder);
}

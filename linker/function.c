#include "linker/function.h"

#include <stdlib.h>
#include <string.h>

#include "toc/stubs.h"

static uint64_t place_hash(const struct link_section *section, uint64_t value)
{
    uint64_t mixed =
        ((uint64_t)(uintptr_t)section ^ value * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);
    return mixed ^ mixed >> 29;
}

static struct link_function *find(const struct link *link, const struct link_section *section, uint64_t value)
{
    size_t cursor = 0;
    uint32_t i;
    if (!value)
        return section->function;
    while ((i = hash_index_next(&link->function_index, place_hash(section, value), &cursor)) != HASH_INDEX_NONE)
        if (link->functions.at[i]->section == section && link->functions.at[i]->value == value)
            return link->functions.at[i];
    return NULL;
}

struct crateld_error *link_function_enter(struct link *link, struct link_section *section, uint64_t value,
                                          struct link_function **ret)
{
    struct link_function *function = find(link, section, value);
    if (!function) {
        function = arena_alloc(&link->arena, sizeof *function);
        if (!function)
            return error_memory();
        if (!value)
            section->function = function;
        else if (!VEC_PUSH(&link->functions, function) ||
                 !hash_index_add(&link->function_index, place_hash(section, value)))
            return error_memory();
        function->section = section;
        function->value = value;
    }
    *ret = function;
    return NULL;
}

struct crateld_error *link_function_enter_symbol(struct link *link, struct link_symbol *symbol,
                                                 struct link_function **ret)
{
    if (!symbol->function)
        TRY(link_function_enter(link, symbol->section, symbol->value, &symbol->function));
    *ret = symbol->function;
    return NULL;
}

struct link_function *link_function_of_symbol(const struct link *link, const struct link_symbol *symbol)
{
    return symbol->function ? symbol->function : find(link, symbol->section, symbol->value);
}

static int compare_places(uintptr_t section_a, uint64_t value_a, uintptr_t section_b, uint64_t value_b)
{
    if (section_a != section_b)
        return section_a < section_b ? -1 : 1;
    return (value_a > value_b) - (value_a < value_b);
}

static int compare_functions(const void *a, const void *b)
{
    const struct link_symbol *x = *(struct link_symbol *const *)a, *y = *(struct link_symbol *const *)b;
    return compare_places((uintptr_t)x->section, x->value, (uintptr_t)y->section, y->value);
}

static bool is_own_function(const struct link_object *object, const struct link_symbol *symbol)
{
    return symbol->state == LINK_SYMBOL_DEFINED && symbol->section->object == object &&
           (symbol->type == STT_FUNC || symbol->type == STT_GNU_IFUNC);
}

/* Lists the object's functions by place. */
static struct crateld_error *sort_functions(struct link *link, struct link_object *object)
{
    uint32_t count = 1; /* so that there is a list */
    for (uint32_t i = 0; i < object->symbol_count; i++)
        count += is_own_function(object, object->symbols[i]);
    object->functions = arena_alloc_array(&link->arena, count, sizeof *object->functions);
    if (!object->functions)
        return error_memory();
    for (uint32_t i = 0; i < object->symbol_count; i++)
        if (is_own_function(object, object->symbols[i]))
            object->functions[object->function_count++] = object->symbols[i];
    qsort(object->functions, object->function_count, sizeof *object->functions, compare_functions);
    return NULL;
}

struct crateld_error *link_function_symbol(struct link *link, const struct link_section *section, uint64_t value,
                                           struct link_symbol **ret)
{
    struct link_object *object = section->object;
    if (!object->functions)
        TRY(sort_functions(link, object));
    uint32_t low = 0, high = object->function_count;
    *ret = NULL;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct link_symbol *symbol = object->functions[middle];
        int order = compare_places((uintptr_t)symbol->section, symbol->value, (uintptr_t)section, value);
        if (!order) {
            *ret = symbol;
            return NULL;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

struct crateld_error *link_function_is_start(struct link *link, const struct link_section *section, uint64_t value,
                                             bool *ret)
{
    struct link_symbol *symbol;
    TRY(link_function_symbol(link, section, value, &symbol));
    *ret = symbol != NULL;
    return NULL;
}

struct crateld_error *link_function_need_stub(struct link *link, struct link_function *function)
{
    if (function->func_ref)
        return NULL;
    if (!VEC_PUSH(&link->func_refs, function))
        return error_memory();
    function->func_ref = (uint32_t)link->func_refs.count;
    return NULL;
}

static struct crateld_error *record_error(const struct link_section *section, uint64_t off, const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "%s: %s at 0x%llx: %s", section->object->path, section->name,
                        (unsigned long long)off, what);
}

/* The place in this object that a relocation of a record names; *section is NULL if it was dropped. */
static struct crateld_error *record_place(const struct link *link, const struct link_section *records,
                                          const Elf64_Rela *reloc, struct link_section **section, uint64_t *value)
{
    struct link_object *object = records->object;
    uint32_t i = (uint32_t)ELF64_R_SYM(reloc->r_info);
    uint32_t index = link_object_symbol_section(object, i);
    if (ELF64_R_TYPE(reloc->r_info) != link->machine->type_word || !index || index >= LINK_RESERVED)
        return record_error(records, reloc->r_offset, "wanted a 64-bit address of a place in this object");
    *section = &object->sections[index];
    *value = object->elf_symbols[i].st_value + (uint64_t)reloc->r_addend;
    if ((*section)->kind == LINK_SECTION_DROPPED)
        *section = NULL;
    return NULL;
}

static struct crateld_error *read_record(struct link *link, const struct link_section *records, uint64_t off,
                                         uint32_t *next_reloc)
{
    struct crateld_toc_record record;
    memcpy(&record, records->data.data + off, sizeof record);
    struct link_section *section = NULL, *varargs_section = NULL;
    uint64_t value = 0, varargs_value = 0;
    bool has_function = false, is_varargs = false;
    for (; *next_reloc < records->reloc_count && records->relocs[*next_reloc].r_offset < off + sizeof record;
         ++*next_reloc) {
        const Elf64_Rela *reloc = &records->relocs[*next_reloc];
        if (reloc->r_offset == off + offsetof(struct crateld_toc_record, function)) {
            TRY(record_place(link, records, reloc, &section, &value));
            has_function = true;
        } else if (reloc->r_offset == off + offsetof(struct crateld_toc_record, varargs_entry)) {
            TRY(record_place(link, records, reloc, &varargs_section, &varargs_value));
            is_varargs = true;
        } else {
            return record_error(records, reloc->r_offset, "a relocation on a field that takes none");
        }
    }
    if (!has_function)
        return record_error(records, off, "a record without a function");
    if (!section)
        return NULL;
    if (!(section->flags & SHF_EXECINSTR) || value > section->size)
        return record_error(records, off, "a function that is not in code");
    section->is_toc = true;
    if (record.kind != CRATELD_TOC_FUNCTION)
        return NULL;
    if (is_varargs && (varargs_section != section || varargs_value > section->size))
        return record_error(records, off, "a varargs entry outside the function's section");
    if (record.stack_arguments > TOC_STACK_ARGUMENTS_MAX || record.stack_arguments % 8)
        return record_error(records, off, "stack arguments of an impossible size");
    struct link_function *function;
    TRY(link_function_enter(link, section, value, &function));
    function->has_record = true;
    function->stack_arguments = record.stack_arguments;
    function->is_varargs = is_varargs;
    function->varargs_entry = varargs_value;
    return NULL;
}

static struct crateld_error *read_records(struct link *link, struct link_section *records)
{
    uint32_t next_reloc = 0;
    if (records->data.size % sizeof(struct crateld_toc_record))
        return record_error(records, records->data.size, "its size is not a number of records");
    for (uint64_t off = 0; off < records->data.size; off += sizeof(struct crateld_toc_record))
        TRY(read_record(link, records, off, &next_reloc));
    return NULL;
}

struct crateld_error *link_function_read_records(struct link *link)
{
    for (size_t i = 0; i < link->objects.count; i++) {
        struct link_object *object = link->objects.at[i];
        for (uint32_t k = 1; k < object->section_count; k++)
            if (object->sections[k].kind == LINK_SECTION_TOC_RECORDS)
                TRY(read_records(link, &object->sections[k]));
    }
    return NULL;
}

#include "cli/inspect_crate.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/frame_size.h"
#include "cli/inspect_members.h"
#include "crate/carried.h"
#include "crate/machine.h"

enum { NAME_SIZE = 512 }; /* of text made for a place; longer names are cut */

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static const char *const segment_names[] = {"meta", "text", "rodata", "data"};
static const char *const import_kinds[] = {"call",       "call (TOC)", "ifunc",  "address",
                                           "TLS offset", "TLS index",  "forward"};
static const char *const export_kinds[] = {"function", "function (TOC)", "data", "thread-local", "absolute"};
static const char *const fixup_kinds[] = {"pc32", "abs32", "abs32s", "abs64", "tpoff32"};

static const char *const crate_flag_names[] = {"relink",     "low",      "near",         "text-fixups",
                                               "static-tls", "toc-code", "eager",        "patch",
                                               "soname",     "bundle",   "private-code", "private-constants"};
static const char *const needed_flag_names[] = {"eager", "uses-exports"};
static const char *const import_flag_names[] = {"weak", "vague", "self", "base"};
static const char *const export_flag_names[] = {"weak", "vague", "forward"};

/* NULL instead of the empty string. */
static const char *text_or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static const char *string_at(const struct inspected_crate *crate, uint32_t off)
{
    return crate_view_string(&crate->view, off);
}

static void report_initialisers(struct report *report, const struct crate_header *header)
{
    report_number(report, "preinit_functions", header->preinit_array.count);
    report_number(report, "init_functions", header->init_array.count);
    report_number(report, "fini_functions", header->fini_array.count);
    report_number(report, "collected_types", header->types.count);
    report_number(report, "tls_size", header->tls_mem_size);
    report_number(report, "tls_align", header->tls_mem_size ? header->tls_align : 0);
}

static struct crateld_error *report_header(struct report *report, const struct inspected_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    char text[NAME_SIZE];
    report_begin_object(report, "header", "Header");
    report_string(report, "name", crate_view_name(&crate->view));
    snprintf(text, sizeof text, "%u.%u", header->abi_major, header->abi_minor);
    report_string(report, "abi", text);
    report_string(report, "machine", crate_machine_name(header->machine));
    report_bytes(report, "build_id", header->build_id, sizeof header->build_id);
    if (crate->file.data.size) {
        bool is_right = false;
        TRY(inspected_crate_has_right_id(crate, &is_right));
        report_bool(report, "build_id_is_right", is_right);
    }
    report_set(report, "flags", header->flags, crate_flag_names, COUNT_OF(crate_flag_names));
    report_address(report, "preferred_base", header->preferred_base);
    if (crate->namer)
        report_address(report, "base", crate->base);
    report_number(report, "image_align", header->image_align);
    report_number(report, "image_size", header->image_size);
    report_number(report, "reserve_size", header->reserve_size);
    report_number(report, "file_size", crate->file.data.size);
    report_number(report, "relink_size", header->relink_size);
    report_number(report, "carried_patches", header->carried_count);
    if (header->entry_rva)
        report_address(report, "entry", header->entry_rva);
    if (header->toc_text_rva)
        report_address(report, "toc_code", header->toc_text_rva);
    if (header->eh_frame_hdr_rva)
        report_address(report, "eh_frame_hdr", header->eh_frame_hdr_rva);
    report_initialisers(report, header);
    if (header->flags & CRATE_FLAG_TEXT_FIXUPS)
        report_string(report, "text", "not shared between processes: it has fixups; compile with -fPIC");
    report_end_object(report);
    return NULL;
}

static void report_segments(struct report *report, const struct inspected_crate *crate)
{
    report_begin_table(report, "segments", "Segments");
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++) {
        const struct crate_segment *segment = &crate->view.header.segments[kind];
        if (!segment->mem_size)
            continue;
        report_row(report);
        report_string(report, "segment", segment_names[kind]);
        report_address(report, "rva", segment->rva);
        report_number(report, "file_size", segment->file_size);
        report_number(report, "mem_size", segment->mem_size);
    }
    report_end_table(report);
}

static bool has_build_id(const struct crate_needed *needed)
{
    static const uint8_t none[sizeof needed->build_id];
    return memcmp(needed->build_id, none, sizeof none) != 0;
}

static struct crateld_error *report_needed(struct report *report, const struct inspected_crate *crate)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_NEEDED);
    uint32_t *import_counts AUTO_FREE = calloc(count + UINT64_C(1), sizeof *import_counts);
    if (!import_counts)
        return error_memory();
    for (uint32_t i = 0; i < crate_view_count(&crate->view, CRATE_TABLE_IMPORTS); i++) {
        uint32_t needed = crate->view.imports[i].needed;
        import_counts[needed < count ? needed : count]++;
    }
    report_begin_table(report, "needed", "Needed");
    for (uint32_t i = 0; i < count; i++) {
        struct crate_needed needed = {0};
        TRY(crate_view_needed(&crate->view, i, &needed));
        report_row(report);
        report_string(report, "name", string_at(crate, needed.name));
        report_string(report, "kind", needed.kind == CRATE_NEEDED_CRATE ? "crate" : "ELF");
        report_number(report, "imports", import_counts[i]);
        report_set(report, "flags", needed.flags, needed_flag_names, COUNT_OF(needed_flag_names));
        report_string(report, "path", text_or_null(string_at(crate, needed.path)));
        if (has_build_id(&needed))
            report_bytes(report, "build_id", needed.build_id, sizeof needed.build_id);
        else
            report_string(report, "build_id", NULL);
    }
    report_end_table(report);
    return NULL;
}

/* Offset in the TOC of import's slot. */
static uint32_t slot_off(const struct inspected_crate *crate, const struct crate_import *import)
{
    return import->kind <= CRATE_IMPORT_IFUNC ? toc_imported_function_off(&crate->view.toc, import->slot)
                                              : toc_imported_global_off(&crate->view.toc, import->slot);
}

/* An import's place in the list: by where it comes from, then as in the table. */
struct import_order {
    uint32_t needed;
    uint32_t import;
};

static int compare_import_order(const void *left, const void *right)
{
    const struct import_order *a = left, *b = right;
    if (a->needed != b->needed)
        return a->needed < b->needed ? -1 : 1;
    return a->import < b->import ? -1 : a->import > b->import;
}

/* The name of needed file `needed`, or what it is if there is none. */
static const char *provider_name(const struct inspected_crate *crate, const struct crate_import *import)
{
    if (import->needed != CRATE_NONE)
        return string_at(crate, crate->view.needed[import->needed].name);
    if (import->flags & CRATE_IMPORT_FLAG_SELF || import->kind == CRATE_IMPORT_IFUNC)
        return "(itself)";
    return import->flags & CRATE_IMPORT_FLAG_VAGUE ? "(the process)" : "(nobody)";
}

static struct crateld_error *report_imports(struct report *report, const struct inspected_crate *crate)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_IMPORTS);
    struct import_order *order AUTO_FREE = calloc(count + UINT64_C(1), sizeof *order);
    if (!order)
        return error_memory();
    for (uint32_t i = 0; i < count; i++)
        order[i] = (struct import_order){crate->view.imports[i].needed, i};
    qsort(order, count, sizeof *order, compare_import_order);
    report_begin_table(report, "imports", "Imports");
    for (uint32_t i = 0; i < count; i++) {
        struct crate_import import = {0};
        TRY(crate_view_import(&crate->view, order[i].import, &import));
        report_row(report);
        report_string(report, "from", provider_name(crate, &import));
        report_string(report, "name", string_at(crate, import.name));
        report_string(report, "version", text_or_null(string_at(crate, import.version)));
        report_string(report, "kind", import_kinds[import.kind]);
        report_number(report, "import", order[i].import);
        report_address(report, "toc_off", import.kind == CRATE_IMPORT_FORWARD ? 0 : slot_off(crate, &import));
        report_set(report, "flags", import.flags, import_flag_names, COUNT_OF(import_flag_names));
    }
    report_end_table(report);
    return NULL;
}

/* An export's place in the list: by name. */
struct export_order {
    const char *name;
    uint32_t export;
};

static int compare_export_order(const void *left, const void *right)
{
    const struct export_order *a = left, *b = right;
    int order = strcmp(a->name, b->name);
    return order ? order : a->export < b->export ? -1 : a->export > b->export;
}

static struct crateld_error *report_exports(struct report *report, const struct inspected_crate *crate)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_EXPORTS);
    struct export_order *order AUTO_FREE = calloc(count + UINT64_C(1), sizeof *order);
    if (!order)
        return error_memory();
    for (uint32_t i = 0; i < count; i++) {
        struct crate_export export = {0};
        TRY(crate_view_export(&crate->view, i, &export));
        order[i] = (struct export_order){string_at(crate, export.name), i};
    }
    qsort(order, count, sizeof *order, compare_export_order);
    report_begin_table(report, "exports", "Exports");
    for (uint32_t i = 0; i < count; i++) {
        const struct crate_export *export = &crate->view.exports[order[i].export];
        report_row(report);
        report_string(report, "name", order[i].name);
        report_string(report, "kind", export_kinds[export->kind]);
        report_address(report, "rva", export->rva);
        report_address(report, "canonical", export->canonical_rva);
        report_number(report, "size", export->size);
        report_set(report, "flags", export->flags, export_flag_names, COUNT_OF(export_flag_names));
    }
    report_end_table(report);
    return NULL;
}

/* Sets `ret` to what is at `address`, `wanted` if that is one of its names: in the process, or in the crate
 * at its preferred base. */
static void name_address(const struct inspected_crate *crate, uint64_t address, const char *wanted, char *ret,
                         size_t size)
{
    if (crate->namer)
        crate->namer->name(crate->namer, address, wanted, ret, size);
    else
        inspected_crate_name(crate, address, ret, size);
}

static uint64_t toc_word(const struct inspected_crate *crate, uint32_t off)
{
    uint64_t word = 0;
    span_read(crate->toc, off, &word, sizeof word);
    return word;
}

static void report_toc_fields(struct report *report, const struct inspected_crate *crate)
{
    static const char *const names[] = {"magic",    "context",      "builtins",      "resolver",
                                        "epoch",    "gc_heap_base", "gc_heap_bound", "gc_heap_data",
                                        "type_ids", "crate",        "users",         "chain"};
    _Static_assert(COUNT_OF(names) * 8 == sizeof(struct crateld_toc), "a name for each field");
    report_begin_table(report, "fields", "TOC: fields");
    for (uint32_t i = 0; i < COUNT_OF(names); i++) {
        report_row(report);
        report_address(report, "offset", i * 8);
        report_string(report, "field", names[i]);
        report_address(report, "value", toc_word(crate, i * 8));
    }
    report_end_table(report);
}

/* What slot contents lead to; `import` is what they are for. */
static void describe_slot(const struct inspected_crate *crate, const struct crate_import *import, uint64_t value,
                          char *ret, size_t size)
{
    if (import->kind <= CRATE_IMPORT_CALL_TOC && inspected_crate_is_lazy(crate, value))
        snprintf(ret, size, "unbound");
    else if (!crate->namer && import->kind > CRATE_IMPORT_CALL_TOC)
        snprintf(ret, size, "bound at start");
    else if (import->kind == CRATE_IMPORT_TLS_OFFSET || import->kind == CRATE_IMPORT_TLS_INDEX)
        snprintf(ret, size, "%lld", (long long)value);
    else if (!value)
        snprintf(ret, size, "0");
    else
        name_address(crate, value, string_at(crate, import->name), ret, size);
}

static struct crateld_error *report_import_slots(struct report *report, const struct inspected_crate *crate)
{
    char text[NAME_SIZE];
    report_begin_table(report, "imports", "TOC: imports");
    for (uint32_t i = 0; i < crate_view_count(&crate->view, CRATE_TABLE_IMPORTS); i++) {
        struct crate_import import = {0};
        TRY(crate_view_import(&crate->view, i, &import));
        if (import.kind == CRATE_IMPORT_FORWARD)
            continue;
        uint32_t off = slot_off(crate, &import);
        describe_slot(crate, &import, toc_word(crate, off), text, sizeof text);
        report_row(report);
        report_address(report, "offset", off);
        report_string(report, "kind", import_kinds[import.kind]);
        report_string(report, "from", provider_name(crate, &import));
        report_string(report, "name", string_at(crate, import.name));
        report_address(report, "value", toc_word(crate, off));
        report_string(report, "bound_to", text);
    }
    report_end_table(report);
    return NULL;
}

static void report_func_refs(struct report *report, const struct inspected_crate *crate)
{
    char text[NAME_SIZE];
    report_begin_table(report, "func_refs", "TOC: functions whose address escapes");
    for (uint32_t i = 0; i < crate->view.header.func_refs; i++) {
        uint32_t off = toc_func_ref_off(&crate->view.toc, i);
        uint64_t entry = toc_word(crate, off);
        if (!entry)
            continue; /* spare */
        name_address(crate, entry, NULL, text, sizeof text);
        report_row(report);
        report_address(report, "offset", off);
        report_string(report, "function", text);
        report_address(report, "value", entry);
    }
    report_end_table(report);
}

static struct crateld_error *report_toc(struct report *report, const struct inspected_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    report_begin_object(report, "toc", "TOC");
    report_address(report, "rva", header->toc_rva);
    report_number(report, "size", crate->view.toc.size);
    report_number(report, "function_slots", header->imported_functions);
    report_number(report, "global_slots", header->imported_globals);
    report_number(report, "func_ref_slots", header->func_refs);
    report_number(report, "type_id_slots", header->type_ids);
    report_toc_fields(report, crate);
    TRY(report_import_slots(report, crate));
    report_func_refs(report, crate);
    report_end_object(report);
    return NULL;
}

static void report_stubs(struct report *report, const struct inspected_crate *crate)
{
    static const char *const kinds[] = {
        [SYMBOL_MAP_ENTRY_STUB] = "entry", [SYMBOL_MAP_STUB_PLAIN] = "import", [SYMBOL_MAP_STUB_TOC] = "import (TOC)"};
    const struct crate_header *header = &crate->view.header;
    report_begin_object(report, "stubs", NULL);
    report_begin_table(report, "list", "Stubs");
    for (size_t i = 0; i < crate->symbols.count; i++) {
        const struct symbol_map_entry *entry = &crate->symbols.at[i];
        if (entry->kind < SYMBOL_MAP_ENTRY_STUB)
            continue;
        report_row(report);
        report_address(report, "rva", entry->rva);
        report_string(report, "kind", kinds[entry->kind]);
        report_number(report, "size", entry->size);
        report_string(report, "of", entry->name);
    }
    report_end_table(report);
    report_address(report, "lazy_stubs", header->imported_functions ? header->lazy_stubs_rva : 0);
    report_number(report, "lazy_stub_count", header->imported_functions);
    report_number(report, "lazy_stub_size", crate_machine_stubs(header->machine)->lazy_size);
    report_end_object(report);
}

/* Sums over a module's sections. */
struct module_sizes {
    uint64_t text, rodata, data, bss, relocs;
    bool is_toc;
};

static struct crateld_error *sum_sections(const struct relink_view *relink, const struct relink_module *module,
                                          struct module_sizes *ret)
{
    struct module_sizes sizes = {0};
    for (uint32_t i = 0; i < module->section_count; i++) {
        struct relink_section section = {0};
        TRY(relink_view_section(relink, module->first_section + i, &section));
        if (section.flags & RELINK_SECTION_DROPPED)
            continue;
        sizes.text += section.flags & RELINK_SECTION_TEXT ? section.size : 0;
        sizes.rodata += section.flags & RELINK_SECTION_RODATA ? section.size : 0;
        sizes.data += section.flags & RELINK_SECTION_DATA ? section.size : 0;
        sizes.bss += section.flags & RELINK_SECTION_BSS ? section.size : 0;
        sizes.relocs += section.reloc_count;
        sizes.is_toc |= (section.flags & RELINK_SECTION_TOC_CODE) != 0;
    }
    *ret = sizes;
    return NULL;
}

static struct crateld_error *report_modules(struct report *report, const struct inspected_crate *crate)
{
    report_begin_table(report, "modules", "Modules");
    for (uint32_t i = 0; i < crate->relink.module_count; i++) {
        struct relink_module module = {0};
        struct module_sizes sizes = {0};
        TRY(relink_view_module(&crate->relink, i, &module));
        TRY(sum_sections(&crate->relink, &module, &sizes));
        report_row(report);
        report_string(report, "path", *module.path ? module.path : "(the linker)");
        report_string(report, "member", text_or_null(module.member));
        report_string(report, "code", sizes.is_toc ? "TOC" : sizes.text ? "plain" : NULL);
        report_number(report, "text", sizes.text);
        report_number(report, "rodata", sizes.rodata);
        report_number(report, "data", sizes.data);
        report_number(report, "bss", sizes.bss);
        report_number(report, "sections", module.section_count);
        report_number(report, "symbols", module.symbol_count);
        report_number(report, "relocations", sizes.relocs);
    }
    report_end_table(report);
    return NULL;
}

/* The segment that `rva` is in. */
static const char *segment_of(const struct inspected_crate *crate, uint32_t rva)
{
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++) {
        if (crate_segment_has(&crate->view.header, kind, rva, 1, false))
            return segment_names[kind];
    }
    return NULL;
}

static const char *import_name(const struct inspected_crate *crate, uint32_t import)
{
    return import == CRATE_NONE ? NULL : string_at(crate, crate->view.imports[import].name);
}

static struct crateld_error *report_fixups(struct report *report, const struct inspected_crate *crate)
{
    report_begin_table(report, "fixups", "Fixups");
    for (uint32_t i = 0; i < crate_view_count(&crate->view, CRATE_TABLE_FIXUPS); i++) {
        struct crate_fixup fixup = {0};
        TRY(crate_view_fixup(&crate->view, i, &fixup));
        report_row(report);
        report_address(report, "place", fixup.place_rva);
        report_string(report, "segment", segment_of(crate, fixup.place_rva));
        report_string(report, "kind", fixup_kinds[fixup.kind]);
        report_string(report, "import", import_name(crate, fixup.import));
        report_signed(report, "addend", fixup.addend);
    }
    report_end_table(report);
    report_begin_table(report, "data_relocations", "Data relocations");
    for (uint32_t i = 0; i < crate_view_count(&crate->view, CRATE_TABLE_DATA_RELOCS); i++) {
        struct crate_data_reloc reloc = {0};
        TRY(crate_view_data_reloc(&crate->view, i, &reloc));
        report_row(report);
        report_address(report, "place", reloc.place_rva);
        report_string(report, "import", import_name(crate, reloc.import));
        report_signed(report, "addend", reloc.addend);
    }
    report_end_table(report);
    uint64_t word_count = 0;
    struct crate_relr_cursor cursor = {0};
    for (uint32_t place; crate_view_relr_next(&crate->view, &cursor, &place) == CRATE_RELR_PLACE;)
        word_count++;
    report_number(report, "relative_words", word_count);
    return NULL;
}

/* One row about the function `symbol`. */
static struct crateld_error *report_function(struct report *report, const struct inspected_crate *crate,
                                             struct frame_sizes *frames, const struct relink_symbol *symbol,
                                             const struct relink_section *section)
{
    struct relink_module module = {0};
    TRY(relink_view_module(&crate->relink, symbol->module, &module));
    bool is_toc = section->flags & RELINK_SECTION_TOC_CODE;
    uint64_t rva = section->rva + symbol->value;
    struct frame_size frame = frame_size_of(frames, crate->view.header.preferred_base + rva, symbol->size);
    uint32_t arguments = symbol->refs[RELINK_REF_STACK_ARGUMENTS];
    report_row(report);
    report_address(report, "rva", rva);
    report_number(report, "size", symbol->size);
    report_string(report, "code", is_toc ? "TOC" : "plain");
    if (frame.is_known)
        report_number(report, "frame", frame.bytes);
    else
        report_string(report, "frame", NULL);
    report_string(report, "frame_grows", frame.is_known && frame.is_dynamic ? "yes" : NULL);
    if (is_toc)
        report_number(report, "stack_arguments", arguments == RELINK_NONE ? 0 : arguments);
    else
        report_string(report, "stack_arguments", NULL);
    report_string(report, "varargs", symbol->flags & RELINK_SYMBOL_VARARGS ? "yes" : NULL);
    report_string(report, "leaked", symbol->flags & RELINK_SYMBOL_LEAKED ? "yes" : NULL);
    report_string(report, "name", symbol->name);
    report_string(report, "module", *module.member ? module.member : module.path);
    return NULL;
}

static struct crateld_error *report_function_rows(struct report *report, const struct inspected_crate *crate,
                                                  struct frame_sizes *frames)
{
    for (uint32_t i = 0; i < crate->relink.header.symbol_count; i++) {
        struct relink_symbol symbol = {0};
        struct relink_section section = {0};
        TRY(relink_view_symbol(&crate->relink, i, &symbol));
        if (symbol.type != STT_FUNC || symbol.where != RELINK_IN_SECTION)
            continue;
        TRY(relink_view_section(&crate->relink, symbol.section, &section));
        if (section.rva != RELINK_NONE)
            TRY(report_function(report, crate, frames, &symbol, &section));
    }
    return NULL;
}

static struct crateld_error *report_functions(struct report *report, const struct inspected_crate *crate)
{
    struct frame_sizes *frames = NULL;
    report_begin_table(report, "functions", "Functions");
    if (crate->has_relink) {
        TRY(frame_sizes_create(crate->file.data, crate->view.header.machine, &frames));
        struct crateld_error *error = report_function_rows(report, crate, frames);
        frame_sizes_destroy(frames);
        TRY(error);
    }
    report_end_table(report);
    return NULL;
}

/* What a patch changes in its base. */
static struct crateld_error *report_patch(struct report *report, const struct inspected_crate *crate)
{
    const struct crate_view *view = &crate->view;
    report_begin_table(report, "versions", "New versions of modules");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MODULES); i++) {
        struct crate_module module;
        TRY(crate_view_module(view, i, &module));
        report_row(report);
        report_string(report, "path", string_at(crate, module.path));
        report_string(report, "member", text_or_null(string_at(crate, module.member)));
    }
    report_end_table(report);
    report_begin_table(report, "moves", "Functions and constants replaced");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MOVES); i++) {
        struct crate_move move;
        TRY(crate_view_move(view, i, &move));
        report_row(report);
        report_string(report, "name", string_at(crate, move.name));
        report_string(report, "kind", move.flags & CRATE_MOVE_FLAG_CONSTANT ? "constant" : "function");
        report_address(report, "in_base", move.old_rva);
        report_address(report, "new", move.new_rva);
    }
    report_end_table(report);
    static const char *const ways[] = {"copied", "refused", "new", "migrated"};
    report_begin_table(report, "grown", "Variables that move");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_GROWN); i++) {
        struct crate_grown grown;
        TRY(crate_view_grown(view, i, &grown));
        report_row(report);
        report_string(report, "name", string_at(crate, grown.name));
        report_address(report, "in_base", grown.base_rva);
        report_number(report, "size", grown.old_size);
        report_number(report, "new_size", grown.new_size);
        report_address(report, "new", grown.image_rva);
        report_string(report, "value", ways[grown.on_change]);
    }
    report_end_table(report);
    report_begin_table(report, "starters", "Initialisers that run once");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_STARTERS); i++) {
        struct crate_starter starter;
        TRY(crate_view_starter(view, i, &starter));
        report_row(report);
        report_string(report, "name", string_at(crate, starter.name));
        report_address(report, "new", starter.rva);
    }
    report_end_table(report);
    report_begin_table(report, "new_functions", "New functions whose address others may get");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_FRESH_FUNCTIONS); i++) {
        struct crate_fresh_function function;
        TRY(crate_view_fresh_function(view, i, &function));
        report_row(report);
        report_string(report, "name", string_at(crate, function.name));
        report_address(report, "address", function.stub_rva);
        report_address(report, "code", function.rva);
    }
    report_end_table(report);
    report_begin_table(report, "vanished", "Exports that are gone");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_VANISHED); i++) {
        struct crate_vanished vanished;
        TRY(crate_view_vanished(view, i, &vanished));
        report_row(report);
        report_string(report, "name", string_at(crate, vanished.name));
    }
    report_end_table(report);
    report_begin_table(report, "initial_values", "Variables with new initial values");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_INITS); i++) {
        struct crate_init init;
        TRY(crate_view_init_value(view, i, &init));
        report_row(report);
        report_string(report, "name", string_at(crate, init.name));
        report_address(report, "in_base", init.base_rva);
        report_number(report, "size", init.size);
    }
    report_end_table(report);
    static const char *const kinds[] = {"pc-relative", "32 bits", "32 bits, signed", "64 bits"};
    uint32_t moves = crate_view_count(view, CRATE_TABLE_MOVES);
    report_begin_table(report, "sites", "Places of the base that refer to what moves");
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_SITES); i++) {
        struct crate_site site;
        TRY(crate_view_site(view, i, &site));
        report_row(report);
        report_address(report, "place", site.place_rva);
        report_string(report, "to",
                      string_at(crate, site.subject < moves ? view->moves[site.subject].name
                                                            : view->grown[site.subject - moves].name));
        report_string(report, "kind", kinds[site.kind]);
    }
    report_end_table(report);
    return NULL;
}

/* The patches that the crate's file carries. */
static struct crateld_error *report_carried(struct report *report, const struct inspected_crate *crate)
{
    const struct crate_header *header = &crate->view.header;
    report_begin_table(report, "carried", "Patches that the file carries");
    for (uint32_t i = 0; crate->file.data.size && i < header->carried_count; i++) {
        struct span bytes = {0};
        struct crate_view patch = {0};
        TRY(crate_carried_at(crate->path, crate->file.data, header, i, &bytes));
        TRY(crate_view_open(crate->path, bytes, &patch));
        for (uint32_t k = 0; k < crate_view_count(&patch, CRATE_TABLE_MODULES); k++) {
            struct crate_module module;
            TRY(crate_view_module(&patch, k, &module));
            report_row(report);
            report_number(report, "patch", i);
            report_bytes(report, "build_id", patch.header.build_id, sizeof patch.header.build_id);
            report_string(report, "path", crate_view_string(&patch, module.path));
            report_string(report, "member", text_or_null(crate_view_string(&patch, module.member)));
        }
    }
    report_end_table(report);
    return NULL;
}

struct crateld_error *inspect_crate(struct report *report, const struct inspected_crate *crate, unsigned parts)
{
    bool is_bundle = crate->view.header.flags & CRATE_FLAG_BUNDLE;
    if (parts & INSPECT_HEADER)
        TRY(report_header(report, crate));
    if (parts & INSPECT_SEGMENTS)
        report_segments(report, crate);
    if (is_bundle && parts & INSPECT_MEMBERS)
        TRY(inspect_members(report, crate));
    if (parts & INSPECT_NEEDED)
        TRY(report_needed(report, crate));
    if (parts & INSPECT_IMPORTS)
        TRY(report_imports(report, crate));
    if (parts & INSPECT_EXPORTS)
        TRY(report_exports(report, crate));
    if (is_bundle && parts & INSPECT_EXPORTS)
        TRY(inspect_member_exports(report, crate));
    if (parts & INSPECT_TOC)
        TRY(report_toc(report, crate));
    if (parts & INSPECT_STUBS)
        report_stubs(report, crate);
    if (parts & INSPECT_MODULES)
        TRY(report_modules(report, crate));
    if (parts & INSPECT_PATCH && crate->view.header.flags & CRATE_FLAG_PATCH)
        TRY(report_patch(report, crate));
    if (parts & INSPECT_PATCH && crate->view.header.carried_count)
        TRY(report_carried(report, crate));
    if (parts & INSPECT_FIXUPS)
        TRY(report_fixups(report, crate));
    if (parts & INSPECT_FUNCTIONS)
        TRY(report_functions(report, crate));
    return NULL;
}

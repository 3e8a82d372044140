/* The accessors of crate/reader.h that check a table's entry when it is used. */
#include <inttypes.h>

#include "crate/reader.h"

enum {
    KNOWN_NEEDED_FLAGS = CRATE_NEEDED_FLAG_EAGER | CRATE_NEEDED_FLAG_USES_EXPORTS,
    KNOWN_IMPORT_FLAGS = CRATE_IMPORT_FLAG_WEAK | CRATE_IMPORT_FLAG_VAGUE | CRATE_IMPORT_FLAG_SELF |
                         CRATE_IMPORT_FLAG_BASE | CRATE_IMPORT_FLAG_FRESH,
    KNOWN_EXPORT_FLAGS = CRATE_EXPORT_FLAG_WEAK | CRATE_EXPORT_FLAG_VAGUE | CRATE_EXPORT_FLAG_FORWARD,
};

/* A FORMAT error about entry `i` of the table called `table`. */
#define ENTRY_FAULT(view, table, i, ...)                                                                               \
    error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s: %s[%u]", (view)->path, table, i)

static struct crateld_error *check_index(const struct crate_view *view, enum crate_table_kind kind, const char *table,
                                         uint32_t i)
{
    if (i >= crate_view_count(view, kind))
        return ENTRY_FAULT(view, table, i, "there are only %u", crate_view_count(view, kind));
    return NULL;
}

static struct crateld_error *check_string(const struct crate_view *view, const char *table, uint32_t i,
                                          const char *what, uint32_t off)
{
    if (!crate_view_string(view, off))
        return ENTRY_FAULT(view, table, i, "%s at 0x%x is not within the strings", what, off);
    return NULL;
}

/* Whether an address in the image, or right behind its end, is at `rva`. */
static bool image_has(const struct crate_view *view, uint32_t rva)
{
    return rva <= view->header.image_size;
}

struct crateld_error *crate_view_needed(const struct crate_view *view, uint32_t i, struct crate_needed *ret)
{
    TRY(check_index(view, CRATE_TABLE_NEEDED, "needed", i));
    struct crate_needed needed = view->needed[i];
    TRY(check_string(view, "needed", i, "name", needed.name));
    TRY(check_string(view, "needed", i, "path", needed.path));
    TRY(check_string(view, "needed", i, "runpath", needed.runpath));
    if (!*crate_view_string(view, needed.name))
        return ENTRY_FAULT(view, "needed", i, "it has no name");
    if (needed.kind > CRATE_NEEDED_ELF || needed.flags & ~KNOWN_NEEDED_FLAGS)
        return ENTRY_FAULT(view, "needed", i, "unknown kind %u or flags 0x%x", needed.kind, needed.flags);
    *ret = needed;
    return NULL;
}

/* The import's slot is there, and function imports have that of their index. */
static struct crateld_error *check_slot(const struct crate_view *view, uint32_t i, const struct crate_import *import)
{
    const struct crate_header *header = &view->header;
    if (import->kind <= CRATE_IMPORT_IFUNC) {
        if (import->slot != i || i >= header->imported_functions)
            return ENTRY_FAULT(view, "imports", i, "function slot %u of %u, wanted the import's index", import->slot,
                               header->imported_functions);
        return NULL;
    }
    if (import->kind == CRATE_IMPORT_FORWARD) {
        bool is_library = import->needed != CRATE_NONE && view->needed[import->needed].kind == CRATE_NEEDED_ELF;
        if (import->slot != CRATE_NONE || import->flags || !is_library)
            return ENTRY_FAULT(
                view, "imports", i,
                "slot %u and flags 0x%x, wanted none, and a symbol of an ELF library: it is to be handed on",
                import->slot, import->flags);
        return NULL;
    }
    uint32_t slot_count = import->kind == CRATE_IMPORT_TLS_INDEX ? 2 : 1;
    if (slot_count > header->imported_globals || import->slot > header->imported_globals - slot_count)
        return ENTRY_FAULT(view, "imports", i, "global slot %u of %u", import->slot, header->imported_globals);
    return NULL;
}

/* What `fallback_rva` means depends on kind and flags. */
static struct crateld_error *check_fallback(const struct crate_view *view, uint32_t i,
                                            const struct crate_import *import)
{
    bool is_tls = import->kind == CRATE_IMPORT_TLS_OFFSET || import->kind == CRATE_IMPORT_TLS_INDEX;
    uint32_t rva = import->fallback_rva;
    if (import->flags & CRATE_IMPORT_FLAG_SELF && !is_tls)
        return ENTRY_FAULT(view, "imports", i, "the flag SELF is for thread-locals, found kind %u", import->kind);
    if (import->kind == CRATE_IMPORT_IFUNC && !crate_segment_has(&view->header, CRATE_SEGMENT_TEXT, rva, 1, true))
        return ENTRY_FAULT(view, "imports", i, "resolver 0x%x is not within the text", rva);
    if (is_tls && import->flags & (CRATE_IMPORT_FLAG_SELF | CRATE_IMPORT_FLAG_VAGUE) && rva > view->header.tls_mem_size)
        return ENTRY_FAULT(view, "imports", i, "0x%x is not within the crate's %" PRIu64 " bytes of thread-locals", rva,
                           view->header.tls_mem_size);
    if (!is_tls && import->flags & CRATE_IMPORT_FLAG_VAGUE && !image_has(view, rva))
        return ENTRY_FAULT(view, "imports", i, "the crate's own definition 0x%x is not within the image", rva);
    return NULL;
}

struct crateld_error *crate_view_import(const struct crate_view *view, uint32_t i, struct crate_import *ret)
{
    TRY(check_index(view, CRATE_TABLE_IMPORTS, "imports", i));
    struct crate_import import = view->imports[i];
    TRY(check_string(view, "imports", i, "name", import.name));
    TRY(check_string(view, "imports", i, "version", import.version));
    if (import.kind > CRATE_IMPORT_FORWARD || import.flags & ~KNOWN_IMPORT_FLAGS)
        return ENTRY_FAULT(view, "imports", i, "unknown kind %u or flags 0x%x", import.kind, import.flags);
    if (import.needed != CRATE_NONE && import.needed >= crate_view_count(view, CRATE_TABLE_NEEDED))
        return ENTRY_FAULT(view, "imports", i, "from needed %u of %u", import.needed,
                           crate_view_count(view, CRATE_TABLE_NEEDED));
    bool is_base = import.flags & (CRATE_IMPORT_FLAG_BASE | CRATE_IMPORT_FLAG_FRESH);
    bool is_tls = import.kind == CRATE_IMPORT_TLS_OFFSET || import.kind == CRATE_IMPORT_TLS_INDEX;
    bool is_there = is_tls ? import.fallback_rva <= view->header.tls_mem_size
                           : import.kind == CRATE_IMPORT_ADDRESS &&
                                 (crate_segment_has(&view->header, CRATE_SEGMENT_DATA, import.fallback_rva, 0, false) ||
                                  crate_segment_has(&view->header, CRATE_SEGMENT_TEXT, import.fallback_rva, 1, true));
    if (import.flags & CRATE_IMPORT_FLAG_FRESH && (import.flags != CRATE_IMPORT_FLAG_FRESH || !is_there))
        return ENTRY_FAULT(view, "imports", i, "a new variable or function of kind %u, flags 0x%x, at 0x%x",
                           import.kind, import.flags, import.fallback_rva);
    if (is_base && (!(view->header.flags & CRATE_FLAG_PATCH) || import.needed != 0 ||
                    import.flags & (CRATE_IMPORT_FLAG_VAGUE | CRATE_IMPORT_FLAG_SELF)))
        return ENTRY_FAULT(view, "imports", i, "flags 0x%x and needed %u: a patch's base is needed 0", import.flags,
                           import.needed);
    if (import.needed != CRATE_NONE && !is_base && !*crate_view_string(view, import.name))
        return ENTRY_FAULT(view, "imports", i, "it has no name");
    TRY(check_slot(view, i, &import));
    TRY(check_fallback(view, i, &import));
    *ret = import;
    return NULL;
}

static struct crateld_error *check_import_ref(const struct crate_view *view, const char *table, uint32_t i,
                                              uint32_t import, enum crate_import_kind kind);

/* An export that stands for a symbol of an ELF library has no place of its own. */
static struct crateld_error *check_forward(const struct crate_view *view, uint32_t i, const struct crate_export *export)
{
    bool has_kind = export->kind == CRATE_EXPORT_FUNCTION_PLAIN || export->kind == CRATE_EXPORT_DATA ||
                    export->kind == CRATE_EXPORT_TLS;
    if (!has_kind || export->rva || export->canonical_rva || export->flags & CRATE_EXPORT_FLAG_VAGUE)
        return ENTRY_FAULT(view, "exports", i, "kind %u at 0x%x with flags 0x%x stands for a symbol of a library",
                           export->kind, export->rva, export->flags);
    return check_import_ref(view, "exports", i, export->import, CRATE_IMPORT_FORWARD);
}

/* An export's address is where its kind says. */
static struct crateld_error *check_export_place(const struct crate_view *view, uint32_t i,
                                                const struct crate_export *export)
{
    if (export->flags & CRATE_EXPORT_FLAG_FORWARD)
        return check_forward(view, i, export);
    const struct crate_header *header = &view->header;
    bool is_good = true;
    switch (export->kind) {
    case CRATE_EXPORT_FUNCTION_PLAIN:
    case CRATE_EXPORT_FUNCTION_TOC:
        is_good = crate_segment_has(header, CRATE_SEGMENT_TEXT, export->rva, 0, true) &&
                  crate_segment_has(header, CRATE_SEGMENT_TEXT, export->canonical_rva, 0, true);
        break;
    case CRATE_EXPORT_DATA:
        is_good = image_has(view, export->rva) && image_has(view, export->canonical_rva);
        break;
    case CRATE_EXPORT_TLS:
        is_good = export->rva <= header->tls_mem_size;
        break;
    case CRATE_EXPORT_ABSOLUTE:
        break;
    default:
        return ENTRY_FAULT(view, "exports", i, "unknown kind %u", export->kind);
    }
    if (!is_good)
        return ENTRY_FAULT(view, "exports", i, "0x%x (canonically 0x%x) is not where kind %u belongs", export->rva,
                           export->canonical_rva, export->kind);
    return NULL;
}

struct crateld_error *crate_view_export(const struct crate_view *view, uint32_t i, struct crate_export *ret)
{
    TRY(check_index(view, CRATE_TABLE_EXPORTS, "exports", i));
    struct crate_export export = view->exports[i];
    TRY(check_string(view, "exports", i, "name", export.name));
    if (!*crate_view_string(view, export.name))
        return ENTRY_FAULT(view, "exports", i, "it has no name");
    if (export.flags & ~KNOWN_EXPORT_FLAGS)
        return ENTRY_FAULT(view, "exports", i, "unknown flags 0x%x", export.flags);
    TRY(check_export_place(view, i, &export));
    if (export.import != CRATE_NONE && (!(export.flags & (CRATE_EXPORT_FLAG_VAGUE | CRATE_EXPORT_FLAG_FORWARD)) ||
                                        export.import >= crate_view_count(view, CRATE_TABLE_IMPORTS)))
        return ENTRY_FAULT(view, "exports", i, "import %u of %u says which copy won, with flags 0x%x", export.import,
                           crate_view_count(view, CRATE_TABLE_IMPORTS), export.flags);
    *ret = export;
    return NULL;
}

/* Import `import` is there and of kind `kind`. */
static struct crateld_error *check_import_ref(const struct crate_view *view, const char *table, uint32_t i,
                                              uint32_t import, enum crate_import_kind kind)
{
    if (import >= crate_view_count(view, CRATE_TABLE_IMPORTS) || view->imports[import].kind != kind)
        return ENTRY_FAULT(view, table, i, "import %u of %u, wanted one of kind %d", import,
                           crate_view_count(view, CRATE_TABLE_IMPORTS), kind);
    return NULL;
}

struct crateld_error *crate_view_data_reloc(const struct crate_view *view, uint32_t i, struct crate_data_reloc *ret)
{
    TRY(check_index(view, CRATE_TABLE_DATA_RELOCS, "data relocations", i));
    struct crate_data_reloc reloc = view->data_relocs[i];
    if (!crate_segment_has(&view->header, CRATE_SEGMENT_DATA, reloc.place_rva, 8, false))
        return ENTRY_FAULT(view, "data relocations", i, "place 0x%x is not within the data", reloc.place_rva);
    TRY(check_import_ref(view, "data relocations", i, reloc.import, CRATE_IMPORT_ADDRESS));
    *ret = reloc;
    return NULL;
}

struct crateld_error *crate_view_fixup(const struct crate_view *view, uint32_t i, struct crate_fixup *ret)
{
    TRY(check_index(view, CRATE_TABLE_FIXUPS, "fixups", i));
    struct crate_fixup fixup = view->fixups[i];
    const struct crate_header *header = &view->header;
    if (fixup.kind > CRATE_FIXUP_TPOFF32)
        return ENTRY_FAULT(view, "fixups", i, "unknown kind %u", fixup.kind);
    uint32_t size = fixup.kind == CRATE_FIXUP_ABS64 ? 8 : 4;
    bool is_text = crate_segment_has(header, CRATE_SEGMENT_TEXT, fixup.place_rva, size, true);
    if (!is_text && !crate_segment_has(header, CRATE_SEGMENT_RODATA, fixup.place_rva, size, true) &&
        !crate_segment_has(header, CRATE_SEGMENT_DATA, fixup.place_rva, size, false))
        return ENTRY_FAULT(view, "fixups", i, "place 0x%x is not within the image", fixup.place_rva);
    if (is_text && !(header->flags & CRATE_FLAG_TEXT_FIXUPS))
        return ENTRY_FAULT(view, "fixups", i, "place 0x%x is in the text, but the flags say that none is",
                           fixup.place_rva);
    if (fixup.import != CRATE_NONE)
        TRY(check_import_ref(view, "fixups", i, fixup.import,
                             fixup.kind == CRATE_FIXUP_TPOFF32 ? CRATE_IMPORT_TLS_OFFSET : CRATE_IMPORT_ADDRESS));
    *ret = fixup;
    return NULL;
}

struct crateld_error *crate_view_module(const struct crate_view *view, uint32_t i, struct crate_module *ret)
{
    TRY(check_index(view, CRATE_TABLE_MODULES, "modules", i));
    struct crate_module module = view->modules[i];
    TRY(check_string(view, "modules", i, "path", module.path));
    TRY(check_string(view, "modules", i, "member", module.member));
    if (module.group > i)
        return ENTRY_FAULT(view, "modules", i, "its group is %u, wanted at most its own number", module.group);
    *ret = module;
    return NULL;
}

/* What an element of a patch's table is named, and of which module it is. */
static struct crateld_error *check_part(const struct crate_view *view, const char *table, uint32_t i, uint32_t name,
                                        uint32_t module)
{
    TRY(check_string(view, table, i, "name", name));
    if (module >= crate_view_count(view, CRATE_TABLE_MODULES))
        return ENTRY_FAULT(view, table, i, "module %u of %u", module, crate_view_count(view, CRATE_TABLE_MODULES));
    return NULL;
}

static struct crateld_error *check_align(const struct crate_view *view, const char *table, uint32_t i, uint32_t rva,
                                         uint32_t align)
{
    if (!align || align & (align - 1) || rva & (align - 1))
        return ENTRY_FAULT(view, table, i, "0x%x is no address of an alignment of %u bytes", rva, align);
    return NULL;
}

uint32_t crate_view_moved_functions(const struct crate_view *view)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MOVES); i++)
        count += !(view->moves[i].flags & CRATE_MOVE_FLAG_CONSTANT);
    return count;
}

struct crateld_error *crate_view_move(const struct crate_view *view, uint32_t i, struct crate_move *ret)
{
    TRY(check_index(view, CRATE_TABLE_MOVES, "moves", i));
    struct crate_move move = view->moves[i];
    TRY(check_part(view, "moves", i, move.name, move.module));
    if (move.flags & ~(uint32_t)(CRATE_MOVE_FLAG_LEAKED | CRATE_MOVE_FLAG_CONSTANT))
        return ENTRY_FAULT(view, "moves", i, "unknown flags 0x%x", move.flags);
    bool is_constant = move.flags & CRATE_MOVE_FLAG_CONSTANT;
    bool is_within = is_constant ? crate_segment_has(&view->header, CRATE_SEGMENT_RODATA, move.new_rva, 1, true) ||
                                       crate_segment_has(&view->header, CRATE_SEGMENT_DATA, move.new_rva, 1, false)
                                 : crate_segment_has(&view->header, CRATE_SEGMENT_TEXT, move.new_rva, 1, true);
    if (!is_within)
        return ENTRY_FAULT(view, "moves", i, "0x%x is not within the %s", move.new_rva, is_constant ? "data" : "text");
    *ret = move;
    return NULL;
}

struct crateld_error *crate_view_unit(const struct crate_view *view, uint32_t i, struct crate_unit *ret)
{
    TRY(check_index(view, CRATE_TABLE_UNITS, "units", i));
    struct crate_unit unit = view->units[i];
    TRY(check_part(view, "units", i, 0, unit.module));
    if (unit.rva + unit.size < unit.rva)
        return ENTRY_FAULT(view, "units", i, "0x%x bytes at 0x%x", unit.size, unit.rva);
    *ret = unit;
    return NULL;
}

struct crateld_error *crate_view_init_value(const struct crate_view *view, uint32_t i, struct crate_init *ret)
{
    TRY(check_index(view, CRATE_TABLE_INITS, "initial values", i));
    struct crate_init init = view->inits[i];
    TRY(check_part(view, "initial values", i, init.name, init.module));
    if (!crate_segment_has(&view->header, CRATE_SEGMENT_DATA, init.image_rva, init.size, false))
        return ENTRY_FAULT(view, "initial values", i, "%u bytes at 0x%x are not within the data", init.size,
                           init.image_rva);
    *ret = init;
    return NULL;
}

struct crateld_error *crate_view_grown(const struct crate_view *view, uint32_t i, struct crate_grown *ret)
{
    TRY(check_index(view, CRATE_TABLE_GROWN, "grown variables", i));
    struct crate_grown grown = view->grown[i];
    TRY(check_part(view, "grown variables", i, grown.name, grown.module));
    bool is_smaller = grown.old_size > grown.new_size && grown.on_change == CRATE_ON_CHANGE_COPY;
    if (!grown.old_size || !grown.new_size || is_smaller ||
        !crate_segment_has(&view->header, CRATE_SEGMENT_DATA, grown.image_rva, grown.new_size, false))
        return ENTRY_FAULT(view, "grown variables", i, "%u bytes, which were %u, at 0x%x are not within the data",
                           grown.new_size, grown.old_size, grown.image_rva);
    if (grown.on_change >= CRATE_ON_CHANGE_COUNT || grown.flags & ~(uint32_t)CRATE_GROWN_FLAG_FORCE)
        return ENTRY_FAULT(view, "grown variables", i, "what becomes of its value is %u, with flags 0x%x",
                           grown.on_change, grown.flags);
    TRY(check_align(view, "grown variables", i, grown.image_rva, grown.align));
    TRY(check_string(view, "grown variables", i, "difference", grown.difference));
    TRY(check_string(view, "grown variables", i, "stranger", grown.stranger));
    *ret = grown;
    return NULL;
}

struct crateld_error *crate_view_fresh(const struct crate_view *view, uint32_t i, struct crate_fresh *ret)
{
    TRY(check_index(view, CRATE_TABLE_FRESH, "new variables", i));
    struct crate_fresh fresh = view->fresh[i];
    TRY(check_part(view, "new variables", i, fresh.name, fresh.module));
    if (!crate_segment_has(&view->header, CRATE_SEGMENT_DATA, fresh.rva, fresh.size, false))
        return ENTRY_FAULT(view, "new variables", i, "%u bytes at 0x%x are not within the data", fresh.size, fresh.rva);
    TRY(check_align(view, "new variables", i, fresh.rva, fresh.align));
    *ret = fresh;
    return NULL;
}

struct crateld_error *crate_view_fresh_tls(const struct crate_view *view, uint32_t i, struct crate_fresh *ret)
{
    TRY(check_index(view, CRATE_TABLE_FRESH_TLS, "new thread-locals", i));
    struct crate_fresh fresh = view->fresh_tls[i];
    TRY(check_part(view, "new thread-locals", i, fresh.name, fresh.module));
    if (fresh.rva > view->header.tls_mem_size || fresh.size > view->header.tls_mem_size - fresh.rva)
        return ENTRY_FAULT(view, "new thread-locals", i, "%u bytes at 0x%x are not within the thread-locals",
                           fresh.size, fresh.rva);
    TRY(check_align(view, "new thread-locals", i, fresh.rva, fresh.align));
    *ret = fresh;
    return NULL;
}

struct crateld_error *crate_view_vanished(const struct crate_view *view, uint32_t i, struct crate_vanished *ret)
{
    TRY(check_index(view, CRATE_TABLE_VANISHED, "vanished exports", i));
    TRY(check_part(view, "vanished exports", i, view->vanished[i].name, view->vanished[i].module));
    *ret = view->vanished[i];
    return NULL;
}

struct crateld_error *crate_view_starter(const struct crate_view *view, uint32_t i, struct crate_starter *ret)
{
    TRY(check_index(view, CRATE_TABLE_STARTERS, "initialisers", i));
    struct crate_starter starter = view->starters[i];
    TRY(check_part(view, "initialisers", i, starter.name, starter.module));
    if (!crate_segment_has(&view->header, CRATE_SEGMENT_TEXT, starter.rva, 1, true))
        return ENTRY_FAULT(view, "initialisers", i, "0x%x is not within the text", starter.rva);
    *ret = starter;
    return NULL;
}

struct crateld_error *crate_view_fresh_function(const struct crate_view *view, uint32_t i,
                                                struct crate_fresh_function *ret)
{
    const struct crate_header *header = &view->header;
    TRY(check_index(view, CRATE_TABLE_FRESH_FUNCTIONS, "new functions", i));
    struct crate_fresh_function function = view->fresh_functions[i];
    TRY(check_part(view, "new functions", i, function.name, function.module));
    if (function.flags & ~(uint32_t)(CRATE_FRESH_FUNCTION_FLAG_TOC | CRATE_FRESH_FUNCTION_FLAG_LEAKED))
        return ENTRY_FAULT(view, "new functions", i, "unknown flags 0x%x", function.flags);
    if (!crate_segment_has(header, CRATE_SEGMENT_TEXT, function.rva, 1, true) ||
        (function.varargs_rva && !crate_segment_has(header, CRATE_SEGMENT_TEXT, function.varargs_rva, 1, true)))
        return ENTRY_FAULT(view, "new functions", i, "0x%x, with variable arguments 0x%x, is not within the text",
                           function.rva, function.varargs_rva);
    bool is_leaked = function.flags & CRATE_FRESH_FUNCTION_FLAG_LEAKED;
    bool is_stub_good = is_leaked ? function.stub_rva == function.rva && function.func_ref == CRATE_NONE
                                  : crate_segment_has(header, CRATE_SEGMENT_TEXT, function.stub_rva, 1, true) &&
                                        crate_segment_has(header, CRATE_SEGMENT_TEXT, function.jump_rva, 4, true) &&
                                        function.func_ref < header->func_refs;
    if (!is_stub_good)
        return ENTRY_FAULT(view, "new functions", i, "an entry stub at 0x%x, with the record %u of %u, jumps at 0x%x",
                           function.stub_rva, function.func_ref, header->func_refs, function.jump_rva);
    *ret = function;
    return NULL;
}

struct crateld_error *crate_view_site(const struct crate_view *view, uint32_t i, struct crate_site *ret)
{
    TRY(check_index(view, CRATE_TABLE_SITES, "sites", i));
    struct crate_site site = view->sites[i];
    uint64_t subjects = (uint64_t)crate_view_count(view, CRATE_TABLE_MOVES) + crate_view_count(view, CRATE_TABLE_GROWN);
    if (site.subject >= subjects || site.kind >= CRATE_FIXUP_TPOFF32)
        return ENTRY_FAULT(view, "sites", i, "subject %u of %llu, kind %u", site.subject, (unsigned long long)subjects,
                           site.kind);
    *ret = site;
    return NULL;
}

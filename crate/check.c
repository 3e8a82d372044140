#include "crate/check.h"

#include "base/hash.h"

/* A FORMAT error about entry `i` of the table called `table`. */
#define ENTRY_FAULT(view, table, i, ...)                                                                     \
    error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s: %s[%u]", (view)->path, table, i)

static struct crateld_error *check_needed(const struct crate_view *view)
{
    struct crate_needed needed;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_NEEDED); i++)
        TRY(crate_view_needed(view, i, &needed));
    return NULL;
}

/* Also: function imports come first, so that slot and index agree without gaps. */
static struct crateld_error *check_imports(const struct crate_view *view)
{
    bool had_global = false;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_IMPORTS); i++) {
        struct crate_import import;
        TRY(crate_view_import(view, i, &import));
        bool is_global = import.kind > CRATE_IMPORT_IFUNC;
        if (had_global && !is_global)
            return ENTRY_FAULT(view, "imports", i, "a function behind an import that is none");
        had_global = is_global;
        if (import.hash != hash_string(crate_view_string(view, import.name)))
            return ENTRY_FAULT(view, "imports", i, "the hash is not that of the name '%s'",
                               crate_view_string(view, import.name));
    }
    return NULL;
}

/* Also: sorted by hash, each name once, and found by its name. */
static struct crateld_error *check_exports(const struct crate_view *view)
{
    uint64_t previous = 0;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_EXPORTS); i++) {
        struct crate_export export;
        TRY(crate_view_export(view, i, &export));
        const char *name = crate_view_string(view, export.name);
        if (export.hash != hash_string(name))
            return ENTRY_FAULT(view, "exports", i, "the hash is not that of the name '%s'", name);
        if (export.hash < previous)
            return ENTRY_FAULT(view, "exports", i, "'%s' is not sorted by its hash", name);
        previous = export.hash;
        if (crate_view_find_export(view, export.hash, name) != i)
            return ENTRY_FAULT(view, "exports", i, "'%s' is not found in its bucket, or is there twice",
                               name);
    }
    return NULL;
}

static struct crateld_error *check_relocs(const struct crate_view *view)
{
    struct crate_relr_cursor cursor = {0};
    uint32_t place;
    enum crate_relr_step step;
    while ((step = crate_view_relr_next(view, &cursor, &place)) == CRATE_RELR_PLACE)
        ;
    if (step == CRATE_RELR_BAD)
        return ENTRY_FAULT(view, "relr", cursor.next - 1, "a place that is not within the data");
    struct crate_data_reloc reloc;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_DATA_RELOCS); i++)
        TRY(crate_view_data_reloc(view, i, &reloc));
    struct crate_fixup fixup;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_FIXUPS); i++)
        TRY(crate_view_fixup(view, i, &fixup));
    return NULL;
}

struct crateld_error *crate_view_check_all(const struct crate_view *view)
{
    TRY(check_needed(view));
    TRY(check_imports(view));
    TRY(check_exports(view));
    return check_relocs(view);
}

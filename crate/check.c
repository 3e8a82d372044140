#include "crate/check.h"

#include <inttypes.h>

#include "base/hash.h"
#include "crate/members.h"

/* A FORMAT error about entry `i` of the table called `table`. */
#define ENTRY_FAULT(view, table, i, ...)                                                                               \
    error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s: %s[%u]", (view)->path, table, i)

static struct crateld_error *check_needed(const struct crate_view *view)
{
    struct crate_needed needed = {0};
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_NEEDED); i++)
        TRY(crate_view_needed(view, i, &needed));
    return NULL;
}

/* What the loader does with imports of this kind: it leaves the first group alone until they are called. */
static int import_group(uint8_t kind)
{
    return kind <= CRATE_IMPORT_CALL_TOC ? 0 : kind == CRATE_IMPORT_IFUNC ? 1 : 2;
}

/* Also: sorted by what the loader does with them, which is also why function slots have no gaps. */
static struct crateld_error *check_imports(const struct crate_view *view)
{
    int group = 0;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_IMPORTS); i++) {
        struct crate_import import = {0};
        TRY(crate_view_import(view, i, &import));
        if (import_group(import.kind) < group)
            return ENTRY_FAULT(view, "imports", i, "kind %u is behind one of a later group", import.kind);
        group = import_group(import.kind);
        if (import.hash != hash_string(crate_view_string(view, import.name)))
            return ENTRY_FAULT(view, "imports", i, "the hash is not that of the name '%s'",
                               crate_view_string(view, import.name));
    }
    return NULL;
}

/* Each bucket starts where the one before it ends, and they hold all exports. */
static struct crateld_error *check_buckets(const struct crate_view *view)
{
    uint32_t count = crate_view_count(view, CRATE_TABLE_BUCKETS);
    for (uint32_t i = 1; i < count; i++) {
        if (view->buckets[i] < view->buckets[i - 1])
            return ENTRY_FAULT(view, "buckets", i, "%u behind %u", view->buckets[i], view->buckets[i - 1]);
    }
    if (view->buckets[0] || view->buckets[count - 1] != crate_view_count(view, CRATE_TABLE_EXPORTS))
        return ENTRY_FAULT(view, "buckets", count - 1, "they are for exports %u to %u of %u", view->buckets[0],
                           view->buckets[count - 1], crate_view_count(view, CRATE_TABLE_EXPORTS));
    return NULL;
}

/* Also: sorted by hash, each in its bucket, no name twice in a row. */
static struct crateld_error *check_exports(const struct crate_view *view)
{
    struct crate_export export = {0}, previous = {0};
    uint32_t hash_count = crate_view_count(view, CRATE_TABLE_HASHES); /* none, of a member */
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_EXPORTS); i++) {
        TRY(crate_view_export(view, i, &export));
        const char *name = crate_view_string(view, export.name);
        if (export.hash != hash_string(name))
            return ENTRY_FAULT(view, "exports", i, "the hash is not that of the name '%s'", name);
        if (i && export.hash < previous.hash)
            return ENTRY_FAULT(view, "exports", i, "'%s' is not sorted by its hash", name);
        if (i && export.hash == previous.hash && crate_view_string_is(view, previous.name, name))
            return ENTRY_FAULT(view, "exports", i, "'%s' is there twice", name);
        uint64_t bucket = crate_view_bucket(view, export.hash);
        if (view->buckets[bucket] > i || view->buckets[bucket + 1] <= i)
            return ENTRY_FAULT(view, "exports", i, "'%s' is not in its bucket", name);
        if (i < hash_count && view->hashes[i] != export.hash >> 32)
            return ENTRY_FAULT(view, "hashes", i, "0x%x, but the hash of '%s' is 0x%016" PRIx64, view->hashes[i], name,
                               export.hash);
        previous = export;
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

/* Also: sorted by where they are in the base, each once. */
static struct crateld_error *check_patch(const struct crate_view *view)
{
    struct crate_module module;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MODULES); i++)
        TRY(crate_view_module(view, i, &module));
    struct crate_move move = {0};
    for (uint32_t i = 0, previous = 0; i < crate_view_count(view, CRATE_TABLE_MOVES); i++, previous = move.old_rva) {
        TRY(crate_view_move(view, i, &move));
        if (i && move.old_rva <= previous)
            return ENTRY_FAULT(view, "moves", i, "0x%x behind 0x%x", move.old_rva, previous);
    }
    struct crate_init init = {0};
    for (uint32_t i = 0, previous = 0; i < crate_view_count(view, CRATE_TABLE_INITS); i++, previous = init.base_rva) {
        TRY(crate_view_init_value(view, i, &init));
        if (i && init.base_rva <= previous)
            return ENTRY_FAULT(view, "initial values", i, "0x%x behind 0x%x", init.base_rva, previous);
    }
    return NULL;
}

static struct crateld_error *check_patch_places(const struct crate_view *view)
{
    struct crate_unit unit = {0};
    for (uint32_t i = 0, previous = 0; i < crate_view_count(view, CRATE_TABLE_UNITS);
         i++, previous = unit.rva + unit.size) {
        TRY(crate_view_unit(view, i, &unit));
        if (unit.rva < previous)
            return ENTRY_FAULT(view, "units", i, "0x%x behind 0x%x", unit.rva, previous);
    }
    struct crate_grown grown = {0};
    for (uint32_t i = 0, previous = 0; i < crate_view_count(view, CRATE_TABLE_GROWN);
         i++, previous = grown.base_rva + grown.old_size) {
        TRY(crate_view_grown(view, i, &grown));
        if (grown.base_rva < previous)
            return ENTRY_FAULT(view, "grown variables", i, "0x%x behind 0x%x", grown.base_rva, previous);
    }
    struct crate_fresh fresh = {0};
    for (uint32_t i = 0, previous = 0; i < crate_view_count(view, CRATE_TABLE_FRESH);
         i++, previous = fresh.rva + fresh.size) {
        TRY(crate_view_fresh(view, i, &fresh));
        if (fresh.rva < previous)
            return ENTRY_FAULT(view, "new variables", i, "0x%x behind 0x%x", fresh.rva, previous);
    }
    for (uint32_t i = 0, previous = 0; i < crate_view_count(view, CRATE_TABLE_FRESH_TLS);
         i++, previous = fresh.rva + fresh.size) {
        TRY(crate_view_fresh_tls(view, i, &fresh));
        if (fresh.rva < previous)
            return ENTRY_FAULT(view, "new thread-locals", i, "0x%x behind 0x%x", fresh.rva, previous);
    }
    struct crate_site site;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_SITES); i++)
        TRY(crate_view_site(view, i, &site));
    struct crate_vanished vanished;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_VANISHED); i++)
        TRY(crate_view_vanished(view, i, &vanished));
    struct crate_starter starter;
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_STARTERS); i++)
        TRY(crate_view_starter(view, i, &starter));
    return NULL;
}

/* Each member, with what it exports and needs, and the order in which they are started. */
static struct crateld_error *check_members(const struct crate_view *view)
{
    for (uint32_t i = 0; i < crate_view_count(view, CRATE_TABLE_MEMBERS); i++) {
        struct crate_member member;
        struct crate_view own;
        uint32_t need;
        TRY(crate_view_member(view, i, &member));
        for (uint32_t k = 0; k < member.needs.count; k++)
            TRY(crate_member_need(view, &member, k, &need));
        if (!i)
            continue;
        TRY(crate_view_of_member(view, i, &own));
        TRY(crate_view_check(&own));
        TRY(check_buckets(&own));
        TRY(check_exports(&own));
    }
    for (uint32_t i = 0, start; i < crate_view_count(view, CRATE_TABLE_STARTS); i++)
        TRY(crate_view_start(view, i, &start));
    return NULL;
}

struct crateld_error *crate_view_check_all(const struct crate_view *view)
{
    TRY(check_needed(view));
    TRY(check_imports(view));
    TRY(check_buckets(view));
    TRY(check_exports(view));
    TRY(check_relocs(view));
    TRY(check_patch(view));
    TRY(check_members(view));
    return check_patch_places(view);
}

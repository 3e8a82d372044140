/* Crate files: whatever opens must be safe to use, whatever its entries say, and to strip. */
#include <stdlib.h>
#include <string.h>

#include "crate/build_id.h"
#include "crate/carried.h"
#include "crate/check.h"
#include "crate/members.h"
#include "crate/strip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t limit(uint32_t count)
{
    return count < 4096 ? count : 4096;
}

/* Looks at each entry by itself, even where others are bad. */
static void read_entries(const struct crate_view *view)
{
    struct crate_needed needed;
    struct crate_import import;
    struct crate_export export;
    struct crate_data_reloc reloc;
    struct crate_fixup fixup;
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_NEEDED)); i++)
        crateld_error_destroy(crate_view_needed(view, i, &needed));
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_IMPORTS)); i++)
        crateld_error_destroy(crate_view_import(view, i, &import));
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_EXPORTS)); i++) {
        crateld_error_destroy(crate_view_export(view, i, &export));
        if (i < crate_view_count(view, CRATE_TABLE_EXPORTS))
            crate_view_find_export(view, view->exports[i].hash, crate_view_name(view));
    }
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_DATA_RELOCS)); i++)
        crateld_error_destroy(crate_view_data_reloc(view, i, &reloc));
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_FIXUPS)); i++)
        crateld_error_destroy(crate_view_fixup(view, i, &fixup));
    struct crate_module module;
    struct crate_move move;
    struct crate_init init;
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_MODULES)); i++)
        crateld_error_destroy(crate_view_module(view, i, &module));
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_MOVES)); i++)
        crateld_error_destroy(crate_view_move(view, i, &move));
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_INITS)); i++)
        crateld_error_destroy(crate_view_init_value(view, i, &init));
    struct crate_unit unit;
    struct crate_grown grown;
    struct crate_fresh fresh;
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_FRESH)); i++)
        crateld_error_destroy(crate_view_fresh(view, i, &fresh));
    struct crate_fresh_function function;
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_FRESH_FUNCTIONS)); i++)
        crateld_error_destroy(crate_view_fresh_function(view, i, &function));
    struct crate_site site;
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_UNITS)); i++)
        crateld_error_destroy(crate_view_unit(view, i, &unit));
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_GROWN)); i++)
        crateld_error_destroy(crate_view_grown(view, i, &grown));
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_SITES)); i++)
        crateld_error_destroy(crate_view_site(view, i, &site));
}

static void read_members(const struct crate_view *view)
{
    for (uint32_t i = 0; i <= limit(crate_view_count(view, CRATE_TABLE_MEMBERS)); i++) {
        struct crate_member member;
        struct crate_view own;
        uint32_t number;
        struct crateld_error *error = crate_view_member(view, i, &member);
        for (uint32_t k = 0; !error && k <= limit(member.needs.count); k++)
            crateld_error_destroy(crate_member_need(view, &member, k, &number));
        if (!error && i)
            error = crate_view_of_member(view, i, &own);
        if (!error && i)
            error = crate_view_check(&own);
        if (!error && i)
            read_entries(&own);
        crateld_error_destroy(error);
        crateld_error_destroy(crate_view_start(view, i, &number));
        crate_member_at(view, i * 64);
    }
    if (crate_view_count(view, CRATE_TABLE_MEMBERS))
        crate_find_member(view, crate_view_name(view), false);
}

/* The file with itself as a patch, whether it is one or not; then what it carries. */
static void carry(struct span file, const struct crate_view *view)
{
    struct crate_carrier carrier;
    struct crate_view carrying;
    struct span patch;
    for (uint32_t i = 0; i < limit(view->header.carried_count); i++)
        crateld_error_destroy(crate_carried_at("fuzz.crate", file, &view->header, i, &patch));
    struct span patches[] = {file, file};
    struct crateld_error *error = crate_carry("fuzz.crate", file, patches, 2, &carrier);
    if (error) {
        crateld_error_destroy(error);
        return;
    }
    struct span made = {carrier.bytes, carrier.size};
    error = crate_view_open("fuzz.crate", made, &carrying);
    if (error)
        abort(); /* a crate that carries something is a crate */
    for (uint32_t i = 0; i < 2; i++)
        crateld_error_destroy(crate_carried_at("fuzz.crate", made, &carrying.header, i, &patch));
    free(carrier.bytes);
}

static void strip_and_open(struct span file, unsigned what)
{
    struct crate_stripped stripped;
    struct crate_view view;
    struct crateld_error *error = crate_strip("fuzz.crate", file, what, &stripped);
    if (error) {
        crateld_error_destroy(error);
        return;
    }
    error = crate_view_open("fuzz.crate", (struct span){stripped.bytes, stripped.size}, &view);
    if (error)
        abort(); /* stripping a crate makes a crate */
    free(stripped.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* aligned */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    struct span file = {copy, size}, relink;
    struct crate_view view;
    struct crateld_error *error = crate_view_open("fuzz.crate", file, &view);
    if (!error) {
        uint64_t off;
        uint8_t id[CRATE_BUILD_ID_SIZE];
        crateld_error_destroy(crate_view_relink(&view, file, &relink));
        crateld_error_destroy(crate_view_check_all(&view));
        read_entries(&view);
        read_members(&view);
        if (crate_header_find("fuzz.crate", file, &off))
            abort();
        crate_build_id(file, off, &view.header, id);
        crateld_error_destroy(crate_check_meta("fuzz.crate", file, &view.header));
        crateld_error_destroy(crate_check_members("fuzz.crate", file, &view.header));
        crate_seal(file, off, &view.header); /* or the rest would hardly ever be reached */
        memcpy(copy + off, &view.header, sizeof view.header);
        strip_and_open(file, CRATE_STRIP_ALL);
        strip_and_open(file, CRATE_STRIP_DEBUG);
        carry(file, &view);
    }
    crateld_error_destroy(error);
    free(copy);
    return 0;
}

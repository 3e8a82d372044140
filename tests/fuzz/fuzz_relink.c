/* Relink sections: whatever opens must be safe to walk, both ways. */
#include "reloc/relink_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_STEPS = 2000 };

static void walk(struct relink_cursor *cursor)
{
    struct relink_reloc reloc;
    bool is_end = false;
    struct crateld_error *error = NULL;
    for (int step = 0; step < MAX_STEPS && !is_end && !error; step++)
        error = relink_cursor_next(cursor, &reloc, &is_end);
    crateld_error_destroy(error);
}

/* Looks at record `i` of each kind, and at its relocations. */
static void read_records(const struct relink_view *view, uint32_t i)
{
    struct relink_module module;
    struct relink_section section;
    struct relink_symbol symbol;
    struct relink_cursor cursor;
    crateld_error_destroy(relink_view_module(view, i, &module));
    crateld_error_destroy(relink_view_section(view, i, &section));
    crateld_error_destroy(relink_view_symbol(view, i, &symbol));
    struct crateld_error *error = relink_view_relocs_in(view, i, 8, 0x1000, &cursor);
    if (!error)
        walk(&cursor);
    crateld_error_destroy(error);
    error = relink_view_relocs_to(view, i, &cursor);
    if (!error)
        walk(&cursor);
    crateld_error_destroy(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct relink_view view;
    uint32_t found;
    struct crateld_error *error = relink_view_open("fuzz.crate", (struct span){data, size}, &view);
    if (error) {
        crateld_error_destroy(error);
        return 0;
    }
    for (uint32_t i = 0; i < 64; i++)
        read_records(&view, i);
    crateld_error_destroy(relink_view_find(&view, "main", 0, &found));
    crateld_error_destroy(relink_view_check_all(&view));
    return 0;
}

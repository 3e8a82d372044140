/* Reading a relink section. It is untrusted input: opening checks the header and the parts' places, and each
 * accessor checks what it decodes, so that hostile bytes give errors or wrong answers, but nothing else.
 *
 * A view borrows the bytes, allocates nothing but errors and never changes: any number of threads may read
 * it.
 */
#ifndef RELOC_RELINK_READER_H
#define RELOC_RELINK_READER_H

#include <stdbool.h>

#include "base/error.h"
#include "base/span.h"
#include "reloc/relink_format.h"

struct relink_view {
    const char *path;            /* borrowed; of the crate, for messages */
    struct relink_header header; /* a checked copy */
    struct span parts[RELINK_PART_COUNT];
    uint32_t module_count;
    uint32_t section_count;
    uint32_t kind_count;
    uint32_t name_count;
};

/* Sets *ret to a view of the section `bytes` (borrowed, as is `path`). Constant time. Errors: FORMAT;
 * UNSUPPORTED (another version). */
MUST_CHECK struct crateld_error *relink_view_open(const char *path, struct span bytes, struct relink_view *ret);

/* Decodes record `i`. Strings are borrowed from the section's bytes. Cost: constant; section and symbol find
 * their module by a binary search. Error: FORMAT, also when there is no record `i`. */
MUST_CHECK struct crateld_error *relink_view_module(const struct relink_view *view, uint32_t i,
                                                    struct relink_module *ret);
MUST_CHECK struct crateld_error *relink_view_section(const struct relink_view *view, uint32_t i,
                                                     struct relink_section *ret);
MUST_CHECK struct crateld_error *relink_view_symbol(const struct relink_view *view, uint32_t i,
                                                    struct relink_symbol *ret);

/* Decodes symbols `first` to `first` + `count` - 1, all of one module, into the array *ret. Linear. Error: FORMAT. */
MUST_CHECK struct crateld_error *relink_view_symbols(const struct relink_view *view, uint32_t first, uint32_t count,
                                                     struct relink_symbol *ret);

/* Sets *ret to the number of the first symbol called `name`, from number `from` on, that is not local; RELINK_NONE if
 * there is none. Logarithmic. Error: FORMAT. */
MUST_CHECK struct crateld_error *relink_view_find(const struct relink_view *view, const char *name, uint32_t from,
                                                  uint32_t *ret);

/* A walk over relocations; borrows `view`. */
struct relink_cursor {
    const struct relink_view *view;
    uint32_t symbol; /* by pointee: only relocations against it count; RELINK_NONE: all do */
    uint32_t wanted; /* by pointer: the section; other sections' relocations do not count */
    uint32_t begin;  /* by pointer: places below do not count */
    uint32_t limit;  /* by pointer: the first place that does not count any more */

    uint32_t next; /* number of the next relocation */
    uint32_t end;  /* number behind the last one of the stretch */
    uint64_t off;  /* in RELOCS, of the next relocation, unless that begins a block */

    uint32_t section;      /* of the previous relocation */
    uint32_t section_end;  /* number of the first relocation that is not in it any more */
    uint32_t first_symbol; /* of its module */
    uint32_t place;        /* of the previous relocation of this block and section; 0: there is none */

    struct span blocks; /* by pointee: the blocks that are left */
    uint64_t blocks_off;
    uint64_t block; /* by pointee: the current one */
};

/* By pointer: the relocations whose places are in [begin, end) of section `section`, in the order of places.
 * Finding the first one is logarithmic. Error: FORMAT. */
MUST_CHECK struct crateld_error *relink_view_relocs_in(const struct relink_view *view, uint32_t section, uint32_t begin,
                                                       uint32_t end, struct relink_cursor *ret);

/* By pointee: the relocations against symbol `symbol`, in the order of sections and places. Each block of
 * relocations with one among them is decoded: at most RELINK_RELOCS_PER_BLOCK steps for each. Error: FORMAT.
 */
MUST_CHECK struct crateld_error *relink_view_relocs_to(const struct relink_view *view, uint32_t symbol,
                                                       struct relink_cursor *ret);

/* Takes the next relocation of the walk: *is_end is false and *ret is set, or *is_end is true. Error: FORMAT.
 */
MUST_CHECK struct crateld_error *relink_cursor_next(struct relink_cursor *cursor, struct relink_reloc *ret,
                                                    bool *is_end);

/* Decodes everything and checks what single records do not show: that blocks follow each other without gaps,
 * that the names are sorted, that both ways to look at the relocations agree (by-pointee is the inverse of
 * by-pointer). Linear in the size but for the factor RELINK_RELOCS_PER_BLOCK. Error: FORMAT, the first fault
 * found. */
MUST_CHECK struct crateld_error *relink_view_check_all(const struct relink_view *view);

#endif

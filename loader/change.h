/* A set of changes to what is mapped, collected first and made at once. */
#ifndef LOADER_CHANGE_H
#define LOADER_CHANGE_H

#include "base/vec.h"
#include "loader/loaded.h"
#include "loader/pages.h"

/* A word of a crate that is to hold `value`. */
struct change_write {
    struct loaded_crate *crate;
    uint32_t rva;
    uint32_t size; /* 4 or 8 bytes */
    uint64_t value;
};

struct change {
    VEC(struct change_write) writes;
    struct pages pages;
};

/* Notes a write, unless the place holds the value already. `kind`: enum crate_fixup_kind; `value`: S + A. Errors:
 * FORMAT (the place is not within the crate); RANGE (the value does not fit); MEMORY. */
MUST_CHECK struct crateld_error *change_fix(struct change *change, struct loaded_crate *crate, uint32_t rva,
                                            uint32_t kind, uint64_t value);

/* Notes that the word of 8 bytes at `rva`, in the crate's data, is to hold `value`. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *change_word(struct change *change, struct loaded_crate *crate, uint32_t rva,
                                             uint64_t value);

/* Makes everything ready. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *change_prepare(struct change *change);

/* Makes the changes: first those of text and constants, then, if that succeeded, those of data. Error: IO: some pages
 * may have been changed, and no data. */
MUST_CHECK struct crateld_error *change_make(struct change *change);

void change_deinit(struct change *change);

#endif

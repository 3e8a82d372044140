/* Sections of the output file: which there are, and which input sections go to which. */
#ifndef LINKER_OUTPUT_H
#define LINKER_OUTPUT_H

#include "linker/link.h"

/* Order of output sections within their segment. */
enum link_rank {
    LINK_RANK_META,
    LINK_RANK_STUBS,
    LINK_RANK_TEXT_OTHER,
    LINK_RANK_TEXT,
    LINK_RANK_RODATA,
    LINK_RANK_RODATA_OTHER,
    LINK_RANK_UNWIND_HDR,
    LINK_RANK_UNWIND,
    LINK_RANK_TOC,
    LINK_RANK_ARRAYS,
    LINK_RANK_RELRO,
    LINK_RANK_TDATA,
    LINK_RANK_TBSS,
    LINK_RANK_DATA,
    LINK_RANK_DATA_OTHER,
    LINK_RANK_BSS_OTHER,
    LINK_RANK_BSS,
    LINK_RANK_DEBUG,
};

/* Where pointers to the types of collected objects are: include/crateld/gc_crate.h. */
#define LINK_TYPES_SECTION "crateld_gc_types"

/* The name of the output section that `section` goes to (gcc's and clang's suffixes dropped: .text.f is .text). */
const char *link_output_name(const struct link_section *section);

/* Whether `name` is such that __start_<name> and __stop_<name> are symbols of C. */
bool link_is_set_name(const char *name);

/* Puts every live input section, and those of the linker's own, into outputs. Sections of one name share an output if
 * they go to the same segment; those whose name is a C identifier always do, because it may be walked from __start_x to
 * __stop_x: as soon as one is writable, or is written by the loader, all are. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_assign_outputs(struct link *link);

/* Adds an output like `like`. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_add_output(struct link *link, const struct link_output *like);

/* The loaded output section called `name`; NULL if there is none. */
struct link_output *link_find_output(const struct link *link, const char *name);

#endif

/* .eh_frame: taken apart into common information entries and frame description entries, so that equal CIEs
 * are shared and FDEs of dropped functions go; put together again with .eh_frame_hdr, the sorted table by
 * which an unwinder searches. Formats: LSB Core 5.0, "Exception Frames"; DWARF 5 §6.4. */
#ifndef LINKER_EH_FRAME_H
#define LINKER_EH_FRAME_H

#include "linker/link.h"

/* Takes apart every .eh_frame of the link and hangs each FDE on the section that it describes. Errors:
 * FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *link_eh_frame_parse(struct link *link);

/* Calls `visit` for every relocation that `section`'s FDEs make live besides the one to it: its LSDA, its
 * personality. */
void link_eh_frame_visit(const struct link *link, const struct link_section *section,
                         void (*visit)(void *context, const struct link_section *from, const Elf64_Rela *reloc),
                         void *context);

/* Scans the relocations of the entries that stay. Error: MEMORY; faults are reported. */
MUST_CHECK struct crateld_error *link_eh_frame_scan(struct link *link);

/* Decides which entries stay, and where. Call when all sections' fate is known, and the entry stubs' sizes.
 */
MUST_CHECK struct crateld_error *link_eh_frame_layout(struct link *link);

/* Bytes of .eh_frame and .eh_frame_hdr. */
uint64_t link_eh_frame_size(const struct link *link);
uint64_t link_eh_frame_hdr_size(const struct link *link);

/* Both being written to their places in the output, whose bytes start at `image` with rva 0. */
struct link_eh_frame_writing {
    struct link *link;
    uint8_t *image;
    const struct link_output *frame, *table; /* borrowed; NULL: there is nothing to write */
    struct link_table_row *rows;             /* owned; of the table */
    size_t row_count;
    size_t next_cie, next_fde;
};

/* Begins; then the entries of each object are written, in the objects' order; then what is left. Faults are reported.
 * Errors: MEMORY. */
MUST_CHECK struct crateld_error *link_eh_frame_write_begin(struct link *link, uint8_t *image,
                                                           struct link_eh_frame_writing *ret);
void link_eh_frame_write_object(struct link_eh_frame_writing *writing, const struct link_object *object);
void link_eh_frame_write_end(struct link_eh_frame_writing *writing);

void link_eh_frame_destroy(struct link_eh_frame *eh_frame);

#endif

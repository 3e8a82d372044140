/* Layout: which output section everything goes to, and where that lies in memory and in the file. */
#ifndef LINKER_LAYOUT_H
#define LINKER_LAYOUT_H

#include "crate/writer.h"
#include "linker/link.h"
#include "linker/symtab.h"

/* What the file consists of besides the sections of inputs. */
struct link_image {
    struct crate_header header;
    struct crate_tables tables; /* owned */
    struct link_symtab symtab;  /* owned; empty: there is none */
    uint32_t interpreter;       /* string: path of the program that executes the crate; 0: none */
    uint64_t header_end;        /* rva behind the tables */
    uint64_t loaded_size;       /* bytes of the file that segments take */
};

/* Makes the output sections, places everything, and fills in the header. The tables have their sizes; rvas come into
 * them with link_tables_fill(), and data relocations and fixups with emission. */
MUST_CHECK struct crateld_error *link_layout(struct link *link, struct link_image *image);

/* Whether the output is .init or .fini, whose pieces run one into the next: what is between them must be instructions.
 */
bool link_is_init_text(const struct link_output *output);

#endif

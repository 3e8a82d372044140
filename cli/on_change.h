/* What the command line says of variables whose type changes: --on-change VARIABLE=POLICY, --force; and what there is
 * to say of types that are not known. */
#ifndef CLI_ON_CHANGE_H
#define CLI_ON_CHANGE_H

#include "base/vec.h"
#include "linker/link.h"

struct on_change {
    VEC(struct link_on_change) list; /* names are borrowed from the command line */
    bool is_forced;
    struct link_note note; /* of the patches that were made */
};

/* Adds what stands behind --on-change, which is cut in two. Errors: FORMAT (it is no VARIABLE=POLICY), MEMORY. */
MUST_CHECK struct crateld_error *on_change_add(struct on_change *changes, char *text);

/* Has the link do so. */
void on_change_apply(struct on_change *changes, struct link_options *link);

/* Whether each was meant for a variable that the modules have; a FORMAT error otherwise. */
MUST_CHECK struct crateld_error *on_change_check(const struct on_change *changes);

/* Prints the note, a line, if there is one. */
void on_change_print(const struct on_change *changes);

void on_change_deinit(struct on_change *changes);

#endif

/* Whether variables of a new object are of the types that they have in the base. For linker/patch*.c only.
 *
 * The types of the base are in the crate's own debug information, the linker's of each module in the relink section.
 * Both sides are only read where a module has variables that the base has too; what was found of both is kept. */
#ifndef LINKER_PATCH_TYPES_H
#define LINKER_PATCH_TYPES_H

#include "linker/patch_matching.h"
#include "linker/type_compare.h"

/* What is known of the base's types. */
struct link_base_types;

MUST_CHECK struct crateld_error *link_base_types_create(struct link_base_types **ret);
void link_base_types_destroy(struct link_base_types *types); /* NULL is allowed */

/* What became of a variable. */
struct patch_type_change {
    enum type_relation relation;
    const char *difference; /* in the link's arena; "" unless it is CHANGED, or if only sizes are known */
    uint64_t type;          /* fingerprint of the new type; 0: not known, or the same as before */
};

/* Compares the variable with its counterpart: its type, or, where that is not known of both, its size. Errors: FORMAT,
 * MEMORY. */
MUST_CHECK struct crateld_error *patch_compare_types(struct matching *m, const struct link_symbol *symbol,
                                                     const struct counterpart *old, struct patch_type_change *ret);

/* The fingerprint of the type of a variable that is new; 0: not known. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_new_type(struct matching *m, const struct link_symbol *symbol, uint64_t *ret);

/* What is to become of the value if the type has changed, an enum crate_on_change, as the options or else the source
 * says. Error: FORMAT. */
MUST_CHECK struct crateld_error *patch_on_change(const struct matching *m, const struct link_symbol *symbol,
                                                 uint32_t *ret);

/* Notes which of the options speak of variables that there are. */
void patch_find_options(struct link *link);

#endif

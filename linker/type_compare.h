/* Whether a variable that has its value from one version of a program makes sense to another: types are compared
 * structurally, by what debug information says of them. docs/reload.md, "Types". */
#ifndef LINKER_TYPE_COMPARE_H
#define LINKER_TYPE_COMPARE_H

#include "linker/type_shape.h"

enum type_relation {
    TYPE_SAME,    /* as far as is known */
    TYPE_GROWN,   /* the old value is the first part of a new one */
    TYPE_CHANGED, /* and struct type_difference says where */
};

struct type_difference {
    char text[400]; /* what was found, and what is wanted */
};

/* Compares the types of a variable, and all that is reached from it: objects behind pointers have their layout from the
 * old version too. `ret_difference` is filled in if they differ. Error: MEMORY. Cost: as many entries as the types
 * consist of. */
MUST_CHECK struct crateld_error *type_compare(Dwarf_Die old_type, Dwarf_Die new_type, enum type_relation *ret,
                                              struct type_difference *ret_difference);

/* A number that is another one for types that differ in any way; never 0. Error: MEMORY. */
MUST_CHECK struct crateld_error *type_fingerprint(Dwarf_Die type, uint64_t *ret);

#endif

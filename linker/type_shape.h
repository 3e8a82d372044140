/* One type of debug information, as what compares types sees it: what it is, and what it is made of. */
#ifndef LINKER_TYPE_SHAPE_H
#define LINKER_TYPE_SHAPE_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/vec.h"

enum type_kind {
    TYPE_OPAQUE, /* void, or declared only: anything */
    TYPE_BASE,   /* numbers */
    TYPE_ENUM,
    TYPE_RECORD, /* struct or class */
    TYPE_UNION,
    TYPE_ARRAY,
    TYPE_POINTER, /* and references */
    TYPE_MEMBER_POINTER,
    TYPE_FUNCTION,
    TYPE_OTHER, /* nothing that is known here */
};

struct type {
    enum type_kind kind;
    Dwarf_Die die;     /* without names and qualifiers; void: none */
    uint64_t size;     /* bytes; 0: not known */
    uint64_t encoding; /* of a base type: DW_ATE_* */
    const char *name;  /* borrowed; NULL: none */
};

/* The type, less typedefs and qualifiers; a declaration with a signature is what it stands for. */
struct type type_of(Dwarf_Die die);

/* What a pointer points to, an array or an enumeration consists of; opaque if that is void. */
struct type type_target(const struct type *type);

enum member_kind {
    MEMBER_DATA,
    MEMBER_BASE,     /* a base class */
    MEMBER_FUNCTION, /* virtual: `at` is its slot */
    MEMBER_VALUE,    /* of an enumeration: `at` is the value */
};

struct type_member {
    enum member_kind kind;
    const char *name; /* borrowed; "": none */
    uint64_t at;      /* bits from the start */
    uint64_t size;    /* bits, if it is a bit-field; else 0 */
    Dwarf_Die die;    /* of DATA and BASE: the type */
};

struct type_members {
    VEC(struct type_member) list; /* free(list.at) releases it */
};

/* Adds the type's members, in their order. Error: MEMORY. */
MUST_CHECK struct crateld_error *type_members(const struct type *type, struct type_members *ret);

enum { TYPE_MAX_DIMENSIONS = 8 };

/* How many elements an array has in each dimension, outermost first; 0: not said. Returns the number of dimensions, -1
 * if there are too many. */
int type_dimensions(const struct type *type, uint64_t counts[TYPE_MAX_DIMENSIONS]);

/* Writes the type's name, as C would, to `text` of `size` bytes. */
void type_print(const struct type *type, char *text, size_t size);

#endif

/* What the comparison of an object with its module in the base consists of. For linker/patch_*.c only. */
#ifndef LINKER_PATCH_MATCHING_H
#define LINKER_PATCH_MATCHING_H

#include "base/hash_index.h"
#include "linker/patch_base.h"
#include "linker/patch_known.h"

/* The module of the base while one object is compared with it. */
struct matching {
    struct link *link;
    struct patch_object *object;
    const struct base_module *module;    /* borrowed */
    struct hash_index own_section_names; /* of the object's sections, those that have namesakes in the base, so far */
    const struct link_section **own_sections;
    bool *is_taken;                      /* by the module's sections: one of the object's is called so */
    uint32_t next_section;               /* of the module, most likely */
    const struct relink_symbol *symbols; /* the module's */
    bool *is_wanted;                     /* by the object's symbol indices: the patch may refer to it */
    struct patch_types *types;           /* of the object's variables; NULL until they are asked for */
};

/* A place of the base that a name stands for. */
struct counterpart {
    struct relink_symbol symbol;
    struct relink_section section;
    uint32_t count; /* of local symbols with the stem: more than one is ambiguous unless the names are equal */
};

/* The base's counterpart of a symbol that the object defines; ret->symbol.name is NULL if there is none. Error: FORMAT.
 */
MUST_CHECK struct crateld_error *patch_find_counterpart(struct matching *m, const struct link_symbol *symbol,
                                                        struct counterpart *ret);

/* Variables, as opposed to constants, some of which are writable until they are relocated. */
bool patch_is_variable(const struct link_section *section);

bool patch_is_text(const struct link_section *section);

/* The module's number in the patch. */
uint32_t patch_module_index(const struct matching *m);

/* Finds a section of variables in the base: they stay there, need more room, or are new. Errors: MISMATCH (their values
 * can not be kept), FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_place_variables(struct matching *m, struct link_section *section);

#endif

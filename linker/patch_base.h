/* What the passes that make a patch share: the base, and the objects compared with it. For linker/patch*.c only. */
#ifndef LINKER_PATCH_BASE_H
#define LINKER_PATCH_BASE_H

#include <string.h>

#include "base/file.h"
#include "crate/reader.h"
#include "linker/link.h"
#include "linker/patch.h"
#include "reloc/relink_reader.h"

/* What became of a section of a new object. */
enum patch_fate {
    PATCH_NEW,  /* it is in the patch if something there refers to it: the base has none like it, or it is of no name */
    PATCH_SAME, /* what the base has */
    PATCH_CHANGED,
};

struct patch_section {
    uint32_t base; /* section of the base's relink section; RELINK_NONE: none */
    uint8_t fate;  /* enum patch_fate */
    bool is_named; /* the patch may refer to what is in it by the section's symbol */
};

/* An object, and the module of the base of which it is another version. */
struct patch_object {
    struct link_object *object; /* borrowed */
    struct relink_module module;
    bool is_new;                    /* the base has no such module: `module` is its name, and nothing else */
    uint32_t group;                 /* struct crate_module */
    struct patch_section *sections; /* in the link's arena; by the object's section indices */
};

struct patch_move {
    struct link_symbol *symbol; /* the new version */
    uint32_t section;           /* of the base */
    uint32_t size;              /* of a constant, in the base; else 1: only the start of a function is entered */
    const char *difference;     /* in the link's arena; of a constant that is of another type; NULL: it is not */
    struct crate_move move;
};

struct patch_init {
    struct link_section *section; /* with the new value */
    uint64_t off;                 /* in it */
    const char *name;
    struct crate_init init;
};

/* A variable that is larger than in the base, or of another type. */
struct patch_grown {
    struct link_section *section; /* all of which it is, with the new value */
    const char *name;
    uint32_t base_section;  /* all of which it was */
    const char *difference; /* "": it has only grown */
    const char *stranger;   /* a module that refers to it, and has no new version in the patch; "": none does */
    struct crate_grown grown;
};

/* A section of variables that the base does not have. */
struct patch_fresh {
    struct link_section *section;
    const char *name; /* in the link's arena: what identifies them */
    uint32_t module;
    uint64_t type; /* fingerprint; 0: not known */
};

/* An export of the base that no new object defines. */
struct patch_vanished {
    const char *name;
    uint32_t module;
};

/* An initialiser that the base does not have. */
struct patch_starter {
    struct link_symbol *symbol; /* the function */
    const char *name;           /* in the link's arena: what identifies it */
    struct crate_starter starter;
};

/* A function that the base does not have, and of which others may get the address. */
struct patch_fresh_function {
    struct link_function *function;
    const char *name; /* in the link's arena: what identifies it */
    uint32_t module;
    uint64_t hash; /* of its code, if it is leaked; else 0 */
};

struct link_patch {
    struct link_base own;          /* owned; the base, unless the options bring it opened */
    const struct link_base *base;  /* borrowed */
    struct link_symbol *tls_block; /* made on demand */
    struct link_symbol *toc;       /* likewise */
    VEC(struct patch_object) objects;
    VEC(struct patch_move) moves;
    VEC(struct crate_unit) units;
    VEC(struct patch_init) inits;
    VEC(struct patch_grown) grown;
    VEC(struct patch_fresh) fresh;
    VEC(struct crate_site) sites;
    uint32_t scope; /* has_scope; the base is a bundle: the member that the objects are of */
    bool has_scope;
    VEC(struct patch_vanished) vanished;
    VEC(struct patch_starter) starters;
    VEC(struct patch_fresh_function) functions; /* complete with the scan */
    bool is_counted;                            /* the tables' sizes are known: nothing more may be entered */
    bool has_sources; /* what the base needs was opened, to find what the base itself does not import */
};

/* The base's path. */
static inline const char *patch_base_name(const struct link *link)
{
    return link->patch->base->path;
}

/* What is behind the last slash of a path. */
static inline const char *patch_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Enters the base's modules into its index, by the names of their files. Errors: FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *patch_index_modules(struct link_base *base);

/* Sets *ret to the number of the base's symbol, not local, that the object means by `name`; RELINK_NONE: there is none.
 * Errors: FORMAT; UNSUPPORTED (of a bundle: objects of several of its crates). */
MUST_CHECK struct crateld_error *patch_find(struct link *link, const struct link_object *object, const char *name,
                                            uint32_t *ret);

/* Checks that all objects are of one crate, if the base is a bundle. Errors: FORMAT, UNSUPPORTED. */
MUST_CHECK struct crateld_error *patch_check_scope(struct link *link);

/* Makes the symbol the base's: what it names is at `rva` there. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_use_base(struct link *link, struct link_symbol *symbol, uint32_t rva);

/* A symbol that stands for a place of the base; NULL without memory. */
struct link_symbol *patch_make_symbol(struct link *link, const char *name, uint8_t type, uint32_t rva);

/* Makes the symbol, of a section of variables that the base does not have, one that an earlier patch may have. Error:
 * MEMORY. */
MUST_CHECK struct crateld_error *patch_use_fresh(struct link *link, struct link_symbol *symbol);

/* Notes that a symbol that stays the patch's is a function of the base too, at `rva`, which the base knows as `known`,
 * in `section`. Error: MEMORY. */
MUST_CHECK struct crateld_error *patch_note_function(struct link *link, struct link_symbol *symbol, uint32_t rva,
                                                     const struct relink_symbol *known,
                                                     const struct relink_section *section);

/* Binds what the objects do not define to what the base has or imports; opens what the base needs for the rest. Faults
 * are reported; error: MEMORY. */
MUST_CHECK struct crateld_error *patch_bind_undefined(struct link *link);

#endif

/* Which version of a crate's functions and variables is in effect.
 *
 * The patches of a crate, its base, are kept in the order in which they were loaded. Each module of a patch is active
 * or not; of the patches with a module only one has it active, and its versions of functions are those that are
 * entered. A variable that has grown stays where it went, whichever patch is active. Called under the process's lock.
 */
#ifndef LOADER_VERSIONS_H
#define LOADER_VERSIONS_H

#include "base/vec.h"
#include "loader/loaded.h"

/* A variable that is elsewhere, or a storage of it that is not in use. */
struct moved_variable {
    uint32_t base_rva, base_size; /* where it is in the base's image */
    uint32_t size;                /* now */
    struct loaded_crate *crate;   /* borrowed; the patch in whose data it is; the base: it is back there */
    uint32_t rva;                 /* there */
    const char *name;             /* borrowed from a patch */
    uint8_t *image;               /* owned; its initial value, `size` bytes; NULL: that of the base */
    bool is_retyped;              /* it is of another type than in the base */
    uint64_t type;                /* fingerprint; 0: not known */
    struct moved_variable
        *others; /* owned list; storage that it has for other types, with the values that it had there */
};

/* A variable that the base does not have. */
struct fresh_variable {
    const char *name;           /* borrowed from the patch */
    struct loaded_crate *patch; /* borrowed; the first that had it */
    uint32_t rva, size;         /* there; of thread-locals: in its block */
    bool is_thread_local;
    uint64_t type; /* fingerprint; 0: not known */
};

/* A function that the base does not have, and of which others may get the address: loader/entry_stubs.h. */
struct fresh_function {
    const char *name;                           /* borrowed from the patch */
    struct loaded_crate *patch;                 /* borrowed; the first that had it, or has it since that is gone */
    const struct crate_fresh_function *entry;   /* borrowed; there */
    const struct loaded_crate *target;          /* while a commit is planned: the patch with the version in effect */
    const struct crate_fresh_function *version; /* likewise; there */
    bool is_given;                              /* somebody has its address */
};

/* An initialiser of a patch that has run. */
struct started {
    const char *name; /* borrowed from the patch */
    uint64_t hash;
};

struct versions {
    VEC(struct loaded_crate *) patches; /* borrowed; those that are mapped, oldest first */
    VEC(struct moved_variable) variables;
    VEC(struct fresh_variable) fresh;
    VEC(struct fresh_function) functions;
    size_t last_function; /* of those, that was found: the next that is looked for comes behind it, mostly */
    VEC(struct started) started;
};

/* A module of a patch. */
struct version {
    struct loaded_crate *patch; /* borrowed */
    uint32_t module;
};

/* Where a variable is that has moved. */
struct version_place {
    const struct loaded_crate *base; /* borrowed */
    uint32_t base_rva;
    const struct loaded_crate *crate; /* borrowed */
    uint32_t rva;
};

/* Which modules were active at some time, of some bases, and where their variables were. */
struct version_set {
    VEC(struct loaded_crate *) bases; /* borrowed */
    VEC(struct version) active;
    VEC(struct version_place) places;
};

/* Adds what is active of the base. Error: MEMORY. */
MUST_CHECK struct crateld_error *version_set_add(struct version_set *set, struct loaded_crate *base);

/* Takes the patch, of which nothing was ever in effect, out of its base's record. */
void versions_remove(const struct loaded_crate *patch);

/* Makes of the set's bases just that active which is in it. */
void version_set_restore(const struct version_set *set);

/* Whether the variable was in that storage. */
bool version_set_has_place(const struct version_set *set, const struct loaded_crate *base,
                           const struct moved_variable *storage);

/* NULL is allowed. */
void version_set_destroy(struct version_set *set);

/* The record of the crate's versions, made if it has none. Error: MEMORY. */
MUST_CHECK struct crateld_error *versions_of(struct loaded_crate *base, struct versions **ret);

/* NULL is allowed. */
void versions_destroy(struct versions *versions);

/* The address of what the place `rva` of the crate is the start of, if that is a function, or is within, if it is a
 * variable: where it is now. */
uint64_t versions_address(const struct loaded_crate *base, uint32_t rva);

/* Whether some version, in effect or not, has the function or constant that is at `rva` of the base at `address`. */
bool versions_is_place(const struct loaded_crate *base, uint32_t rva, uint64_t address);

/* The variable that has moved and held the place `rva` of the crate; NULL if there is none. */
struct moved_variable *versions_variable(const struct loaded_crate *base, uint32_t rva);

/* What an active module of the base's patches has for the variable that lies there in the base; NULL: none moves it. */
const struct crate_grown *versions_wanted(const struct loaded_crate *base, uint32_t base_rva);

/* Enters the patch's new variables and functions, those that are not there yet. Errors: MISMATCH (an earlier patch
 * has one of another size), UNSUPPORTED (of entry_stubs_add()), MEMORY. */
MUST_CHECK struct crateld_error *versions_add_fresh(struct loaded_crate *patch, bool is_running);

/* How many of them there are, and leaving the later ones out. */
struct fresh_counts {
    size_t variables, functions;
};
struct fresh_counts versions_count_fresh(const struct versions *versions);
void versions_cut_fresh(struct versions *versions, struct fresh_counts counts);

/* The address of the new variable's place, or the new function, that is at `rva` of the patch itself. Error: FORMAT (it
 * is of none). */
MUST_CHECK struct crateld_error *versions_fresh_address(const struct loaded_crate *patch, uint32_t rva, uint64_t *ret);

/* Likewise, of the new thread-local at offset `off` of the patch's block: whose block it is in, and where. */
MUST_CHECK struct crateld_error *versions_fresh_thread_local(const struct loaded_crate *patch, uint32_t off,
                                                             struct loaded_crate **ret_patch, uint32_t *ret_off);

/* Whether the place `rva` of the base's text is superseded: whoever is there stays with what it refers to. */
bool versions_is_superseded(const struct loaded_crate *base, uint32_t rva);

/* Whether any module of the patch is active. */
bool versions_is_active(const struct loaded_crate *patch);

#endif

/* What a commit does to the values of variables.
 *
 * A variable keeps its value where the program has changed it. Where it has not, word by word, that is where the value
 * is still the initial value of the version before, it takes the initial value of the version after. A variable that
 * has grown gets new storage, which is filled in the same way. Called under the process's lock. */
#ifndef LOADER_INITIAL_H
#define LOADER_INITIAL_H

#include "base/vec.h"
#include "loader/loaded.h"
#include "loader/versions.h"

/* The initial value that a version has for a variable. */
struct initial_value {
    const struct loaded_crate *base;
    uint32_t base_rva; /* the variable */
    uint32_t size;
    uint32_t name;                    /* string of the patch */
    const struct loaded_crate *patch; /* where the bytes are */
    uint32_t image_rva;
};

/* A variable whose initial value is another after the commit. */
struct value_change {
    const struct loaded_crate *base; /* the variable: an address would be a pointer to it */
    uint32_t base_rva;
    uint8_t *before, *after; /* owned; `size` bytes each; NULL: not known, and so the value stays */
    uint32_t size;
    const char *name; /* borrowed from a patch */
};

/* How a variable gets its value where it moves to. */
enum growth_way {
    GROWTH_COPY,    /* the old one is the first part of it */
    GROWTH_INIT,    /* it has the new initial value */
    GROWTH_MIGRATE, /* the crate's hook makes it */
    GROWTH_RETURN,  /* it has the one that it had when it was there */
};

/* A variable that moves to other storage: to larger one, to one of another type, or back from that. */
struct growth {
    struct loaded_crate *base;
    uint32_t base_rva, base_size;
    const struct loaded_crate *from_crate; /* where it is: no pointer to it is to be about but the program's */
    uint32_t from_rva;
    uint32_t size; /* so far */
    const struct loaded_crate *to_crate;
    uint32_t to_rva;
    uint32_t new_size;
    const char *name;
    enum growth_way way;
    bool is_forced;      /* pointers to it may be about */
    bool is_new;         /* it was in the base, and there is no record of it */
    bool has_been_there; /* the storage is one that it had before */
    struct moved_variable
        *other; /* borrowed from the record; the storage that it leaves; NULL: COPY, which gives it up */
    struct moved_variable before; /* what it was, unless it is new */
    uint8_t *old_value;           /* owned; MIGRATE: what the new value was made of */
};

static inline uint8_t *growth_to(const struct growth *growth)
{
    return growth->to_crate->base + growth->to_rva;
}

static inline uint8_t *growth_from(const struct growth *growth)
{
    return growth->from_crate->base + growth->from_rva;
}

struct initial_values {
    VEC(struct initial_value) noted; /* of the versions before */
    VEC(struct value_change) changes;
    VEC(struct growth) growths;
    uint32_t set, kept;
};

/* Notes the initial values that the base's active patches have. Error: MEMORY. */
MUST_CHECK struct crateld_error *initial_note(struct initial_values *values, struct loaded_crate *base);

/* Lets variables of the base go back to the storage that they had with the type that they are to have, unless they are
 * to begin anew; or, if `target` is not NULL, to the storage that they had then. Error: MEMORY. */
MUST_CHECK struct crateld_error *initial_return(struct initial_values *values, struct loaded_crate *base,
                                                const struct version_set *target);

/* Gives the variables that are larger in the patches, or of another type, their new places, from which on
 * versions_address() tells those. `is_running`: they have values. Errors: FORMAT (not within the base's data, or
 * overlapping another), MISMATCH (the value can not be kept), MEMORY. */
MUST_CHECK struct crateld_error *initial_grow(struct initial_values *values, struct loaded_crate *const *patches,
                                              size_t count, bool is_running);

/* The addresses of words of patches that are not active any more, and go on leading to variables of other types than
 * before. Returns how many there are; `ret` NULL: only that. */
size_t initial_old_words(const struct initial_values *values, uint64_t *ret);

/* Finds out what changes now that other patches are active, all of which are activated. Errors: IO, FORMAT, MEMORY. */
MUST_CHECK struct crateld_error *initial_plan(struct initial_values *values, struct loaded_crate *base);

/* Where the base's place `rva` was before initial_grow(). */
uint64_t initial_address_before(const struct initial_values *values, const struct loaded_crate *base, uint32_t rva);

/* Fills the new storage of variables that have grown, while no thread runs. */
void initial_move(const struct initial_values *values);

/* Sets the values that change. */
void initial_set(struct initial_values *values);

/* Takes back what initial_return() and initial_grow() did. */
void initial_undo(struct initial_values *values);

/* Gives the storage of the variable that a patch has its initial value again. */
void initial_reset(const struct moved_variable *variable);

void initial_deinit(struct initial_values *values);

#endif

/* The process-wide table of vague definitions: inline variables, template statics, typeinfo and their like, of which
 * many crates hold a copy, and all must use one. The first definition that is entered wins.
 *
 * Entries are never removed. The process's lock guards a table. */
#ifndef LOADER_VAGUE_H
#define LOADER_VAGUE_H

#include <stdint.h>

#include "base/error.h"
#include "base/hash_index.h"
#include "loader/loaded.h"

/* A definition: what an import that refers to it gets. */
struct vague_definition {
    const char *name;           /* borrowed; lives as long as the process */
    struct loaded_crate *crate; /* borrowed; whose copy it is; NULL: an ELF library's */
    uint64_t value;             /* address; of thread-locals in a crate the offset in its block */
};

struct vague_table {
    struct hash_index index;
    struct vague_definition *at; /* owned */
    size_t count, capacity;
};

void vague_table_init(struct vague_table *table);
void vague_table_deinit(struct vague_table *table);

/* Sets *ret to the definition that counts for `candidate`'s name, whose XXH3-64 is `hash`: the one entered before, or
 * else `candidate` itself, which is entered. Expected constant time. Error: MEMORY. */
MUST_CHECK struct crateld_error *vague_table_enter(struct vague_table *table, uint64_t hash,
                                                   const struct vague_definition *candidate,
                                                   struct vague_definition *ret);

#endif

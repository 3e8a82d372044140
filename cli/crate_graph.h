/* Which crates import from which: of files, with all that they need, found as the loader finds them; or of a process.
 */
#ifndef CLI_CRATE_GRAPH_H
#define CLI_CRATE_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/vec.h"
#include "cli/inspected_crate.h"
#include "cli/process_crates.h"

enum graph_kind {
    GRAPH_CRATE,
    GRAPH_STUB,    /* a crate that stands for an ELF library */
    GRAPH_MEMBER,  /* of a bundle */
    GRAPH_LIBRARY, /* an ELF library */
    GRAPH_ABSENT,  /* a crate that is needed and not there */
};

struct graph_node {
    enum graph_kind kind;
    const char *name;    /* borrowed from a crate of the graph */
    const char *path;    /* likewise; NULL: not known */
    bool is_named;       /* among what the graph is of, not only needed by that */
    uint32_t bundle;     /* MEMBER: number of the bundle, from 1 on */
    uint32_t member;     /* MEMBER: index in the bundle */
    uint32_t first_edge; /* its edges are together: one for each entry of its needed table, or of a member's needs */
    uint32_t edge_count;
    const struct inspected_crate *crate; /* borrowed; LIBRARY, ABSENT: NULL */
};

struct graph_edge {
    uint32_t from, to; /* indices of nodes */
    bool is_counted;   /* how much is imported is known, in a bundle it is not: */
    uint32_t functions;
    uint32_t data;      /* variables and thread-locals */
    uint32_t addresses; /* of an ELF library: of functions or variables, the crate does not say which */
};

struct crate_graph {
    VEC(struct graph_node) nodes; /* those that are named come first */
    VEC(struct graph_edge) edges;
    VEC(struct inspected_crate *) crates;   /* owned */
    VEC(struct process_crates *) processes; /* owned */
    uint32_t bundle_count;
};

/* Makes the graph of files, each of a process if its `pids` is not 0. Crates that are needed and not found are ABSENT;
 * where one that is found can not be read, that is the error. Errors: those of inspected_crate_open() and
 * process_crates_create(); MEMORY. */
MUST_CHECK struct crateld_error *crate_graph_make(char *const *files, const pid_t *pids, size_t count,
                                                  struct crate_graph *ret);

/* Releases; a zeroed one is allowed. */
void crate_graph_deinit(struct crate_graph *graph);

#endif

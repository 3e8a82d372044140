/* In which of some crates' text threads may still be, or come back to: a conservative search through all that the
 * process can write, for words that lead there. It is done by a child on its copy of the memory, made while all threads
 * are held, so that they are held for the time of that alone.
 *
 * Words count as they are, and as libc mangles them (setjmp). Data of crates that are searched for counts when
 * something leads to their text. */
#ifndef LOADER_RETURN_SEARCH_H
#define LOADER_RETURN_SEARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "loader/loaded.h"

enum { RETURN_SEARCH_MAX = 512 };

/* One crate that is searched for. */
struct return_target {
    struct loaded_crate *crate; /* borrowed */
    uint64_t start, end;        /* of its image, which is no part of what is searched */
    uint64_t text, text_end;
    bool is_found;
    char where[46]; /* then: where a word leads there: "the stack of thread 7" */
};

/* What is searched for, and found: in memory that the child shares. */
struct return_search {
    uint32_t count;
    struct return_target targets[RETURN_SEARCH_MAX]; /* in the order of their addresses */
    uint64_t stack, stack_end;                       /* of the calling thread, whose own words do not count */
    _Atomic bool is_done;
    char failure[64]; /* why it can not be told; "": it can */
};

/* Makes room for a search, that anyone may fill in; NULL without memory. */
struct return_search *return_search_create(void);

/* NULL is allowed. */
void return_search_destroy(struct return_search *search);

/* Holds all threads, starts the child, and lets them go; in *ret its id, for waitpid() with __WALL, in *ret_ns how long
 * they were held. No signal tells of the child's end, and no other waitpid() of it. Errors: those of park_threads(); IO
 * (no process can be made). */
MUST_CHECK struct crateld_error *return_search_start(struct return_search *search, pid_t *ret, uint64_t *ret_ns);

#endif

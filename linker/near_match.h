/* What an undefined symbol may have been meant to be: a name like it, or the same function under another
 * linkage. */
#ifndef LINKER_NEAR_MATCH_H
#define LINKER_NEAR_MATCH_H

#include <stddef.h>

#include "base/error.h"

enum near_match_kind {
    NEAR_MATCH_NONE,
    NEAR_MATCH_SPELLING,    /* differs by a few characters, or by case */
    NEAR_MATCH_C_LINKAGE,   /* asked for as C++ (f(int)), known as C (f): the caller lacks extern "C" */
    NEAR_MATCH_CXX_LINKAGE, /* asked for as C (f), known as C++ (f(int)): the definition lacks extern "C" */
    NEAR_MATCH_SIGNATURE,   /* the same C++ name with other parameters or qualifiers */
};

struct near_match {
    enum near_match_kind kind;
    const char *name; /* one of the known names, borrowed from who gave them; NULL for NEAR_MATCH_NONE */
};

struct near_matcher;

/* A matcher for the `count` known names, borrowed until it is destroyed. Cost: one step per name. Errors:
 * MEMORY. */
MUST_CHECK struct crateld_error *near_matcher_create(const char *const *names, size_t count, struct near_matcher **ret);

/* Releases; NULL is allowed. */
void near_matcher_destroy(struct near_matcher *matcher);

/* The best match for `name`, which is not among the known names. Deterministic: among equals the first known
 * name. Cost: a filter of a nanosecond or so per known name of about the same length, an edit distance for
 * the few that pass it. Thread-safe. */
struct near_match near_match_find(const struct near_matcher *matcher, const char *name);

/* A sentence for messages, malloc'ed (the caller's): "did you mean 'foo'?"; NULL for NEAR_MATCH_NONE and
 * without memory. C++ and Rust names appear in source form. */
char *near_match_describe(const struct near_match *match) __attribute__((malloc, warn_unused_result));

#endif

/* A small valid crate, made byte by byte, for the tests of what reads crates: malformed files are made from
 * it. */
#ifndef TESTS_UNIT_CRATE_BUILDER_H
#define TESTS_UNIT_CRATE_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum { CRATE_BUILDER_EXPORTS = 40 }; /* main, draw, table, counter, answer and f5 to f39 */

struct crate_builder_opts {
    struct span relink; /* the relink section; empty: the crate has none */
    size_t debug_size;  /* bytes of .debug_info; 0: there is none */
};

/* The crate "shapes": two needed files (libm.so.6, the crate base), five imports, CRATE_BUILDER_EXPORTS
 * exports, one of each kind of relocation and fixup, thread-locals, an initialiser, a symbol table. NULL are
 * the defaults. The bytes are to be freed; their block has exactly their size. */
struct span crate_builder_make(const struct crate_builder_opts *opts);

#endif

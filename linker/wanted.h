/* The search for what objects refer to and none defines: in archives, whose members come into the link, and in crates
 * and libraries, which symbols are imported from. Rules: linker/symbol.h.
 *
 * Symbols wait in a queue, in the order in which they were found wanting, so that each is looked for once, and once
 * more when a weak reference to it is followed by a strong one, which takes archive members.
 */
#ifndef LINKER_WANTED_H
#define LINKER_WANTED_H

#include "linker/link.h"

/* Puts a symbol into the queue unless it is there. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_want(struct link *link, struct link_symbol *symbol);

/* Looks for all symbols in the queue, and those that come into it meanwhile, in archives, crates and libraries: for
 * undefined ones, in the order of the command line; for common ones, in archives whose definition has an initial value.
 */
MUST_CHECK struct crateld_error *link_resolve_undefined(struct link *link);

/* Sets *ret to the first provider (an index into link->providers) of the source, which is no archive, that defines
 * `symbol`, and *found to what it is; UINT32_MAX: none does. Errors: those of crate_source_find(). */
MUST_CHECK struct crateld_error *link_source_find(struct link *link, const struct link_source *source,
                                                  const struct link_symbol *symbol, struct shared_symbol *found,
                                                  uint32_t *ret);

#endif

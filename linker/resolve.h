/* Resolution: which definition each name means. Rules: linker/symbol.h. */
#ifndef LINKER_RESOLVE_H
#define LINKER_RESOLVE_H

#include "linker/link.h"

/* Reads the object in `image`, with what is allocated from `arena`, and all about its symbols that needs no other
 * object. `path`, `image` and `arena` outlive the link, which is only read: any number of threads may do this at once.
 * Errors: FORMAT, UNSUPPORTED, MISMATCH, MEMORY. */
MUST_CHECK struct crateld_error *link_read_object(const struct link *link, struct arena *arena, const char *path,
                                                  struct span image, struct link_object **ret);

/* Takes an object that was read into the link: its groups, its symbols. */
MUST_CHECK struct crateld_error *link_enter_object(struct link *link, struct link_object *object);

/* Both of them. */
MUST_CHECK struct crateld_error *link_add_object(struct link *link, const char *path, struct span image);

/* Lets a definition or reference, described as an object's own, bear on the global symbol of its name. */
MUST_CHECK struct crateld_error *link_add_symbol(struct link *link, const struct link_symbol *seen, uint8_t visibility,
                                                 bool is_weak_reference);

/* Notes that something refers to `symbol`, which is looked for if that is new. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_refer(struct link *link, struct link_symbol *symbol, bool is_weak);

/* Decides for each symbol whether it is exported and whether it is vague, and gives common symbols their
 * places. */
MUST_CHECK struct crateld_error *link_settle_symbols(struct link *link);

/* Refuses a crate that defines libc's allocation functions: libc itself and the ELF libraries would go on with their
 * own, and what one allocator gave the other would be asked to free. Faults are reported. */
MUST_CHECK struct crateld_error *link_refuse_allocators(struct link *link);

#endif

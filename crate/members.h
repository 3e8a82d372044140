/* The members of a bundle: crates that share one image and one TOC. docs/format.md, "Bundles".
 *
 * A bundle is a crate itself, which stands for its first member. The others are looked at when somebody asks for one by
 * its name; crate_check_members() comes before that. Nothing is trusted: entries are checked here when they are used.
 */
#ifndef CRATE_MEMBERS_H
#define CRATE_MEMBERS_H

#include "crate/reader.h"

static inline bool crate_is_bundle(const struct crate_header *header)
{
    return header->flags & CRATE_FLAG_BUNDLE;
}

/* Copies member `i`, any number, of the bundle to *ret, checked. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_view_member(const struct crate_view *bundle, uint32_t i,
                                                   struct crate_member *ret);

/* A string of members; NULL if there is none at `off`. */
const char *crate_member_string(const struct crate_view *bundle, uint32_t off);

/* The index of the member called `name`; CRATE_NONE if there is none. With `by_file`, of the one whose file was called
 * so. Linear. */
uint32_t crate_find_member(const struct crate_view *bundle, const char *name, bool by_file);

/* Sets *ret to a view of member `i`, which is not the first: the bundle's with the member's name, build id,
 * initialisers, exports and strings. Strings of the other tables are the bundle's. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_view_of_member(const struct crate_view *bundle, uint32_t i,
                                                      struct crate_view *ret);

/* Copies need `k` of a member to *ret: of its slice, any number. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_member_need(const struct crate_view *bundle, const struct crate_member *member,
                                                   uint32_t k, uint32_t *ret);

/* The member whose text is at `rva`; CRATE_NONE: nobody's is. Logarithmic. */
uint32_t crate_member_at(const struct crate_view *bundle, uint32_t rva);

/* Copies element `i` of the starts, the index of a member, to *ret. Error: FORMAT. */
MUST_CHECK struct crateld_error *crate_view_start(const struct crate_view *bundle, uint32_t i, uint32_t *ret);

#endif

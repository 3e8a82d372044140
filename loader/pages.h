/* Changes to pages that are not writable, while threads run there: each page is copied and changed, and the copy takes
 * the place of the page at once, as mremap(2) does it, so that every thread sees the page as it was or as it is to be,
 * whatever it is about to execute. No page is writable and executable, and none is ever not executable. */
#ifndef LOADER_PAGES_H
#define LOADER_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/vec.h"

struct page_copy {
    uint8_t *address; /* of the page */
    int protection;   /* PROT_*: what it has */
};

/* A set of pages to be replaced; start zeroed. */
struct pages {
    VEC(struct page_copy) list; /* in the order of their addresses once copied */
    uint8_t *copies;            /* owned memory; page i of the list is there */
    size_t next;                /* pages before this one are in their places */
    uint64_t longest_ns;        /* for which threads that came to a page may have had to wait */
};

/* Notes that `size` bytes at `address` will be written; the page, or both, have protection `protection`. Error: MEMORY.
 */
MUST_CHECK struct crateld_error *pages_add(struct pages *pages, uint8_t *address, size_t size, int protection);

/* Makes room for the copies of a few pages, before anybody waits for them. It is allowed to fail. */
void pages_make_room(void);

/* Copies them all. Errors: IO (no address space), MEMORY. */
MUST_CHECK struct crateld_error *pages_copy(struct pages *pages);

/* Writes into the copies; the place was added. */
void pages_write(struct pages *pages, const uint8_t *address, const void *bytes, size_t size);

/* Makes the copies what their pages are, but at another address: nothing is left to be done that takes memory but the
 * kernel's own. Error: IO. */
MUST_CHECK struct crateld_error *pages_seal(struct pages *pages);

/* Puts all copies in their places. Error: IO: then those from pages->next on are not. */
MUST_CHECK struct crateld_error *pages_replace(struct pages *pages);

void pages_deinit(struct pages *pages);

#endif

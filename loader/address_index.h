/* Which crate an address lies in: for unwinders, dladdr and whoever asks about code.
 *
 * There is one index in the OS process. Readers take no lock and may run anywhere, in signal handlers too: what they
 * read is published by one store and never freed; who reads while it is replaced looks again, which never waits for a
 * writer. Writers hold the process's lock. */
#ifndef LOADER_ADDRESS_INDEX_H
#define LOADER_ADDRESS_INDEX_H

#include <stdint.h>

#include "base/error.h"
#include "loader/loaded.h"

/* Enters the addresses of the crate's image. Error: MEMORY. */
MUST_CHECK struct crateld_error *address_index_add(struct loaded_crate *crate);

/* The crate in whose image `address` lies; NULL if there is none. Logarithmic in the number of crates. */
struct loaded_crate *address_index_find(uint64_t address);

/* Removes them; a crate that was not entered is allowed. Never fails, but takes time in proportion to the number of
 * crates. Who is reading meanwhile may still be given the crate. */
void address_index_remove(const struct loaded_crate *crate);

/* The next crate in the order of their entry, from *cursor on, which begins at 0; NULL behind the last. */
struct loaded_crate *address_index_next(uint32_t *cursor);

/* How many crates have been entered and removed so far: something has changed whenever these have. */
void address_index_counts(uint32_t *ret_added, uint32_t *ret_removed);

#endif

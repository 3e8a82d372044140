/* Checking every entry of a crate: for tools, which can afford it and want to say what is wrong. */
#ifndef CRATE_CHECK_H
#define CRATE_CHECK_H

#include "base/error.h"
#include "crate/reader.h"

/* Checks all entries of all tables with the accessors of crate/reader.h, and what no single entry shows: that
 * the imports are grouped, that the exports are sorted and each in its bucket, that hashes are those of the
 * names. Linear in the tables' size and the names' lengths. Error: FORMAT, the first fault found. */
MUST_CHECK struct crateld_error *crate_view_check_all(const struct crate_view *view);

#endif

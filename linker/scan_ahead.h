/* The part of the scan that several threads do. */
#ifndef LINKER_SCAN_AHEAD_H
#define LINKER_SCAN_AHEAD_H

#include "linker/link.h"

/* Sorts relocations, finds imports whose address is their stub, and decides about those relocations of live sections
 * that need nothing but their symbols' places: for them nothing is made, so that their order does not matter. Of an
 * object for which all is decided its calls to other crates are listed. All others are left to link_scan(). Call when
 * exported functions have their entry stubs. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_scan_ahead(struct link *link);

#endif

/* Undefined symbols: all of them in one run, each with where it is referred to and what may have been meant. */
#ifndef LINKER_UNDEFINED_H
#define LINKER_UNDEFINED_H

#include "linker/link.h"

/* Reports what the scan has noted. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_report_undefined(struct link *link);

#endif

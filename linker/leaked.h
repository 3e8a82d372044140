/* Functions whose address is in code without a relocation.
 *
 * Assemblers resolve `lea f(%rip)` themselves when f is local and in the same section. The linker can not lead such a
 * reference to an entry stub, so the function's address must be its first instruction everywhere in the crate: two
 * addresses of one function would not compare equal. */
#ifndef LINKER_LEAKED_H
#define LINKER_LEAKED_H

#include "linker/link.h"

/* Marks them (link_function.is_leaked). A byte pattern that only looks like such a lea marks a function too many, which
 * costs nothing but the stub. Sections of TOC code are skipped: the TOC pass leaves no such reference. Error: MEMORY.
 */
MUST_CHECK struct crateld_error *link_find_leaked(struct link *link);

#endif

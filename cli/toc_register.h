/* Which instructions write the TOC register, %r15, or read it. */
#ifndef CLI_TOC_REGISTER_H
#define CLI_TOC_REGISTER_H

#include "cli/asm_text.h"

/* Whether the instruction writes %r15 or a part of it; `is_intel`: the operands are in Intel's order and may
 * lack "%". */
bool toc_register_is_written(const struct asm_statement *instruction, bool is_intel);

/* Whether the instruction names %r15 at all. */
bool toc_register_is_named(const struct asm_statement *instruction, bool is_intel);

#endif

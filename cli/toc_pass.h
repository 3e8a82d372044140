/* The TOC pass: turns the assembly text of code compiled with -fPIC -ffixed-r15 -fsplit-stack
 * -ffunction-sections into that of TOC code (docs/abi.md §3).
 *
 * In sections of TOC code it
 * - puts a restore of the TOC register behind every call, and where control comes otherwise than by a branch:
 * at landing pads and at labels whose address is taken. A restore is `nopl _TOC_(%rip)` in the object, which
 * works in any program; the linker of crates makes it load the TOC's address;
 * - turns calls and jumps through the GOT into direct ones, for which the linker makes import stubs;
 * - gives references to own local functions that the assembler would resolve an explicit relocation.
 * It adds the records of crateld/toc_record.h. What is not TOC code stays as it is. Lines keep their numbers.
 */
#ifndef CLI_TOC_PASS_H
#define CLI_TOC_PASS_H

#include "base/error.h"
#include "cli/asm_text.h"

/* A text that was made. */
struct toc_text {
    char *at; /* owned; free() */
    size_t size;
};

/* Sets *ret to the changed copy of `text`. Errors: UNSUPPORTED, one line for each fault, with file and line
 * or function; MEMORY. Time is linear in the text's size. */
MUST_CHECK struct crateld_error *toc_pass(struct asm_slice text, struct toc_text *ret);

#endif

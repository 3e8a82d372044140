/* crateld: what the TOC pass tells the linker about TOC code, in sections .crateld.toc of an object.
 *
 * The sections have no flags but SHF_EXCLUDE, so an ordinary link drops them; an object has one for itself,
 * and one in each section group (COMDAT) that holds TOC code. Each is an array of these records, with
 * R_X86_64_64 relocations on `function` and, where there is one, on `varargs_entry`. The section that holds
 * `function` is TOC code, all of it; so are sections that hold only cold parts, for which a record of kind
 * PART names any place in the section. An object of intermediate code (LTO) has the section without records:
 * it is to be compiled to TOC code.
 */
#ifndef CRATELD_TOC_RECORD_H
#define CRATELD_TOC_RECORD_H

#include <stdint.h>

#define CRATELD_TOC_RECORD_SECTION ".crateld.toc"

enum crateld_toc_record_kind {
    CRATELD_TOC_FUNCTION = 1, /* a function that may be entered by a call */
    CRATELD_TOC_PART = 2,     /* a section of TOC code that is entered only from its own function (cold parts) */
};

struct crateld_toc_record {
    uint64_t function;        /* relocated: the function's entry */
    uint64_t varargs_entry;   /* relocated: where to enter with %r11 = address of the caller's stack arguments,
                                 when the function calls va_start; else 0 and no relocation */
    uint32_t kind;            /* enum crateld_toc_record_kind */
    uint32_t stack_arguments; /* bytes of (named) arguments on the stack, from the split-stack prologue */
};

#endif

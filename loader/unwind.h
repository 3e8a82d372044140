/* Unwinding through crates: what libgcc's unwinder asks, answered by this program.
 *
 * libgcc_s calls _Unwind_Find_FDE and _Unwind_SetIP through its PLT, so the program's definitions come first
 * (interposition); they answer for crates and pass everything else on. Nothing is registered and no lock is taken. */
#ifndef LOADER_UNWIND_H
#define LOADER_UNWIND_H

#include <stdint.h>

#include "loader/loaded.h"

struct _Unwind_Context; /* libgcc's */

/* libgcc's unwind-dw2-fde.h: what goes with an FDE. */
struct dwarf_eh_bases {
    const void *tbase, *dbase;
    const void *func; /* the start of the range that the FDE is for */
};

/* The FDE for the code at `pc` in the crate, and the start of its function in *ret_function; NULL if there is none or
 * the tables are damaged. Reads only the crate's image. Logarithmic. */
const void *unwind_find_fde(const struct loaded_crate *crate, uint64_t pc, uint64_t *ret_function);

/* Whether `pc` lies in TOC code of the crate. */
bool unwind_is_toc_code(const struct loaded_crate *crate, uint64_t pc);

/* The TOC with which TOC code of the crate runs: a patch's is its base's. */
const struct crateld_toc *unwind_toc(const struct loaded_crate *crate);

/* The interposed functions; LSB 5.0 core, libgcc_s. */
const void *_Unwind_Find_FDE(const void *pc, struct dwarf_eh_bases *bases);
void _Unwind_SetIP(struct _Unwind_Context *context, uintptr_t ip);

#endif

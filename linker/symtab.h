/* The symbol tables of the crate file, for debuggers, profilers and people: .symtab and .strtab, .dynsym and .dynstr.
 */
#ifndef LINKER_SYMTAB_H
#define LINKER_SYMTAB_H

#include <elf.h>

#include "linker/link.h"

struct link_symtab {
    VEC(Elf64_Sym) symbols;                  /* owned; local ones first */
    VEC(const struct link_symbol *) origins; /* owned; of each of them; NULL: a file, or a stub */
    VEC(char) names;                         /* owned */
    uint32_t first_global;
};

/* Lists all functions, variables and thread-locals that have a name and will have a place, besides import stubs. Call
 * when it is known what the crate consists of. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_symtab_init(const struct link *link, struct link_symtab *ret);

/* Tells where they are, once everything has its place. */
void link_symtab_fill(const struct link *link, struct link_symtab *symtab);

/* Lists what the crate exports, once everything has its place. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_dynamic_symtab_init(const struct link *link, struct link_symtab *ret);

void link_symtab_deinit(struct link_symtab *symtab);

#endif

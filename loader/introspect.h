/* What code asks about loaded objects, with crates among the answers. dladdr, dladdr1 and dl_iterate_phdr are defined
 * under libc's names (see <dlfcn.h>, <link.h>) and exported, so that ELF libraries get them too. */
#ifndef LOADER_INTROSPECT_H
#define LOADER_INTROSPECT_H

#include <stdint.h>

#include "loader/loaded.h"

/* What is known of an address in a crate. */
struct introspect_symbol {
    const char *name; /* borrowed; NULL: no export covers the address */
    uint64_t address; /* where the export starts */
};

struct dl_find_object; /* <dlfcn.h> */

/* Sets *ret to the nearest export at or below `address`, which is in the crate, that covers it. Linear in the number of
 * exports. */
void introspect_address(const struct loaded_crate *crate, uint64_t address, struct introspect_symbol *ret);

/* _dl_find_object of glibc 2.35. */
int introspect_find_object(void *address, struct dl_find_object *ret);

#endif

/* The functions of libc, ld.so and libgcc_s that crates get from this program instead, because the originals know
 * nothing of crates. */
#ifndef LOADER_OWN_FUNCTIONS_H
#define LOADER_OWN_FUNCTIONS_H

/* The function that takes the place of the library function `name`; NULL if none does. */
void *own_function(const char *name);

#endif

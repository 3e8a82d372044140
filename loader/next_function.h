/* Functions of libc that ours of the same name hide. */
#ifndef LOADER_NEXT_FUNCTION_H
#define LOADER_NEXT_FUNCTION_H

#include <dlfcn.h> /* RTLD_NEXT: with _GNU_SOURCE */

/* libc's function `name`. crateld is the program, so libc comes after it. The host library may stand behind libc, but
 * its own functions are hidden: there it is the first one. */
static inline void *next_function(const char *name)
{
#ifdef CRATELD_HOST
    return dlsym(RTLD_DEFAULT, name);
#else
    return dlsym(RTLD_NEXT, name);
#endif
}

#endif

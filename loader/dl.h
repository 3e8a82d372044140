/* <dlfcn.h> for crates: the same functions, to which crates are libraries too. A handle is ld.so's, or a crate's
 * record. Errors are kept for the calling thread, for dl_error(). */
#ifndef LOADER_DL_H
#define LOADER_DL_H

/* dlopen: a path or name that ends in ".crate" is a crate's, looked for like a needed one if it has no slash; it and
 * what it needs are loaded, activated and started. Else ld.so opens the library, which finds what crates
 * export. NULL is the program: the entry crate, then everything else. */
void *dl_open(const char *file, int mode);
void *dl_mopen(long name_space, const char *file, int mode);

/* dlclose: a crate that was opened as often goes, with what it needs, if nothing keeps it: loader/unload.h. */
int dl_close(void *handle);

/* dlsym: with RTLD_DEFAULT or the program's handle crates in the order in which they were found, then ELF libraries;
 * with RTLD_NEXT, crates behind the calling one; with a crate's handle, it and what it needs, breadth first. */
void *dl_sym(void *handle, const char *name);

/* dlvsym: crates' symbols have no versions, so only ELF libraries have an answer. */
void *dl_vsym(void *handle, const char *name, const char *version);

char *dl_error(void);
int dl_info(void *handle, int request, void *ret);

#endif

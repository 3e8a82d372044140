/* ELF libraries that crates need: opened by ld.so when the first of their symbols is wanted. */
#ifndef LOADER_ELF_LIBRARY_H
#define LOADER_ELF_LIBRARY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct process;

struct elf_library {
    const char *soname;   /* borrowed from the process's arena */
    const char *path;     /* likewise; where the link found it; NULL: not known */
    void *_Atomic handle; /* dlopen's; never closed; NULL: not opened yet */
    bool is_resident;     /* this program itself uses it, so it is there from the start: libc and ld.so */
    bool uses_exports;    /* it wants symbols that crates export */
    bool is_eager;        /* opened before main */
    bool is_path_first;   /* the crate's rpath led to `path` */
};

/* Whether ld.so will find the library, as far as that can be told without opening it. Opens it where it can not.
 * Error: NOT_FOUND. */
MUST_CHECK struct crateld_error *elf_library_check(struct elf_library *library);

/* Opens the library, if it is not yet; its initialisers run. Any number of threads may. Error: NOT_FOUND, with
 * ld.so's reason. */
MUST_CHECK struct crateld_error *elf_library_open(struct elf_library *library);

/* Sets *ret to the address of the library's symbol `name`, of version `version` ("": the default one), which is NULL if
 * it has none; opens the library if it is not yet. Error: NOT_FOUND, when it can not be opened. */
MUST_CHECK struct crateld_error *elf_library_symbol(struct elf_library *library, const char *name, const char *version,
                                                    void **ret);

#endif

/* crateld: what a library made by `crateld export` says about itself to libcrateld. Programs do not need it. */
#ifndef CRATELD_EXPORT_H
#define CRATELD_EXPORT_H

#include <stdint.h>

#include "crateld/error.h"
#include "crateld/toc.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CRATELD_EXPORT_MAGIC UINT64_C(0x74726f7078457263) /* "crExport" */

enum { CRATELD_EXPORT_VERSION = 2 };

/* The library's functions are stubs that jump through slots; an unbound slot leads to the resolver as a crate's does
 * (docs/abi.md, section 3), with `head` in the place of the TOC. */
struct crateld_export {
    struct crateld_toc head;        /* magic: CRATELD_EXPORT_MAGIC; resolver: crateld_export_resolver */
    uint32_t version;               /* CRATELD_EXPORT_VERSION */
    uint32_t count;                 /* of functions */
    const char *const *names;       /* of each */
    const void *const *stubs;       /* of each */
    struct crateld_function *slots; /* of each: entry, and nothing */
    const char *file;               /* name of the crate's file, which is looked for beside the library */
    const char *path;               /* where the file was when the library was made; then it is looked for there */
    void *area;                     /* address space for the crate's image, in which the library's variables lie; NULL:
                                       there are none, and the crate is mapped anywhere */
    uint64_t area_size;
    uint8_t build_id[16]; /* of the crate that the library was made of: with an area or thread-locals it must be this */
    const uint64_t *(*thread_locals)(void); /* where the crate's block is in the library's thread-locals: an argument of
                                               __tls_get_addr(), or 0 and the distance from the thread pointer; NULL: it
                                               is not there */
};

/* What unbound slots lead to. No C function: see docs/abi.md, section 3, for what it gets. */
CRATELD_API extern const char crateld_export_resolver[];

/* Opens the crate of a library with an area, so that its variables are there; initialisers of the library call it. Ends
 * the process with a message and status 127 if that is not possible. */
CRATELD_API void crateld_export_start(struct crateld_export *library);

#ifdef __cplusplus
}
#endif

#endif

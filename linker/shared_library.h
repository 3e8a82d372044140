/* An ELF shared library as a link sees it: what it is called, needs, defines and asks for.
 *
 * All is read from the dynamic segment, as ld.so does, so that libraries without section headers work.
 * Nothing in the file is trusted. Sources: gABI ch. 5, "Dynamic Linking"; LSB Core, "Symbol Versioning"; GNU
 * hash: as in glibc's elf/dl-lookup.c.
 */
#ifndef LINKER_SHARED_LIBRARY_H
#define LINKER_SHARED_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash_index.h"
#include "base/span.h"
#include "base/vec.h"

struct shared_symbol {
    const char *name;    /* borrowed from the library */
    const char *version; /* borrowed from the library; NULL: unversioned */
    uint64_t value;      /* vaddr in the library; for TLS the offset in its block */
    uint64_t size;       /* bytes */
    uint32_t idx;        /* in the dynamic symbol table */
    uint8_t type;        /* STT_*, STT_GNU_IFUNC included */
    uint8_t binding;     /* STB_*, STB_GNU_UNIQUE included */
    uint8_t visibility;  /* STV_DEFAULT or STV_PROTECTED where it can be linked to */
    bool is_defined;
    bool is_default;  /* of several versions, the one that a link binds to (`@@`, or unversioned) */
    bool is_absolute; /* SHN_ABS */
};

/* A part of the file's image: [vaddr, vaddr + data.size) are the bytes `data`. */
struct shared_segment {
    uint64_t vaddr;
    struct span data;
    uint64_t mem_size;
    uint32_t flags; /* PF_* */
};

struct shared_library {
    const char *path;    /* borrowed from the arena */
    const char *soname;  /* DT_SONAME, or the path's last component */
    bool has_soname;     /* there is a DT_SONAME */
    const char **needed; /* DT_NEEDED, in order */
    uint32_t needed_count;
    const char *runpath;   /* DT_RUNPATH, else DT_RPATH, else NULL; not expanded */
    struct span build_id;  /* the descriptor of NT_GNU_BUILD_ID; empty if there is none */
    uint16_t machine;      /* EM_* */
    uint32_t symbol_count; /* including the null symbol */
    bool has_initialisers; /* DT_PREINIT_ARRAY, DT_INIT or DT_INIT_ARRAY beyond what every library has from
                              the compiler's start files: loading it runs somebody's code */
    bool has_tls;          /* a PT_TLS segment */
    bool is_nodelete;      /* DF_1_NODELETE */
    bool is_static_tls;    /* DF_STATIC_TLS: dlopen may refuse it */
    bool is_pie;           /* DF_1_PIE: a program, not a library */

    /* The rest is for the functions below. */
    struct span data; /* the file's bytes */
    struct shared_segment *segments;
    uint32_t segment_count;
    struct span symbols;             /* Elf64_Sym[symbol_count] */
    struct span strings;             /* DT_STRTAB */
    struct span versions;            /* Elf64_Half[symbol_count], or empty */
    VEC(const char *) version_names; /* owned array; by version index; NULL: there is no such version */
    uint32_t version_count;          /* entries of the file's version tables */
    struct span gnu_hash;            /* from its header on; empty: use `index` */
    struct hash_index index;         /* owned; of index_symbols by name, when there is no usable DT_GNU_HASH */
    uint32_t *index_symbols;         /* borrowed from the arena */
    struct arena arena;              /* owned */
    struct file file;                /* owned; zeroed after shared_library_init */
};

/* Maps and reads the library at `path`, which must be ELF64, little-endian, ET_DYN, of EM_* `machine`.
 * Errors: IO, FORMAT (with place), MISMATCH (machine, class), MEMORY. */
MUST_CHECK struct crateld_error *shared_library_open(const char *path, uint16_t machine, struct shared_library *ret);

/* Reads the library whose bytes are `data`, borrowed until shared_library_deinit. Errors as above. */
MUST_CHECK struct crateld_error *shared_library_init(struct span data, const char *path, uint16_t machine,
                                                     struct shared_library *ret);

/* Releases; names of its symbols die with it. A zeroed library is allowed. */
void shared_library_deinit(struct shared_library *library);

/* Sets *ret to symbol `idx`, below symbol_count; false when the entry is broken or nameless. Cost: constant.
 * Use it to walk all symbols; undefined ones have is_defined false, and the version they want. */
bool shared_library_symbol(const struct shared_library *library, uint32_t idx, struct shared_symbol *ret);

/* Looks up the definition that a link binds `name` to: its default version if `version` is NULL, else that
 * version, hidden or not. False: none. Local, hidden and undefined symbols are never found. Cost: constant.
 */
bool shared_library_find(const struct shared_library *library, const char *name, const char *version,
                         struct shared_symbol *ret);

/* The symbols that name the same datum as `symbol`, an object of this library (environ, __environ): start
 * with *cursor = 0; false ends the walk. `symbol` itself and all its versions are among them. Whoever copies
 * one of them elsewhere must redirect all of them. Cost of a whole walk: one step per symbol. */
bool shared_library_next_alias(const struct shared_library *library, const struct shared_symbol *symbol,
                               uint32_t *cursor, struct shared_symbol *ret);

/* Whether the library's bytes at the vaddr are mapped writable (false: a copy of it may be placed read-only).
 */
bool shared_library_is_writable(const struct shared_library *library, uint64_t vaddr);

/* Whether they are mapped executable: code. */
bool shared_library_is_executable(const struct shared_library *library, uint64_t vaddr);

#endif

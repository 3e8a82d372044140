/* A crate in this OS process: mapped, and active once its TOC is filled.
 *
 * Records are made while the closure of needed crates is found, and are never freed while the process runs, but used
 * again for the same file once it was unloaded (loader/unload.h). What a record says about the file is immutable from
 * then on; the rest is written under the process's lock and published by `state`.
 */
#ifndef LOADER_LOADED_H
#define LOADER_LOADED_H

#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "crate/reader.h"
#include "crateld/toc.h"

struct elf_library;
struct versions;
struct loaded_crate;
struct process;

enum loaded_state {
    LOADED_FOUND,      /* the crate has its place, where its file is mapped, at the latest by image_need() */
    LOADED_ACTIVATING, /* being relocated, by the thread that holds the process's lock */
    LOADED_ACTIVE,     /* its code may run */
    LOADED_FAILED,     /* activation failed: never to be tried again */
};

/* Whether a crate may have gates. */
enum loaded_fitness {
    LOADED_FITNESS_UNKNOWN,
    LOADED_FIT,
    LOADED_UNFIT,
};

/* One crate that uses another; a node of the list that loaded_users() tells. */
struct loaded_user {
    struct loaded_crate *user; /* borrowed */
    struct loaded_user *next;
};

/* An entry of the needed table, and what it turned out to be. */
struct loaded_needed {
    struct crate_needed entry;   /* a checked copy */
    const char *name, *path;     /* its strings; owned by the process's arena */
    const char *runpath;         /* likewise; may be shared with another entry */
    struct loaded_crate *crate;  /* borrowed; NULL for an ELF library */
    struct elf_library *library; /* borrowed; NULL for a crate */
    struct loaded_user use;      /* linked into loaded_users(crate) once something was bound */
    atomic_bool is_used;         /* `use` is linked, or about to be */
};

/* Where the crate's block of thread-locals lies: see loader/tls.h. */
struct loaded_tls {
    uint64_t module;    /* first word of an argument of __tls_get_addr, ours or ld.so's; 0: no block */
    uint64_t tp_offset; /* of the block, in the static pool; what is added to a variable's offset */
    bool is_adopted;    /* it lies in the thread-locals of an ELF library */
};

struct loaded_crate {
    struct crate_view view;         /* over the mapped image */
    uint8_t *base;                  /* address of rva 0; owned mapping */
    size_t mapped_size;             /* bytes of it: the image, and in some places the reserve behind it */
    uint32_t gates_rva, gates_end;  /* pages of gates in place of its text: loader/gate.h; end 0: none */
    uint64_t early_users;           /* toc->users before the TOC is filled */
    size_t reserve_used;            /* bytes at the end of the reserve that patches have */
    struct loaded_crate *host;      /* in whose reserve it lies; NULL: in none */
    struct crateld_toc *toc;        /* in the image */
    struct process *process;        /* borrowed */
    struct loaded_needed *needed;   /* owned by the process's arena; one for each entry of the table */
    uint32_t needed_capacity;       /* elements that there is room for */
    _Atomic uint32_t state;         /* enum loaded_state; ACTIVE is stored with release order */
    const char *path;               /* owned by the process's arena; as it was opened */
    const char *absolute_path;      /* owned by the process's arena; as debuggers were shown it; NULL: they were not */
    const char *name;               /* owned by the process's arena; its identity: the one in its header, or another
                                       that was asked for */
    int fd;                         /* owned; of a crate that is not mapped yet, or with gates, or with a relink section
                                       once active; -1: none */
    uint64_t device, inode;         /* of the file */
    struct loaded_tls tls;          /* set by activation */
    struct versions *versions;      /* owned; of a crate for which patches were loaded; NULL: none were */
    bool *is_active_module;         /* of a patch that was checked, for each of its modules: `modules`; else NULL */
    bool *modules;                  /* owned by the process's arena; NULL: none were needed yet */
    uint32_t module_capacity;       /* elements of it */
    const char *own_name;           /* owned by the process's arena; of a patch: the one in its header */
    const char *numbered_name;      /* likewise: the one that it was given; of another, what its record's patch had */
    char found_where[46];           /* of a patch that is superseded: who may come back to it, by the last search */
    struct link_map link_map;       /* for debuggers, in a list of its own; l_name NULL: not ready for it */
    struct loaded_crate *next_late; /* borrowed; a list of loader/start.c */
    struct loaded_crate *bundle;    /* borrowed; of a member: the bundle that it is in; NULL: it is no member */
    uint32_t member;                /* then: its number there */
    struct loaded_crate **members;  /* owned by the process's arena; of a bundle: its members' records, NULL where none
                                       was made yet; NULL: no member was asked for */
    uint8_t gate_fitness;           /* enum loaded_fitness */
    bool has_toc;                   /* the TOC is filled */
    bool has_faulted;               /* of a patch: it was taken back for that */
    bool has_stale_sites;           /* of a patch: some of its sites are in text that is superseded */
    bool is_shown;                  /* its link map is in the list */
    bool is_mapped;                 /* its file is: image_need() */
    bool is_late;                   /* it was when something of it was needed, and its data is writable since then */
    bool is_sought;                 /* of a patch: it was searched for since it was in effect: loader/retire.h */
    bool is_file_ours;              /* of a patch: nobody else wants its file */
    bool is_in_hole;                /* of a patch: its image lies in a struct image_hole */
    bool is_reusing;                /* of such: where another patch had been */
    bool is_protected;              /* its segments have the protection that they are to have */
    bool is_meta_checked;           /* headers and tables are as they were written */
    bool is_indexed;                /* in the address index */
    bool is_initialised;            /* its initialisers ran or are running */
    bool is_ordered;                /* visited by the pass that finds the order of initialisation */
    bool is_kept;                   /* others than crates may refer to it: it is never unloaded */
    bool is_reachable;              /* visited by the pass that finds what can be unloaded */
    size_t hold_count;              /* dlopen() less dlclose() */
};

static inline bool loaded_is_active(const struct loaded_crate *crate)
{
    return atomic_load_explicit(&((struct loaded_crate *)crate)->state, memory_order_acquire) == LOADED_ACTIVE;
}

/* The crate whose image the crate is in: its bundle, or itself. */
static inline struct loaded_crate *loaded_image(struct loaded_crate *crate)
{
    return crate->bundle ? crate->bundle : crate;
}

/* Where the list of those that use the crate begins. */
static inline uint64_t *loaded_users(struct loaded_crate *crate)
{
    crate = loaded_image(crate);
    return crate->has_toc ? &crate->toc->users : &crate->early_users;
}

/* The address of rva `rva`. */
static inline uint64_t loaded_address(const struct loaded_crate *crate, uint32_t rva)
{
    return (uint64_t)(uintptr_t)crate->base + rva;
}

/* The slots of the TOC. */
static inline struct crateld_function *loaded_function_slots(const struct loaded_crate *crate)
{
    return (struct crateld_function *)((uint8_t *)crate->toc + crate->view.toc.imported_functions);
}

static inline struct crateld_function *loaded_func_refs(const struct loaded_crate *crate)
{
    return (struct crateld_function *)((uint8_t *)crate->toc + crate->view.toc.func_refs);
}

static inline uint64_t *loaded_global_slots(const struct loaded_crate *crate)
{
    return (uint64_t *)((uint8_t *)crate->toc + crate->view.toc.imported_globals);
}

#endif

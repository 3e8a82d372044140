/* The crates and ELF libraries of this OS process: found, checked and named; mapped, activated and started.
 *
 * An OS process has one. Lock order: the start lock, the process's lock, ld.so's. */
#ifndef LOADER_PROCESS_H
#define LOADER_PROCESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash_index.h"
#include "base/vec.h"
#include "loader/elf_library.h"
#include "loader/image.h"
#include "loader/loaded.h"
#include "loader/vague.h"

struct first_calls;
struct version_set;

/* NULL or zeroed: the defaults. Strings are borrowed for the life of the process. */
struct process_opts {
    const char *const *paths; /* --path: folders to look for needed crates in */
    size_t path_count;
    const char *const
        *aliases; /* --as: "name=path": the crate called name is the one in that file, whatever its header says */
    size_t alias_count;
    const char *const *patches; /* --patch: files of patches that are in effect from the start */
    size_t patch_count;
    const char *env_path;         /* CRATELD_PATH: more of them, separated by colons; NULL: none */
    const char *env_library_path; /* LD_LIBRARY_PATH: likewise, and behind those */
    struct first_calls *trace;    /* --trace: borrowed; NULL: functions' first calls are not noted */
    bool has_aslr;                /* crates are mapped at addresses that the kernel chooses */
    bool is_fresh;                /* what changed since the crates were linked is in effect from the start */
    bool is_watched;              /* `crateld watch` is started for it */
    const char *compile_commands; /* with this file, to compile what is edited; NULL: only to take what is compiled */
    bool is_tiered;               /* what tcc makes of it comes first */
    bool binds_now;               /* all imports are bound at start */
};

struct process {
    struct process_opts opts;
    struct arena arena;
    pthread_mutex_t start_lock; /* recursive; held while initialisers run: not under `lock`, because they may make
                                   threads that bind, and wait for them */
    pthread_mutex_t lock;       /* recursive; guards all below, the crates' records, and activation */
    VEC(struct loaded_crate *) crates; /* in the order found: breadth first from the entry crate */
    struct hash_index crate_names;
    struct loaded_crate *unloaded; /* records of crates that were unloaded, by next_late */
    struct loaded_crate *retired;  /* records of patches that were, likewise */
    VEC(struct elf_library *) libraries;
    VEC(const char *) folders; /* owned by the arena; from the options, once */
    bool has_folders;
    struct elf_library *heap_library; /* borrowed: libcrateld-gc, if a crate needs it: loader/heap.h */
    const struct image_area *area;    /* borrowed; where the crate that process_load() is called for is to lie; NULL */
    struct vague_table vague;
    struct image_region region;        /* where crates are mapped */
    VEC(struct version_set *) history; /* owned; what was active before each reload, for rolling back */
    uint32_t bundle_count;             /* of the crates, those that are bundles */
    uint32_t patch_count;              /* that were loaded so far: each gets a name of its own */
};

void process_init(struct process *process, const struct process_opts *opts);

/* Unmaps and forgets everything; for processes whose crates' code never ran (tests, failed starts). */
void process_deinit(struct process *process);

/* Maps the crate at `path` and finds all that it needs, directly or not: crates are mapped read-only, nothing of
 * theirs runs. Checks existence, format, names and, where a build id differs from what was linked against, that the
 * imported names are still there. *ret is the crate, which may be one that was there before. On error new crates
 * remain mapped but unused. Errors: NOT_FOUND, FORMAT, MISMATCH, DUPLICATE, UNDEFINED, ...: all that was found. */
MUST_CHECK struct crateld_error *process_load(struct process *process, const char *path, struct loaded_crate **ret);

/* The same, of a file that image_open() has opened, and read the start of. */
MUST_CHECK struct crateld_error *process_load_read(struct process *process, const char *path, int *fd,
                                                   struct image_start *start, struct loaded_crate **ret);

/* The crate called `name`; NULL if there is none. */
struct loaded_crate *process_find(const struct process *process, const char *name);

/* The crate that was loaded from the file that is now at `path`; NULL if none was. */
struct loaded_crate *process_find_file(const struct process *process, const char *path);

/* Opens the crate file called `file`, as one that `user` needs: beside it, in --path, in CRATELD_PATH, in
 * LD_LIBRARY_PATH, and in the folders of `runpath` ("": none). Its path goes to *ret_path, which the caller frees, the
 * descriptor to *ret; NULL and -1: it is nowhere. Errors: IO, MEMORY. */
MUST_CHECK struct crateld_error *process_open_file(struct process *process, const struct loaded_crate *user,
                                                   const char *file, const char *runpath, char **ret_path, int *ret);

/* What the crate says of where to look for what it needs; "" if nothing. Borrowed from the crate. */
const char *process_runpath(const struct loaded_crate *crate);

/* Forgets the crates from number `count` on, none of which is in use. */
void process_forget(struct process *process, size_t count);

/* Forgets a crate, which stays mapped; its record is to go to process_recycle() when it is not. */
void process_remove(struct process *process, const struct loaded_crate *crate);
void process_recycle(struct process *process, struct loaded_crate *crate);

/* Likewise that of a patch, which any other file may get. */
void process_recycle_patch(struct process *process, struct loaded_crate *patch);

/* Takes the process's lock, and sees to it that a child of fork finds it free. */
void process_lock(struct process *process);

static inline void process_unlock(struct process *process)
{
    pthread_mutex_unlock(&process->lock);
}

#endif

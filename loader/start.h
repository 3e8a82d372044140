/* Running crates: initialisers in order, the entry function, finalisers. */
#ifndef LOADER_START_H
#define LOADER_START_H

#include <stdbool.h>

#include "base/error.h"
#include "loader/loaded.h"
#include "loader/process.h"

/* What a program is started with, as main gets it. */
struct start_args {
    int argc;
    char **argv;      /* NULL-terminated; argv[0] is the crate's path */
    const char *name; /* what the program gets as argv[0] */
    char **envp;
    char **own_argv; /* what crateld itself got */
};

/* Loads the crate at `path` with all that it needs, starts it in this OS process, of which it becomes the program, and
 * does not return but with an error: everything that is wrong with the files is found before any of their code runs.
 * Errors: those of process_load() and activate_crate(); FORMAT, when the crate has no entry function. */
MUST_CHECK struct crateld_error *start_program(struct process *process, const char *path,
                                               const struct start_args *args);

/* Starts a crate that was loaded while the program runs, and whatever it needs that is to be started with it. With
 * `binds_now`, binds its imports. Takes the process's lock. Errors: those of activate_crate() and elf_library_open().
 */
MUST_CHECK struct crateld_error *start_crate(struct loaded_crate *crate, bool binds_now);

/* Calls the initialiser at `address` with what initialisers get. */
void start_call(uint64_t address);

/* Runs what the crate wants to be run at its end: the handlers that it registered, then its finalisers. They will not
 * be run at exit. The start lock is held, the process's is not. */
void start_end_crate(struct loaded_crate *crate);

/* The order in which what `crate` needs is to be started, itself last: what is needed comes first, in the order of the
 * needed tables, and cycles are cut where they close. *ret is malloc'ed; an entry is a crate or an ELF library. Called
 * under the process's lock. Error: MEMORY. */
struct start_item {
    struct loaded_crate *crate;
    struct elf_library *library;
};
MUST_CHECK struct crateld_error *start_order(struct loaded_crate *crate, struct start_item **ret, size_t *ret_count);

#endif

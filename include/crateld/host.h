/* crateld: crates in a program of your own.
 *
 * A C or C++ program that links libcrateld opens crates, calls their functions, and gives them symbols of its own. The
 * crates of an OS process know each other, whoever opened them: there is one host in it. docs/host.md has an example,
 * says what differs from `crateld run`, and what stays as it is from version to version.
 *
 * All functions may be called by any thread. Strings that they return live as long as the process.
 */
#ifndef CRATELD_HOST_H
#define CRATELD_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "crateld/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The crates of this OS process. */
struct crateld_host;

/* One of them. */
struct crateld_crate;

/* How the host works; zeroed: the defaults. Strings are copied. */
struct crateld_host_opts {
    const char *const *paths; /* folders in which needed crates are looked for, behind the folder of the one that needs
                                 them; CRATELD_PATH and LD_LIBRARY_PATH follow */
    size_t path_count;
    int binds_now; /* not 0: all imports are bound when a crate is opened */
    int has_aslr;  /* not 0: crates are mapped where the kernel chooses */
};

/* Sets *ret to the host of this process, made with `opts` (NULL: defaults) if there is none yet; later options are not
 * looked at. Nothing has to be released. Errors: MEMORY. */
CRATELD_API struct crateld_error *crateld_host_get(const struct crateld_host_opts *opts, struct crateld_host **ret)
    __attribute__((warn_unused_result));

/* Lets `name` mean `address` where a crate was linked with it left open (-z undefs), before any crate or library is
 * asked; for what is bound from now on. The name is copied. Errors: DUPLICATE (it means another address), MEMORY. */
CRATELD_API struct crateld_error *crateld_host_define(struct crateld_host *host, const char *name, void *address)
    __attribute__((warn_unused_result));

/* Opens the crate file at `path`, and all that it needs; runs their initialisers, if they are new. Each call that
 * succeeds is one reference. Errors: NOT_FOUND, FORMAT, MISMATCH, UNDEFINED, UNSUPPORTED, RANGE, IO, MEMORY: all that
 * is wrong, in as many lines. */
CRATELD_API struct crateld_error *crateld_crate_open(struct crateld_host *host, const char *path,
                                                     struct crateld_crate **ret) __attribute__((warn_unused_result));

/* Gives up a reference. With the last one: if other crates have bound symbols of this one, the reference stays, and the
 * error (MISMATCH) names them; else the crate counts as closed. Its memory stays, because pointers into it may be
 * anywhere, and opening it again finds it as it was. Error: USAGE, when there is no reference. */
CRATELD_API struct crateld_error *crateld_crate_close(struct crateld_crate *crate) __attribute__((warn_unused_result));

/* Sets *ret to the address of what the crate exports as `name`: a function, which any code may call, a variable, or the
 * calling thread's thread-local. Errors: UNDEFINED, and those of activation. */
CRATELD_API struct crateld_error *crateld_crate_symbol(struct crateld_crate *crate, const char *name, void **ret)
    __attribute__((warn_unused_result));

/* The crate's name, and the path that it was opened by. */
CRATELD_API const char *crateld_crate_name(const struct crateld_crate *crate);
CRATELD_API const char *crateld_crate_path(const struct crateld_crate *crate);

/* How many references there are. */
CRATELD_API size_t crateld_crate_references(const struct crateld_crate *crate);

/* Calls `visit` for each crate of the process, in the order in which they came, until it returns another value than 0,
 * which is then the result. It may call any function of this header. */
CRATELD_API int crateld_host_each(struct crateld_host *host, int (*visit)(struct crateld_crate *crate, void *context),
                                  void *context);

/* The same for each crate that has bound symbols of `crate`. */
CRATELD_API int crateld_crate_each_user(struct crateld_crate *crate,
                                        int (*visit)(struct crateld_crate *user, void *context), void *context);

/* The crate in which `address` lies; NULL: in none. */
CRATELD_API struct crateld_crate *crateld_host_find(struct crateld_host *host, const void *address);

#ifdef __cplusplus
}
#endif

#endif

/* Thread-locals of crates.
 *
 * A block of thread-locals lies in the static pool or is dynamic. The pool is a thread-local array of this program
 * itself, so every thread has it at the same offset from its thread pointer, whoever creates the thread; ld.so copies
 * the program's PT_TLS template into it, and that template gets the crates' initial images. Dynamic blocks are
 * allocated by each thread on its first access, and freed when the thread ends, after all other destructors.
 *
 * A pair {module, offset}, the argument of __tls_get_addr, has its module's top bit set when it is ours.
 */
#ifndef LOADER_TLS_H
#define LOADER_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "loader/loaded.h"

struct tls_index { /* x86-64 psABI, "ELF Handling for Thread-Local Storage" §3.4.6 */
    uint64_t module;
    uint64_t offset;
};

enum {
#ifdef CRATELD_HOST
    TLS_POOL_SIZE = 64, /* a library that may be opened at any time can have none that is of use */
#else
    TLS_POOL_SIZE = 16 << 10, /* bytes of the static pool */
#endif
    TLS_POOL_KEEP = TLS_POOL_SIZE / 4, /* kept free for crates that can not do without the pool */
    TLS_POOL_ALIGN = 64,
};

/* Gives the crate its block, unless it has one: sets crate->tls. The crate has thread-locals. Blocks are never given
 * back. Called under the process's lock. Errors: RANGE, when a crate that needs the static pool does not fit into it,
 * or threads run already and the image has initial values. */
MUST_CHECK struct crateld_error *tls_reserve(struct loaded_crate *crate);

/* Gives the crate, unless it has a block, one in the thread-locals of the library that `crateld export` made of it,
 * which have its initial values: `place` as in struct crateld_export. Whether it has that one. Called under the
 * process's lock. */
bool tls_adopt(struct loaded_crate *crate, const uint64_t *place);

/* Makes the crate's initial image, now relocated, what threads start with, the calling thread included. Follows
 * tls_reserve(). Called under the process's lock. Errors: MEMORY, IO. */
MUST_CHECK struct crateld_error *tls_publish(struct loaded_crate *crate);

/* The pair for the variable at `offset` in the crate's block. */
struct tls_index tls_index_of(const struct loaded_crate *crate, uint64_t offset);

/* Whether the crate's block lies in the static pool, at crate->tls.tp_offset from the thread pointer. */
bool tls_is_static(const struct loaded_crate *crate);

/* What crates call as __tls_get_addr: the address, for the calling thread, of one of ours or of ld.so's. */
void *tls_get_address(const struct tls_index *index);

/* The calling thread's thread-locals of crates: its pool, TLS_POOL_SIZE bytes; and its blocks, of which those that it
 * has not used yet are NULL. For the collector. */
char *tls_pool(void);
size_t tls_block_count(void);
char *tls_block(size_t i, size_t *ret_size);

/* Sets *ret to the pair for the thread-local of an ELF library that stands at `address` for the calling thread.
 * `handle` is dlopen's, of the library that defines it. Error: UNSUPPORTED. */
MUST_CHECK struct crateld_error *tls_index_of_elf(void *handle, const char *name, const void *address,
                                                  struct tls_index *ret);

/* Sets *ret to the offset from the thread pointer, the same in all threads, of the thread-local `name` of an ELF
 * library that is open. ld.so moves the library's thread-locals into its static block if they were not used yet and
 * there is room. 0 for a weak one that does not exist. Error: UNSUPPORTED. */
MUST_CHECK struct crateld_error *tls_offset_of_elf(const char *name, bool is_weak, uint64_t *ret);

#endif

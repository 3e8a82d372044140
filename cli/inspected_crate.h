/* A crate under inspection: a file, or what is mapped in a process. */
#ifndef CLI_INSPECTED_CRATE_H
#define CLI_INSPECTED_CRATE_H

#include <stdbool.h>

#include "base/file.h"
#include "cli/symbol_map.h"
#include "crate/reader.h"
#include "reloc/relink_reader.h"

/* Tells what is at an address in a process. */
struct address_namer {
    /* Sets `ret` to "where:what", with "+0x…" where the address is within it; "0x…" when nothing is known. Of
     * several names of one place it is `wanted`, which may be NULL. */
    void (*name)(const struct address_namer *namer, uint64_t address, const char *wanted, char *ret, size_t size);
};

struct inspected_crate {
    char *path;       /* owned */
    struct file file; /* owned; of a process's crate zeroed if the file is no longer the one that is mapped */
    struct crate_view view;
    struct relink_view relink; /* has_relink: of the file */
    bool has_relink;
    struct symbol_map symbols;

    uint64_t base;                     /* where rva 0 is: in a file the preferred base */
    uint8_t *meta;                     /* owned; of a process: the bytes of the meta segment */
    uint8_t *toc_bytes;                /* owned; of a process: the TOC's bytes */
    struct span toc;                   /* view.toc.size bytes, of the file or the process */
    const struct address_namer *namer; /* borrowed; NULL for a file */
};

/* Opens the crate file `path` for inspection. Errors: IO, FORMAT, MISMATCH, UNSUPPORTED, MEMORY. */
MUST_CHECK struct crateld_error *inspected_crate_open(const char *path, struct inspected_crate *ret);

/* Opens what a process has mapped at `base`: reads it by `mem_fd`, its /proc/PID/mem. `path`, `device` and
 * `inode` are those of the mapping; the file itself is used for what is not mapped if it is still there.
 * Errors as above; FORMAT when it is no crate. */
MUST_CHECK struct crateld_error *inspected_crate_attach(const char *path, dev_t device, ino_t inode, int mem_fd,
                                                        uint64_t base, struct inspected_crate *ret);

/* Releases; a zeroed one is allowed. */
void inspected_crate_close(struct inspected_crate *crate);

/* Checks what opening a crate file does not look at: the build id and the relink section as a whole. Errors:
 * MISMATCH (another build id); FORMAT. */
MUST_CHECK struct crateld_error *inspected_crate_check(const struct inspected_crate *crate);

/* Sets *ret to whether the file's contents have the build id of its header. Error: FORMAT. */
MUST_CHECK struct crateld_error *inspected_crate_has_right_id(const struct inspected_crate *crate, bool *ret);

/* Whether `entry`, a function slot's contents, leads to a lazy stub. */
bool inspected_crate_is_lazy(const struct inspected_crate *crate, uint64_t entry);

/* Sets `ret` to what is at `address` in the crate ("draw", "draw+0x4", "stub of sin"), or to "0x…". */
void inspected_crate_name(const struct inspected_crate *crate, uint64_t address, char *ret, size_t size);

#endif

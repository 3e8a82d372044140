/* Patches: new versions of modules of a crate, as a crate of their own.
 *
 * A patch is linked like a crate from the new objects, but for what the base, the crate that it is for, has already.
 * The base's relink section says what that is: functions and constants that did not change, and all its variables, stay
 * the base's; the new objects' symbols of them become imports of places in the base (CRATE_IMPORT_FLAG_BASE). Functions
 * that changed, and everything new, are in the patch, with a list of which function of the base each replaces.
 *
 * A changed function keeps its address: whoever takes it gets the one in the base. */
#ifndef LINKER_PATCH_H
#define LINKER_PATCH_H

#include "base/file.h"
#include "base/hash_index.h"
#include "crate/reader.h"
#include "crate/writer.h"
#include "linker/link.h"
#include "linker/scan.h"
#include "reloc/relink_reader.h"

/* A crate that patches are made for. */
struct link_base {
    const char *path; /* borrowed; for messages, and where what it needs is beside it */
    struct file file; /* owned */
    struct crate_view view;
    struct relink_view relink;
    struct hash_index file_names;      /* of the modules' files */
    struct link_base_types *types;     /* owned; what is known of its variables' types so far: linker/patch_types.h */
    struct link_base_modules *modules; /* owned; what is known of its modules so far: linker/patch_known.h */
};

/* Opens the crate in the file at `path`, which is called `name`. Close it in any case. Errors: those of opening crates;
 * UNSUPPORTED, when it has no relink section, or is a patch. */
MUST_CHECK struct crateld_error *link_base_open(const char *path, const char *name, struct link_base *ret);
void link_base_close(struct link_base *base);

/* Where a symbol of a patch is in the base. Symbols that stand for something are made on demand. */
struct link_base_place {
    uint32_t rva;           /* of thread-locals: offset in the base's block */
    uint32_t canonical_rva; /* of functions: their address for all who hold it; RELINK_NONE: there is none yet */
    bool is_function;
    bool is_toc;                    /* of TOC code: plain code enters it at its canonical address */
    struct link_section *fresh;     /* of a variable that the base does not have: its section, and `rva` is the
                                       offset there */
    struct link_function *function; /* of a function that the base does not have */
    struct link_symbol *entry;      /* what stands for the first instruction */
    struct link_symbol *address;    /* what stands for the canonical address */
};

/* Opens the base that the options name, if any, and enters what it needs as providers. Errors: those of opening crates;
 * UNSUPPORTED, when it has no relink section. */
MUST_CHECK struct crateld_error *link_patch_open(struct link *link);

void link_patch_destroy(struct link_patch *patch);

/* Whether a patch is linked, and its base knows `name` as a place of its linker's own: see link_own_bounds(). Error:
 * FORMAT. */
MUST_CHECK struct crateld_error *link_patch_has_place(struct link *link, const char *name, bool *ret);

/* Compares the objects with the modules of the base: decides what stays the base's, what moves, what is new, and marks
 * what the patch is to hold. What can not be decided, or would change the layout of state, is reported. Does nothing in
 * a link that makes a crate. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_patch_match(struct link *link);

/* Sets *ret to how many modules of a crate `module`, "new.o" or "old.o=new.o", can be a new version of. Error: FORMAT.
 */
MUST_CHECK struct crateld_error *link_patch_count_modules(const struct link_base *base, const char *module,
                                                          uint32_t *ret);

/* Makes the symbol, which is called "_TOC_", the base's TOC. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_patch_use_toc(struct link *link, struct link_symbol *symbol);

/* A symbol that stands for the base's TOC; NULL without memory. */
struct link_symbol *link_patch_toc(struct link *link);

/* What a relocation of a patch refers to. */
struct link_patch_target {
    struct link_symbol *symbol;
    uint64_t distance; /* from the relocation's own symbol to this one: it is not to be in the addend any more */
};

/* Sets *ret to what a relocation of a patch that names `symbol`, in section `from`, refers to: `symbol`, or what stands
 * for a function's canonical address, in the base or in the first patch that had the function, where its address is
 * taken (`is_branch` false) at its exact start, at `value` of the symbol's section; or for the base's version of a
 * function of another module, since each module may be replaced alone; or for the place where plain code enters TOC
 * code. Errors: UNSUPPORTED (the base has no such place yet), MEMORY. */
MUST_CHECK struct crateld_error *link_patch_target(struct link *link, const struct link_section *from,
                                                   struct link_symbol *symbol, uint64_t value, bool is_branch,
                                                   struct link_patch_target *ret);

/* Notes that others may get the address of the function `symbol`, unless the base has it: it gets an entry stub.
 * Error: MEMORY. */
MUST_CHECK struct crateld_error *link_patch_enter_function(struct link *link, struct link_symbol *symbol);

/* Notes that code of the patch has the function's address without a relocation. Error: MEMORY. */
MUST_CHECK struct crateld_error *link_patch_enter_leaked(struct link *link, struct link_function *function);

/* The base's block of thread-locals, as a symbol. */
struct link_symbol *link_patch_tls_block(struct link *link);

/* Fills a record of the needed table for a provider of kind BASE, and the path that goes with it. Error: FORMAT. */
MUST_CHECK struct crateld_error *link_patch_fill_needed(const struct link *link, const struct link_provider *provider,
                                                        struct crate_needed *needed, const char **path);

/* Enters what the patch changes in the base into the tables; places in the patch come with link_patch_fill(), once
 * they are known. Errors: MEMORY; UNSUPPORTED (the patch would
 * have to lie below 2 GiB, and the base does not). */
MUST_CHECK struct crateld_error *link_patch_count(struct link *link, struct crate_tables *tables);
void link_patch_fill(const struct link *link, struct crate_tables *tables);

/* The sections that a patch holds because something changed, for garbage collection to start from: calls `visit` for
 * each. */
void link_patch_roots(const struct link *link, void (*visit)(void *context, struct link_section *section),
                      void *context);

#endif

/* Binding function imports, on first call.
 *
 * An unbound slot leads, through its lazy stub (toc/stubs.h), to bind_resolver, which is all of the toc->resolver
 * contract in assembly. Its fast path, a function that another active crate exports, runs with all of the caller's
 * vector registers live; what takes longer saves them first. Any number of threads may bind one slot at once: each
 * stores the TOC first and the entry after it, both aligned, and all store the same. */
#ifndef LOADER_BIND_H
#define LOADER_BIND_H

#include <stdint.h>

#include "base/error.h"
#include "loader/loaded.h"

/* toc->resolver. Not to be called from C. */
extern const char bind_resolver[];

/* Where gates lead to (loader/gate.h). Not to be called from C. */
extern const char bind_gate[];

/* For bind_resolver: binds the slot if its provider is an active crate, and returns what to jump to, with the value
 * for the TOC register, which is `toc_register` for plain code. Entry 0: bind_slow() must look at it. Built with
 * -mgeneral-regs-only. */
struct crateld_function bind_fast(struct crateld_toc *toc, struct crateld_function *slot, uint64_t toc_register);

/* The same for whatever there is: activates crates, opens ELF libraries. What can not be bound ends the process, status
 * 127, with a message. `toc` NULL: it is a gate that was called, and `slot` its return address. */
struct crateld_function bind_slow(struct crateld_toc *toc, struct crateld_function *slot, uint64_t toc_register);

/* For bind_resolver: how vector registers are saved on this CPU. */
enum bind_save {
    BIND_SAVE_UNKNOWN,
    BIND_SAVE_FXSAVE,
    BIND_SAVE_XSAVE,
    BIND_SAVE_XSAVEC,
};
enum bind_save bind_save_kind(void);

/* Binds the function slot of import `i`, any number, of the crate. Activates the crate that provides it: called under
 * the process's lock, unless an ELF library provides it. Errors: as resolve_import() and activate_crate(). */
MUST_CHECK struct crateld_error *bind_function(struct loaded_crate *crate, uint32_t i, struct crateld_function *ret);

/* Binds all function imports of an active crate; goes on after an error. Called under the process's lock. */
MUST_CHECK struct crateld_error *bind_all_functions(struct loaded_crate *crate);

/* Enters the crate into its provider's users, once. Lock-free, but if that is not even being activated: then under the
 * process's lock. */
void bind_record_use(struct loaded_needed *needed);

/* What a slot of kind `kind` (CALL_*) of `user` holds for a function that `provider` exports. Entry 0: `export` is no
 * function. */
static inline struct crateld_function bind_function_value(const struct loaded_crate *user, uint8_t kind,
                                                          const struct loaded_crate *provider,
                                                          const struct crate_export *export)
{
    struct crateld_function value = {0, (uint64_t)(uintptr_t)user->toc};
    const struct crate_header *header = &provider->view.header;
    uint32_t rva = export->rva;
    if (export->kind == CRATE_EXPORT_FUNCTION_TOC) {
        if (kind == CRATE_IMPORT_CALL_TOC)
            value.toc = (uint64_t)(uintptr_t)provider->toc;
        else
            rva = export->canonical_rva;
    } else if (export->kind != CRATE_EXPORT_FUNCTION_PLAIN) {
        return value;
    }
    if (crate_segment_has(header, CRATE_SEGMENT_TEXT, rva, 1, true))
        value.entry = loaded_address(provider, rva);
    return value;
}

/* Publishes a bound slot: callers load the entry first and the TOC after it. */
static inline void bind_store(struct crateld_function *slot, struct crateld_function value)
{
    __atomic_store_n(&slot->toc, value.toc, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->entry, value.entry, __ATOMIC_RELEASE);
}

#endif

/* Who defines what an import names. */
#ifndef LOADER_RESOLVE_H
#define LOADER_RESOLVE_H

#include <stdint.h>

#include "base/error.h"
#include "loader/loaded.h"

/* A definition. `provider` NULL: `address` is that of an ELF library's symbol, or of a function of this program that
 * takes its place; or 0: nobody defines a weak symbol. */
struct resolved {
    struct loaded_crate *provider; /* borrowed */
    struct crate_export export;    /* of the provider; checked */
    uint64_t address;              /* without a provider */
};

/* Sets *ret to the definition of what `import` (checked) of the crate names. Opens ELF libraries; does not activate
 * crates. Error: UNDEFINED, NOT_FOUND, FORMAT. */
MUST_CHECK struct crateld_error *resolve_import(struct loaded_crate *crate, const struct crate_import *import,
                                                struct resolved *ret);

/* The ELF library that an import (checked) comes from, directly or because a stub crate stands for it; NULL: none. */
struct elf_library *resolve_library(const struct loaded_crate *crate, const struct crate_import *import);

/* Sets *ret to the canonical address of an export of the provider, no thread-local: what &symbol is everywhere. The
 * provider is active, or its vague imports are bound. Error: MISMATCH (a thread-local). */
MUST_CHECK struct crateld_error *resolve_export_address(const struct loaded_crate *provider,
                                                        const struct crate_export *export, uint64_t *ret);

/* The same of what resolve_import() found. */
MUST_CHECK struct crateld_error *resolve_address(const struct resolved *resolved, uint64_t *ret);

#endif

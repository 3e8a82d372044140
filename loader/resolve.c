#include "loader/resolve.h"

#include <inttypes.h>

#include "loader/bundle.h"
#include "loader/elf_library.h"
#include "loader/host_process.h"
#include "loader/image.h"
#include "loader/own_functions.h"
#include "loader/process.h"
#include "loader/versions.h"

static struct crateld_error *undefined(const struct loaded_crate *crate, const struct crate_import *import)
{
    const char *name = crate_view_string(&crate->view, import->name);
    const char *version = crate_view_string(&crate->view, import->version);
    struct loaded_needed *needed = import->needed == CRATE_NONE ? NULL : &crate->needed[import->needed];
    if (needed && needed->crate)
        return error_create(CRATELD_ERROR_UNDEFINED, "%s: undefined symbol '%s': crate '%s' (%s) does not export it",
                            crate->path, name, needed->crate->name, needed->crate->path);
    if (needed)
        return error_create(CRATELD_ERROR_UNDEFINED, "%s: undefined symbol '%s'%s%s: ELF library %s does not define it",
                            crate->path, name, *version ? ", version " : "", version, needed->library->soname);
    return error_create(
        CRATELD_ERROR_UNDEFINED,
        "%s: undefined symbol '%s': nothing in its link defined it, and no crate or library that is loaded does",
        crate->path, name);
}

static struct crateld_error *resolve_in_library(struct loaded_crate *crate, const struct crate_import *import,
                                                struct elf_library *library, const char *version, struct resolved *ret)
{
    const char *name = crate_view_string(&crate->view, import->name);
    void *address = NULL;
    bool is_tls = import->kind == CRATE_IMPORT_TLS_OFFSET || import->kind == CRATE_IMPORT_TLS_INDEX;
    if (!is_tls)
        address = own_function(name);
    if (!address) {
        struct crateld_error *error = elf_library_symbol(library, name, version, &address);
        if (error)
            return error_prefix(error, "%s: symbol '%s'", crate->path, name);
    }
    if (!address && !(import->flags & CRATE_IMPORT_FLAG_WEAK))
        return undefined(crate, import);
    *ret = (struct resolved){.address = (uint64_t)(uintptr_t)address};
    return NULL;
}

/* A place within the base of a patch. */
static struct crateld_error *resolve_in_base(struct loaded_crate *crate, const struct crate_import *import,
                                             struct resolved *ret)
{
    struct loaded_crate *base = crate->needed[0].crate;
    bool is_tls = import->kind == CRATE_IMPORT_TLS_OFFSET || import->kind == CRATE_IMPORT_TLS_INDEX;
    const struct crate_header *header = base ? &base->view.header : NULL;
    if (!header || import->fallback_rva > (is_tls ? header->tls_mem_size : header->image_size))
        return error_create(CRATELD_ERROR_FORMAT, "%s: '%s' is at 0x%x, which is not within its base", crate->path,
                            crate_view_string(&crate->view, import->name), import->fallback_rva);
    *ret = (struct resolved){
        .provider = base,
        .export =
            {
                .rva = import->fallback_rva,
                .canonical_rva = import->fallback_rva,
                .kind = is_tls                                  ? CRATE_EXPORT_TLS
                        : import->kind <= CRATE_IMPORT_CALL_TOC ? CRATE_EXPORT_FUNCTION_PLAIN
                                                                : CRATE_EXPORT_DATA,
                .import = CRATE_NONE,
            },
    };
    return NULL;
}

/* Export `i` of the provider, or what it stands for. */
static struct crateld_error *resolve_export(struct loaded_crate *crate, const struct crate_import *import,
                                            struct loaded_crate *provider, uint32_t i, struct resolved *ret)
{
    struct resolved resolved = {.provider = loaded_image(provider)};
    struct crate_import forward;
    TRY(crate_view_export(&provider->view, i, &resolved.export));
    if (!(resolved.export.flags & CRATE_EXPORT_FLAG_FORWARD)) {
        *ret = resolved;
        return NULL;
    }
    TRY(crate_view_import(&provider->view, resolved.export.import, &forward));
    const char *version = crate_view_string(&crate->view, import->version);
    if (!*version)
        version = crate_view_string(&provider->view, forward.version);
    return resolve_in_library(crate, import, provider->needed[forward.needed].library, version, ret);
}

struct elf_library *resolve_library(const struct loaded_crate *crate, const struct crate_import *import)
{
    struct crate_export export;
    struct crate_import forward;
    const struct loaded_needed *needed = import->needed == CRATE_NONE ? NULL : &crate->needed[import->needed];
    if (!needed || needed->library)
        return needed ? needed->library : NULL;
    const struct crate_view *view = &needed->crate->view;
    uint32_t i = CRATE_NONE;
    struct crateld_error *error = image_look(needed->crate);
    if (!error)
        i = crate_view_find_export(view, import->hash, crate_view_string(&crate->view, import->name));
    if (i != CRATE_NONE)
        error = crate_view_export(view, i, &export);
    if (i == CRATE_NONE || error || !(export.flags & CRATE_EXPORT_FLAG_FORWARD) ||
        (error = crate_view_import(view, export.import, &forward))) {
        crateld_error_destroy(error); /* resolve_import() reports it */
        return NULL;
    }
    return needed->crate->needed[forward.needed].library;
}

/* What the link left open (-z undefs): in all crates in the order in which they were loaded, then in the ELF libraries
 * that crates need, as ld.so looks through the global scope. */
static struct crateld_error *resolve_anywhere(struct loaded_crate *crate, const struct crate_import *import,
                                              struct resolved *ret)
{
    struct process *process = crate->process;
    const char *name = crate_view_string(&crate->view, import->name);
#ifdef CRATELD_HOST
    *ret = (struct resolved){.address = (uint64_t)(uintptr_t)host_symbol(name)};
    if (ret->address)
        return NULL;
#endif
    for (size_t i = 0; i < process->crates.count; i++) {
        TRY(image_look(process->crates.at[i]));
        uint32_t export = crate_view_find_export(&process->crates.at[i]->view, import->hash, name);
        if (export == CRATE_NONE)
            continue;
        return resolve_export(crate, import, process->crates.at[i], export, ret);
    }
    for (size_t i = 0; i < process->crates.count; i++) {
        struct loaded_crate *member;
        uint32_t export;
        TRY(bundle_find_export(process->crates.at[i], 1, import->hash, name, &member, &export));
        if (member)
            return resolve_export(crate, import, member, export, ret);
    }
    void *address = own_function(name);
    for (size_t i = 0; i < process->libraries.count && !address; i++)
        TRY(elf_library_symbol(process->libraries.at[i], name, "", &address));
    *ret = (struct resolved){.address = (uint64_t)(uintptr_t)address};
    return address ? NULL : undefined(crate, import);
}

struct crateld_error *resolve_import(struct loaded_crate *crate, const struct crate_import *import,
                                     struct resolved *ret)
{
    if (import->flags & CRATE_IMPORT_FLAG_BASE)
        return resolve_in_base(crate, import, ret);
    if (import->needed == CRATE_NONE) {
        *ret = (struct resolved){0};
        return import->flags & CRATE_IMPORT_FLAG_WEAK ? NULL : resolve_anywhere(crate, import, ret);
    }
    struct loaded_needed *needed = &crate->needed[import->needed];
    if (needed->library)
        return resolve_in_library(crate, import, needed->library, crate_view_string(&crate->view, import->version),
                                  ret);
    TRY(image_look(needed->crate)); /* it may not be active */
    uint32_t i = crate_view_find_imported(&needed->crate->view, &crate->view, import);
    if (i == CRATE_NONE) {
        if (!(import->flags & CRATE_IMPORT_FLAG_WEAK))
            return undefined(crate, import);
        *ret = (struct resolved){0};
        return NULL;
    }
    return resolve_export(crate, import, needed->crate, i, ret);
}

/* The address of the library's symbol that the export stands for. */
static struct crateld_error *forwarded_address(const struct loaded_crate *provider, const struct crate_export *export,
                                               uint64_t *ret)
{
    struct crate_import forward;
    const char *name = crate_view_string(&provider->view, export->name);
    TRY(crate_view_import(&provider->view, export->import, &forward));
    void *address = own_function(name);
    if (!address)
        TRY(elf_library_symbol(provider->needed[forward.needed].library, name,
                               crate_view_string(&provider->view, forward.version), &address));
    *ret = (uint64_t)(uintptr_t)address;
    return NULL;
}

struct crateld_error *resolve_export_address(const struct loaded_crate *provider, const struct crate_export *export,
                                             uint64_t *ret)
{
    struct crate_import import;
    if (export->flags & CRATE_EXPORT_FLAG_FORWARD)
        return forwarded_address(provider, export, ret);
    switch (export->kind) {
    case CRATE_EXPORT_ABSOLUTE:
        *ret = export->rva | (uint64_t) export->canonical_rva << 32;
        return NULL;
    case CRATE_EXPORT_TLS:
        return error_create(CRATELD_ERROR_MISMATCH, "%s: '%s' is thread-local, and is used as if it were not",
                            provider->path, crate_view_string(&provider->view, export->name));
    default:
        if (export->import == CRATE_NONE) {
            *ret = versions_address(provider, export->canonical_rva);
            return NULL;
        }
        TRY(crate_view_import(&provider->view, export->import, &import));
        if (import.kind != CRATE_IMPORT_ADDRESS)
            return error_create(CRATELD_ERROR_FORMAT, "%s: import %u, which stands for the vague '%s', is of kind %u",
                                provider->path, export->import, crate_view_string(&provider->view, export->name),
                                import.kind);
        *ret = loaded_global_slots(provider)[import.slot];
        return NULL;
    }
}

struct crateld_error *resolve_address(const struct resolved *resolved, uint64_t *ret)
{
    if (resolved->provider)
        return resolve_export_address(resolved->provider, &resolved->export, ret);
    *ret = resolved->address;
    return NULL;
}

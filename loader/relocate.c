#include "loader/relocate.h"

#include <inttypes.h>
#include <string.h>

#include "loader/activate.h"
#include "loader/bind.h"
#include "loader/elf_library.h"
#include "loader/image.h"
#include "loader/process.h"
#include "loader/resolve.h"
#include "loader/tls.h"
#include "loader/versions.h"

struct crateld_error *relocate_relr(struct loaded_crate *crate)
{
    uint64_t distance = loaded_address(crate, 0) - crate->view.header.preferred_base;
    struct crate_relr_cursor cursor = {0};
    enum crate_relr_step step;
    uint32_t rva = 0;
    if (!distance)
        return NULL;
    while ((step = crate_view_relr_next(&crate->view, &cursor, &rva)) == CRATE_RELR_PLACE) {
        uint64_t word;
        memcpy(&word, crate->base + rva, sizeof word);
        word += distance;
        memcpy(crate->base + rva, &word, sizeof word);
    }
    if (step == CRATE_RELR_BAD)
        return error_create(CRATELD_ERROR_FORMAT, "%s: relr: a place is not within the data", crate->path);
    return NULL;
}

static const char *import_name(const struct loaded_crate *crate, const struct crate_import *import)
{
    const char *name = crate_view_string(&crate->view, import->name);
    return name ? name : ""; /* it was checked with the import */
}

/* The definition that a vague import of `crate` offers: a library's if there is one, else the crate's own copy. */
static struct crateld_error *vague_candidate(struct loaded_crate *crate, const struct crate_import *import,
                                             struct vague_definition *ret)
{
    struct vague_definition candidate = {.name = import_name(crate, import), .crate = crate};
    bool is_address = import->kind == CRATE_IMPORT_ADDRESS;
    candidate.value = is_address ? loaded_address(crate, import->fallback_rva) : import->fallback_rva;
    struct elf_library *library = is_address ? resolve_library(crate, import) : NULL;
    if (library) {
        void *address = NULL;
        TRY(elf_library_symbol(library, candidate.name, crate_view_string(&crate->view, import->version), &address));
        if (address)
            candidate = (struct vague_definition){.name = candidate.name, .value = (uint64_t)(uintptr_t)address};
    }
    *ret = candidate;
    return NULL;
}

/* The definition that a vague import is to use. The entry crate was loaded first, so what it offers comes before
 * everything else, whatever is activated first. */
static struct crateld_error *vague_definition(struct loaded_crate *crate, const struct crate_import *import,
                                              struct vague_definition *ret)
{
    struct process *process = crate->process;
    struct loaded_crate *entry = process->crates.at[0];
    struct vague_definition candidate = {0};
    struct crate_export export;
    struct crate_import entry_import;
    TRY(vague_candidate(crate, import, &candidate));
    TRY(image_look(entry)); /* it may not be active yet */
    uint32_t i = entry == crate ? CRATE_NONE : crate_view_find_export(&entry->view, import->hash, candidate.name);
    if (i != CRATE_NONE) {
        TRY(crate_view_export(&entry->view, i, &export));
        if (export.import != CRATE_NONE) {
            TRY(crate_view_import(&entry->view, export.import, &entry_import));
            TRY(vague_candidate(entry, &entry_import, &candidate));
        }
    }
    return vague_table_enter(&process->vague, import->hash, &candidate, ret);
}

static struct crateld_error *relocate_address(struct loaded_crate *crate, const struct crate_import *import)
{
    uint64_t *slot = &loaded_global_slots(crate)[import->slot];
    if (import->flags & CRATE_IMPORT_FLAG_VAGUE) {
        struct vague_definition definition = {0};
        TRY(vague_definition(crate, import, &definition));
        *slot = definition.value;
        return NULL;
    }
    if (import->flags & CRATE_IMPORT_FLAG_FRESH) {
        bind_record_use(&crate->needed[import->needed]);
        return versions_fresh_address(crate, import->fallback_rva, slot);
    }
    struct resolved resolved = {0};
    TRY(resolve_import(crate, import, &resolved));
    if (resolved.provider && import->needed != CRATE_NONE)
        bind_record_use(&crate->needed[import->needed]);
    else if (resolved.provider)
        TRY(activate_crate(resolved.provider));
    struct crateld_error *error = resolve_address(&resolved, slot);
    return error ? error_prefix(error, "%s", crate->path) : NULL;
}

/* A thread-local, wherever it is defined. */
struct thread_local
{
    struct tls_index index;
    const struct loaded_crate *crate; /* whose it is; NULL: an ELF library's, or nobody's */
};

static struct thread_local own_thread_local(const struct loaded_crate *crate, uint64_t offset)
{
    return (struct thread_local){tls_index_of(crate, offset), crate};
}

static struct crateld_error *foreign_thread_local(struct loaded_crate *crate, const struct crate_import *import,
                                                  struct thread_local *ret)
{
    const char *name = import_name(crate, import);
    struct resolved resolved = {0};
    TRY(resolve_import(crate, import, &resolved));
    if (resolved.provider) {
        if (resolved.export.kind != CRATE_EXPORT_TLS)
            return error_create(CRATELD_ERROR_MISMATCH, "%s: '%s' of %s is used as a thread-local, and is none",
                                crate->path, name, resolved.provider->path);
        if (import->needed != CRATE_NONE)
            bind_record_use(&crate->needed[import->needed]);
        if (resolved.provider->view.header.tls_mem_size)
            TRY(tls_reserve(resolved.provider)); /* it may be activated after this one */
        *ret = own_thread_local(resolved.provider, resolved.export.rva);
        return NULL;
    }
    if (!resolved.address) /* weak: its address is not looked at */
        return NULL;
    struct elf_library *library = resolve_library(crate, import);
    if (!library)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: thread-local '%s' of an ELF library: link with the library",
                            crate->path, name);
    TRY(elf_library_open(library)); /* a resident one has no handle before */
    return tls_index_of_elf(library->handle, name, (const void *)(uintptr_t)resolved.address, &ret->index);
}

static struct crateld_error *find_thread_local(struct loaded_crate *crate, const struct crate_import *import,
                                               struct thread_local *ret)
{
    if (import->flags & CRATE_IMPORT_FLAG_VAGUE) {
        struct vague_definition definition = {0};
        TRY(vague_definition(crate, import, &definition));
        TRY(tls_reserve(definition.crate)); /* it may be activated after this one */
        *ret = own_thread_local(definition.crate, definition.value);
        return NULL;
    }
    if (import->flags & CRATE_IMPORT_FLAG_FRESH) {
        struct loaded_crate *patch;
        uint32_t off;
        TRY(versions_fresh_thread_local(crate, import->fallback_rva, &patch, &off));
        TRY(tls_reserve(patch));
        *ret = own_thread_local(patch, off);
        return NULL;
    }
    if (!(import->flags & CRATE_IMPORT_FLAG_SELF))
        return foreign_thread_local(crate, import, ret);
    *ret = own_thread_local(crate, import->fallback_rva);
    return NULL;
}

/* Whether an ELF library provides the import. */
static bool is_from_library(const struct loaded_crate *crate, const struct crate_import *import)
{
    return resolve_library(crate, import) != NULL;
}

static struct crateld_error *library_tp_offset(struct loaded_crate *crate, const struct crate_import *import,
                                               uint64_t *ret)
{
    TRY(elf_library_open(resolve_library(crate, import)));
    struct crateld_error *error =
        tls_offset_of_elf(import_name(crate, import), import->flags & CRATE_IMPORT_FLAG_WEAK, ret);
    return error ? error_prefix(error, "%s", crate->path) : NULL;
}

struct crateld_error *relocate_import(struct loaded_crate *crate, const struct crate_import *import)
{
    if (import->kind == CRATE_IMPORT_FORWARD)
        return NULL;
    if (import->kind == CRATE_IMPORT_ADDRESS)
        return relocate_address(crate, import);
    if (import->kind < CRATE_IMPORT_ADDRESS)
        return error_create(CRATELD_ERROR_FORMAT, "%s: import of '%s': kind %u is out of order", crate->path,
                            import_name(crate, import), import->kind);
    struct thread_local variable = {0};
    uint64_t *slot = &loaded_global_slots(crate)[import->slot];
    if (import->kind == CRATE_IMPORT_TLS_OFFSET && is_from_library(crate, import))
        return library_tp_offset(crate, import, slot);
    struct crateld_error *error = find_thread_local(crate, import, &variable);
    if (error)
        return error_prefix(error, "%s", crate->path);
    if (import->kind == CRATE_IMPORT_TLS_INDEX) {
        slot[0] = variable.index.module;
        slot[1] = variable.index.offset;
        return NULL;
    }
    if (!variable.crate)
        return NULL; /* weak, and nobody defines it: the slot stays 0 */
    if (!tls_is_static(variable.crate))
        return error_create(CRATELD_ERROR_RANGE,
                            "%s: thread-local '%s' is not at a fixed distance from the thread pointer: compile what "
                            "uses it with -fPIC",
                            crate->path, import_name(crate, import));
    *slot = variable.index.offset;
    return NULL;
}

struct crateld_error *relocate_data(struct loaded_crate *crate)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_DATA_RELOCS);
    for (uint32_t i = 0; i < count; i++) {
        struct crate_data_reloc reloc;
        struct crate_import import;
        TRY(crate_view_data_reloc(&crate->view, i, &reloc));
        TRY(crate_view_import(&crate->view, reloc.import, &import));
        uint64_t value = loaded_global_slots(crate)[import.slot] + (uint64_t)reloc.addend;
        memcpy(crate->base + reloc.place_rva, &value, sizeof value);
    }
    return NULL;
}

/* S of a fixup; psABI's letter. */
static struct crateld_error *fixup_symbol(const struct loaded_crate *crate, const struct crate_fixup *fixup,
                                          uint64_t *ret)
{
    if (fixup->import != CRATE_NONE) {
        struct crate_import import;
        TRY(crate_view_import(&crate->view, fixup->import, &import));
        *ret = loaded_global_slots(crate)[import.slot];
        return NULL;
    }
    *ret = loaded_address(crate, 0);
    if (fixup->kind != CRATE_FIXUP_TPOFF32)
        return NULL;
    if (!tls_is_static(crate))
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: code counts on thread-locals in the static pool, and the flags do not say so",
                            crate->path);
    *ret = crate->tls.tp_offset;
    return NULL;
}

static struct crateld_error *out_of_range(const struct loaded_crate *crate, const struct crate_fixup *fixup,
                                          uint64_t value)
{
    struct crate_import import = {0};
    const char *name = "the crate itself", *flag = "-fPIC";
    if (fixup->import != CRATE_NONE) {
        TRY(crate_view_import(&crate->view, fixup->import, &import));
        name = import_name(crate, &import);
    }
    return error_create(CRATELD_ERROR_RANGE,
                        "%s: the 32-bit reference at 0x%x to '%s' is out of reach (0x%" PRIx64 "): compile with %s",
                        crate->path, fixup->place_rva, name, value, flag);
}

bool relocate_fits(uint32_t kind, uint64_t value)
{
    switch (kind) {
    case CRATE_FIXUP_ABS64:
        return true;
    case CRATE_FIXUP_ABS32:
        return value == (uint32_t)value;
    default:
        return (int64_t)value == (int32_t)value;
    }
}

static struct crateld_error *apply_fixup(struct loaded_crate *crate, const struct crate_fixup *fixup)
{
    uint64_t value = 0; /* S + A, or S + A - P */
    TRY(fixup_symbol(crate, fixup, &value));
    value += (uint64_t)fixup->addend;
    if (fixup->kind == CRATE_FIXUP_PC32)
        value -= loaded_address(crate, fixup->place_rva);
    if (!relocate_fits(fixup->kind, value))
        return out_of_range(crate, fixup, value);
    size_t size = fixup->kind == CRATE_FIXUP_ABS64 ? sizeof(uint64_t) : sizeof(uint32_t);
    if (memcmp(crate->base + fixup->place_rva, &value, size) != 0) /* little-endian: the low half comes first */
        memcpy(crate->base + fixup->place_rva, &value, size);
    return NULL;
}

/* The fixups from `first` on, with the read-only data writable if `opens_rodata`; else *ret is the index of the first
 * one that lies there, and the count if none does. */
static struct crateld_error *apply_fixups(struct loaded_crate *crate, uint32_t first, bool opens_rodata, uint32_t *ret)
{
    uint32_t count = crate_view_count(&crate->view, CRATE_TABLE_FIXUPS), i;
    for (i = first; i < count; i++) {
        struct crate_fixup fixup;
        TRY(crate_view_fixup(&crate->view, i, &fixup));
        if (!opens_rodata && crate_segment_has(&crate->view.header, CRATE_SEGMENT_RODATA, fixup.place_rva, 4, true))
            break;
        TRY(apply_fixup(crate, &fixup));
    }
    *ret = i;
    return NULL;
}

struct crateld_error *relocate_fixups(struct loaded_crate *crate)
{
    uint32_t next = 0;
    TRY(apply_fixups(crate, 0, false, &next));
    if (next == crate_view_count(&crate->view, CRATE_TABLE_FIXUPS))
        return NULL;
    TRY(image_open_rodata(crate, true));
    TRY(apply_fixups(crate, next, true, &next));
    return image_open_rodata(crate, false);
}

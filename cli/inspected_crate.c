#include "cli/inspected_crate.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crate/build_id.h"
#include "crate/carried.h"
#include "crate/check.h"
#include "crate/machine.h"

/* Adds what was made for a symbol: its stubs. A function of TOC code has an entry stub of its own form. */
static struct crateld_error *add_stubs(struct inspected_crate *crate, const struct relink_symbol *symbol, bool is_toc)
{
    const struct toc_stub_ops *ops = crate_machine_stubs(crate->view.header.machine);
    uint32_t arguments = symbol->refs[RELINK_REF_STACK_ARGUMENTS];
    arguments = arguments == RELINK_NONE || arguments > TOC_STACK_ARGUMENTS_MAX ? 0 : arguments & ~7u;
    const struct {
        enum relink_ref ref;
        enum symbol_map_kind kind;
        uint32_t size;
    } stubs[] = {
        {RELINK_REF_ENTRY_STUB, SYMBOL_MAP_ENTRY_STUB,
         is_toc ? ops->entry_toc_size(arguments, symbol->flags & RELINK_SYMBOL_VARARGS) : ops->entry_plain_size},
        {RELINK_REF_STUB_PLAIN, SYMBOL_MAP_STUB_PLAIN, ops->import_plain_size},
        {RELINK_REF_STUB_TOC, SYMBOL_MAP_STUB_TOC, ops->import_toc_size},
    };
    for (size_t i = 0; i < sizeof stubs / sizeof *stubs; i++) {
        uint32_t rva = symbol->refs[stubs[i].ref];
        if (rva != RELINK_NONE && *symbol->name)
            TRY(symbol_map_add(&crate->symbols,
                               (struct symbol_map_entry){rva, stubs[i].kind, stubs[i].size, symbol->name}));
    }
    return NULL;
}

/* Adds functions, variables and stubs of the relink section. */
static struct crateld_error *add_relink_symbols(struct inspected_crate *crate)
{
    for (uint32_t i = 0; i < crate->relink.header.symbol_count; i++) {
        struct relink_symbol symbol = {0};
        struct relink_section section = {0};
        TRY(relink_view_symbol(&crate->relink, i, &symbol));
        if (symbol.where == RELINK_IN_SECTION)
            TRY(relink_view_section(&crate->relink, symbol.section, &section));
        TRY(add_stubs(crate, &symbol, section.flags & RELINK_SECTION_TOC_CODE));
        bool is_data = symbol.type == STT_OBJECT;
        if (symbol.where != RELINK_IN_SECTION || !*symbol.name || (symbol.type != STT_FUNC && !is_data))
            continue;
        if (section.rva == RELINK_NONE || section.flags & RELINK_SECTION_TLS)
            continue;
        TRY(symbol_map_add(&crate->symbols, (struct symbol_map_entry){
                                                .rva = (uint32_t)(section.rva + symbol.value),
                                                .kind = is_data ? SYMBOL_MAP_DATA : SYMBOL_MAP_FUNCTION,
                                                .size = symbol.size,
                                                .name = symbol.name,
                                            }));
    }
    return NULL;
}

static struct crateld_error *add_exports(struct inspected_crate *crate)
{
    uint32_t stub_size = crate_machine_stubs(crate->view.header.machine)->entry_plain_size;
    for (uint32_t i = 0; i < crate_view_count(&crate->view, CRATE_TABLE_EXPORTS); i++) {
        struct crate_export export = {0};
        TRY(crate_view_export(&crate->view, i, &export));
        if (export.kind > CRATE_EXPORT_DATA)
            continue;
        struct symbol_map_entry entry = {
            .rva = export.rva,
            .kind = export.kind == CRATE_EXPORT_DATA ? SYMBOL_MAP_DATA : SYMBOL_MAP_FUNCTION,
            .size = export.size,
            .name = crate_view_string(&crate->view, export.name),
        };
        TRY(symbol_map_add(&crate->symbols, entry));
        entry.rva = export.canonical_rva;
        entry.kind = SYMBOL_MAP_ENTRY_STUB;
        entry.size = stub_size;
        if (entry.rva != export.rva)
            TRY(symbol_map_add(&crate->symbols, entry));
    }
    return NULL;
}

/* Opens the relink section, and collects the symbols. */
static struct crateld_error *read_symbols(struct inspected_crate *crate)
{
    struct span relink = {0};
    if (crate->file.data.size)
        TRY(crate_view_relink(&crate->view, crate->file.data, &relink));
    if (relink.size) {
        TRY(relink_view_open(crate->path, relink, &crate->relink));
        crate->has_relink = true;
        TRY(add_relink_symbols(crate));
    }
    TRY(add_exports(crate));
    symbol_map_sort(&crate->symbols);
    return NULL;
}

static struct crateld_error *open_file(struct inspected_crate *crate)
{
    TRY(file_open(crate->path, &crate->file));
    TRY(crate_view_open(crate->path, crate->file.data, &crate->view));
    TRY(crate_view_check_all(&crate->view));
    TRY(crate_check_meta(crate->path, crate->file.data, &crate->view.header));
    crate->base = crate->view.header.preferred_base;
    crate->toc = (struct span){crate->file.data.data + crate->view.header.toc_rva, crate->view.toc.size};
    return read_symbols(crate);
}

struct crateld_error *inspected_crate_open(const char *path, struct inspected_crate *ret)
{
    struct inspected_crate crate = {.path = strdup(path)};
    struct crateld_error *error = crate.path ? open_file(&crate) : error_memory();
    if (error)
        inspected_crate_close(&crate);
    else
        *ret = crate;
    return error;
}

/* Reads `size` bytes at `address` of the process into a new block at *ret. */
static struct crateld_error *read_memory(const char *path, int mem_fd, uint64_t address, size_t size, uint8_t **ret)
{
    uint8_t *bytes AUTO_FREE = malloc(size);
    if (!bytes)
        return error_memory();
    ssize_t count = pread(mem_fd, bytes, size, (off_t)address);
    if (count < 0)
        return error_errno(errno, "%s: cannot read the process's memory at 0x%" PRIx64, path, address);
    if ((size_t)count != size)
        return error_create(CRATELD_ERROR_IO, "%s: only %zd of %zu bytes of the process's memory at 0x%" PRIx64, path,
                            count, size, address);
    *ret = STEAL_PTR(bytes);
    return NULL;
}

/* Opens the file at the crate's path, if it is the one that is mapped. */
static void find_file(struct inspected_crate *crate, dev_t device, ino_t inode)
{
    struct file file = {0};
    struct crateld_error *error = file_open(crate->path, &file);
    if (error || file.device != device || file.inode != inode ||
        file.data.size < crate->view.header.relink_off + crate->view.header.relink_size)
        file_close(&file);
    crateld_error_destroy(error);
    crate->file = file;
}

/* Reads header, tables and TOC from the process. */
static struct crateld_error *attach(struct inspected_crate *crate, int mem_fd, dev_t device, ino_t inode)
{
    struct crate_header header = {0};
    uint8_t *start = NULL;
    TRY(read_memory(crate->path, mem_fd, crate->base, CRATE_START_SIZE, &start));
    /* The file's size is not known here and does not matter: what is read is what is mapped. */
    struct crateld_error *error =
        crate_header_read(crate->path, (struct span){start, CRATE_START_SIZE}, INT64_MAX, &header);
    free(start);
    TRY(error);
    size_t meta_size = header.segments[CRATE_SEGMENT_META].file_size;
    TRY(read_memory(crate->path, mem_fd, crate->base, meta_size, &crate->meta));
    TRY(crate_view_init(crate->path, (struct span){crate->meta, meta_size}, &header, &crate->view));
    TRY(crate_view_check_all(&crate->view));
    TRY(read_memory(crate->path, mem_fd, crate->base + header.toc_rva, crate->view.toc.size, &crate->toc_bytes));
    crate->toc = (struct span){crate->toc_bytes, crate->view.toc.size};
    find_file(crate, device, inode);
    return read_symbols(crate);
}

struct crateld_error *inspected_crate_attach(const char *path, dev_t device, ino_t inode, int mem_fd, uint64_t base,
                                             struct inspected_crate *ret)
{
    struct inspected_crate crate = {.path = strdup(path), .base = base};
    struct crateld_error *error = crate.path ? attach(&crate, mem_fd, device, inode) : error_memory();
    if (error)
        inspected_crate_close(&crate);
    else
        *ret = crate;
    return error;
}

void inspected_crate_close(struct inspected_crate *crate)
{
    file_close(&crate->file);
    free(crate->symbols.at);
    free(crate->meta);
    free(crate->toc_bytes);
    free(crate->path);
    *crate = (struct inspected_crate){0};
}

struct crateld_error *inspected_crate_has_right_id(const struct inspected_crate *crate, bool *ret)
{
    uint64_t off = 0;
    uint8_t id[CRATE_BUILD_ID_SIZE];
    TRY(crate_header_find(crate->path, crate->file.data, &off));
    crate_build_id(crate->file.data, off, &crate->view.header, id);
    *ret = memcmp(id, crate->view.header.build_id, sizeof id) == 0;
    return NULL;
}

/* A patch that the file carries, as a file of its own. */
static struct crateld_error *check_carried(const struct inspected_crate *crate, uint32_t i)
{
    struct inspected_crate patch = {.path = crate->path};
    bool is_right = false;
    TRY(crate_carried_at(crate->path, crate->file.data, &crate->view.header, i, &patch.file.data));
    struct crateld_error *error = crate_view_open(crate->path, patch.file.data, &patch.view);
    if (!error)
        error = crate_view_check_all(&patch.view);
    if (!error)
        error = inspected_crate_has_right_id(&patch, &is_right);
    if (!error && !is_right)
        error = error_create(CRATELD_ERROR_MISMATCH, "its contents do not have the build id of its header");
    return error ? error_prefix(error, "%s: patch %u of those that it carries", crate->path, i) : NULL;
}

struct crateld_error *inspected_crate_check(const struct inspected_crate *crate)
{
    bool is_right = false;
    TRY(inspected_crate_has_right_id(crate, &is_right));
    if (!is_right)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: its contents do not have the build id of its header",
                            crate->path);
    for (uint32_t i = 0; i < crate->view.header.carried_count; i++)
        TRY(check_carried(crate, i));
    return crate->has_relink ? relink_view_check_all(&crate->relink) : NULL;
}

bool inspected_crate_is_lazy(const struct inspected_crate *crate, uint64_t entry)
{
    const struct crate_header *header = &crate->view.header;
    uint64_t stubs = crate->base + header->lazy_stubs_rva;
    uint64_t size = (uint64_t)header->imported_functions * crate_machine_stubs(header->machine)->lazy_size;
    return entry >= stubs && entry - stubs < size;
}

void inspected_crate_name(const struct inspected_crate *crate, uint64_t address, char *ret, size_t size)
{
    static const char *const prefixes[] = {
        [SYMBOL_MAP_FUNCTION] = "",
        [SYMBOL_MAP_DATA] = "",
        [SYMBOL_MAP_ENTRY_STUB] = "entry stub of ",
        [SYMBOL_MAP_STUB_PLAIN] = "stub of ",
        [SYMBOL_MAP_STUB_TOC] = "TOC stub of ",
    };
    uint64_t rva = address - crate->base;
    const struct symbol_map_entry *entry =
        rva < crate->view.header.image_size ? symbol_map_find(&crate->symbols, rva) : NULL;
    if (!entry)
        snprintf(ret, size, "0x%" PRIx64, address);
    else if (entry->rva == rva)
        snprintf(ret, size, "%s%s", prefixes[entry->kind], entry->name);
    else
        snprintf(ret, size, "%s%s+0x%" PRIx64, prefixes[entry->kind], entry->name, rva - entry->rva);
}

#include "crate/reader.h"

#include <assert.h>
#include <elf.h>
#include <inttypes.h>

#include "crate/machine.h"

enum {
    MAX_PHNUM = 64, /* program headers that fit into the file's start anyway */
    KNOWN_FLAGS = CRATE_FLAG_HAS_RELINK | CRATE_FLAG_LOW | CRATE_FLAG_NEAR | CRATE_FLAG_TEXT_FIXUPS |
                  CRATE_FLAG_STATIC_TLS | CRATE_FLAG_TOC_CODE | CRATE_FLAG_EAGER | CRATE_FLAG_PATCH |
                  CRATE_FLAG_SONAME | CRATE_FLAG_BUNDLE | CRATE_FLAG_PRIVATE_CODE | CRATE_FLAG_PRIVATE_CONSTANTS |
                  CRATE_FLAG_EXEC_STACK,
};

static const char *const segment_names[CRATE_SEGMENT_COUNT] = {
    [CRATE_SEGMENT_META] = "meta",
    [CRATE_SEGMENT_TEXT] = "text",
    [CRATE_SEGMENT_RODATA] = "rodata",
    [CRATE_SEGMENT_DATA] = "data",
};

static const struct {
    const char *name;
    uint32_t size; /* of an element */
} tables[CRATE_TABLE_COUNT] = {
    [CRATE_TABLE_NEEDED] = {"needed", sizeof(struct crate_needed)},
    [CRATE_TABLE_IMPORTS] = {"imports", sizeof(struct crate_import)},
    [CRATE_TABLE_EXPORTS] = {"exports", sizeof(struct crate_export)},
    [CRATE_TABLE_BUCKETS] = {"buckets", sizeof(uint32_t)},
    [CRATE_TABLE_RELR] = {"relr", sizeof(uint64_t)},
    [CRATE_TABLE_DATA_RELOCS] = {"data relocations", sizeof(struct crate_data_reloc)},
    [CRATE_TABLE_FIXUPS] = {"fixups", sizeof(struct crate_fixup)},
    [CRATE_TABLE_MODULES] = {"modules", sizeof(struct crate_module)},
    [CRATE_TABLE_MOVES] = {"moves", sizeof(struct crate_move)},
    [CRATE_TABLE_UNITS] = {"units", sizeof(struct crate_unit)},
    [CRATE_TABLE_INITS] = {"initial values", sizeof(struct crate_init)},
    [CRATE_TABLE_GROWN] = {"grown variables", sizeof(struct crate_grown)},
    [CRATE_TABLE_FRESH] = {"new variables", sizeof(struct crate_fresh)},
    [CRATE_TABLE_SITES] = {"sites", sizeof(struct crate_site)},
    [CRATE_TABLE_STARTS] = {"starts", sizeof(uint32_t)},
    [CRATE_TABLE_FRESH_TLS] = {"new thread-locals", sizeof(struct crate_fresh)},
    [CRATE_TABLE_VANISHED] = {"vanished exports", sizeof(struct crate_vanished)},
    [CRATE_TABLE_STARTERS] = {"initialisers", sizeof(struct crate_starter)},
    [CRATE_TABLE_HASHES] = {"hashes", sizeof(uint32_t)},
    [CRATE_TABLE_STRINGS] = {"strings", 1},
    [CRATE_TABLE_MEMBERS] = {"members", sizeof(struct crate_member)},
    [CRATE_TABLE_MEMBER_NEEDS] = {"members' needs", sizeof(uint32_t)},
    [CRATE_TABLE_MEMBER_EXPORTS] = {"members' exports", sizeof(struct crate_export)},
    [CRATE_TABLE_MEMBER_BUCKETS] = {"members' buckets", sizeof(uint32_t)},
    [CRATE_TABLE_MEMBER_TEXT] = {"members' text", sizeof(struct crate_member_text)},
    [CRATE_TABLE_MEMBER_STRINGS] = {"members' strings", 1},
};

/* A FORMAT error in the file `path`, about its part `what`. */
#define FAULT(path, what, ...) error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s: %s", path, what)

/* Whether `value` is a multiple of `align`, a power of two. */
static bool is_aligned(uint64_t value, uint64_t align)
{
    return !(value & (align - 1));
}

/* The ELF header: enough of it to find the program headers. */
static struct crateld_error *check_elf_header(const char *path, struct span start, Elf64_Ehdr *ret)
{
    Elf64_Ehdr ehdr;
    if (!span_read(start, 0, &ehdr, sizeof ehdr) || memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0)
        return error_create(CRATELD_ERROR_FORMAT, "%s: not a crate: it is no ELF file", path);
    if (ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_ident[EI_DATA] != ELFDATA2LSB)
        return error_create(CRATELD_ERROR_FORMAT, "%s: not a crate: it is no little-endian 64-bit ELF file", path);
    if (ehdr.e_phnum && (ehdr.e_phentsize != sizeof(Elf64_Phdr) || ehdr.e_phnum > MAX_PHNUM))
        return FAULT(path, "ELF header", "%u program headers of %u bytes, wanted at most %d of %zu", ehdr.e_phnum,
                     ehdr.e_phentsize, MAX_PHNUM, sizeof(Elf64_Phdr));
    *ret = ehdr;
    return NULL;
}

struct crateld_error *crate_header_find(const char *path, struct span start, uint64_t *ret)
{
    Elf64_Ehdr ehdr = {0};
    uint64_t found = 0;
    if (start.size > CRATE_START_SIZE)
        start.size = CRATE_START_SIZE;
    TRY(check_elf_header(path, start, &ehdr));
    for (uint16_t i = 0; i < ehdr.e_phnum; i++) {
        Elf64_Phdr phdr;
        struct span headers = span_from(start, ehdr.e_phoff);
        if (!span_read(headers, (uint64_t)i * sizeof phdr, &phdr, sizeof phdr))
            return FAULT(path, "ELF header", "program header %u at 0x%" PRIx64 " is not within the first %d bytes", i,
                         ehdr.e_phoff, CRATE_START_SIZE);
        if (phdr.p_type != CRATE_PT_CRATE)
            continue;
        if (found)
            return FAULT(path, "ELF header", "more than one PT_CRATE program header");
        if (phdr.p_filesz < sizeof(struct crate_header) || phdr.p_offset < sizeof ehdr ||
            !is_aligned(phdr.p_offset, 8) || !span_has(start, phdr.p_offset, sizeof(struct crate_header)))
            return FAULT(path, "PT_CRATE",
                         "%" PRIu64 " bytes at 0x%" PRIx64 ", wanted an aligned crate header of %zu in the first %d",
                         phdr.p_filesz, phdr.p_offset, sizeof(struct crate_header), CRATE_START_SIZE);
        found = phdr.p_offset;
    }
    if (!found)
        return error_create(CRATELD_ERROR_FORMAT, "%s: not a crate: it has no PT_CRATE program header", path);
    *ret = found;
    return NULL;
}

static struct crateld_error *check_identity(const char *path, const struct crate_header *header, struct span start)
{
    uint16_t machine = 0;
    memcpy(&machine, start.data + offsetof(Elf64_Ehdr, e_machine), sizeof machine);
    if (header->magic != CRATE_MAGIC)
        return FAULT(path, "crate header", "magic 0x%016" PRIx64 ", wanted 0x%016" PRIx64, header->magic, CRATE_MAGIC);
    if (header->abi_major != CRATE_ABI_MAJOR || header->abi_minor > CRATE_ABI_MINOR)
        return error_create(CRATELD_ERROR_MISMATCH, "%s: made for ABI version %u.%u, this crateld has %d.%d", path,
                            header->abi_major, header->abi_minor, CRATE_ABI_MAJOR, CRATE_ABI_MINOR);
    if (header->header_size != sizeof *header)
        return FAULT(path, "crate header", "size %u, wanted %zu", header->header_size, sizeof *header);
    if (header->machine != machine)
        return FAULT(path, "crate header", "machine %u, but %u in the ELF header", header->machine, machine);
    if (!crate_machine_name(header->machine))
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: made for machine %u, which is not supported", path,
                            header->machine);
    if (header->flags & ~(uint32_t)KNOWN_FLAGS)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: crate header: unknown flags 0x%x", path,
                            header->flags & ~(uint32_t)KNOWN_FLAGS);
    return NULL;
}

/* Segments lie in order on pages of their own, within the file and the image, from rva 0 to the image's end.
 */
static struct crateld_error *check_segments(const char *path, const struct crate_header *header, uint64_t file_size)
{
    uint64_t end = 0;
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++) {
        struct crate_segment segment = header->segments[kind];
        const char *name = segment_names[kind];
        if (segment.file_size > segment.mem_size)
            return FAULT(path, "segments", "%s has %" PRIu64 " bytes in the file, but %" PRIu64 " in memory", name,
                         segment.file_size, segment.mem_size);
        if (!segment.mem_size)
            continue;
        if (!is_aligned(segment.rva, CRATE_PAGE_SIZE) || segment.rva < end)
            return FAULT(path, "segments", "%s at 0x%" PRIx64 ", wanted a page at or behind 0x%" PRIx64, name,
                         segment.rva, end);
        if (segment.rva > CRATE_MAX_SIZE || segment.mem_size > CRATE_MAX_SIZE - segment.rva)
            return FAULT(path, "segments", "%s at 0x%" PRIx64 " with %" PRIu64 " bytes ends behind 2 GiB", name,
                         segment.rva, segment.mem_size);
        end = segment.rva + segment.mem_size;
        if (segment.file_size && segment.rva + segment.file_size > file_size)
            return FAULT(path, "segments",
                         "%s ends at 0x%" PRIx64 " of the file, which has only 0x%" PRIx64 " bytes: truncated?", name,
                         segment.rva + segment.file_size, file_size);
    }
    if (header->segments[CRATE_SEGMENT_META].rva || !header->segments[CRATE_SEGMENT_META].file_size)
        return FAULT(path, "segments", "meta is empty or does not start the file");
    if (header->image_size != ((end + CRATE_PAGE_SIZE - 1) & ~(uint64_t)(CRATE_PAGE_SIZE - 1)))
        return FAULT(path, "segments", "they end at 0x%" PRIx64 ", but the image's size is 0x%" PRIx64, end,
                     header->image_size);
    return NULL;
}

/* Where the image may lie, and what is kept free behind it. */
static struct crateld_error *check_placement(const char *path, const struct crate_header *header)
{
    if (!is_aligned(header->reserve_size, CRATE_PAGE_SIZE) || header->image_size > CRATE_MAX_SIZE ||
        header->reserve_size > CRATE_MAX_SIZE - header->image_size)
        return FAULT(path, "crate header", "a reserve of 0x%" PRIx64 " bytes behind an image of 0x%" PRIx64,
                     header->reserve_size, header->image_size);
    uint64_t align = header->image_align;
    if (align < CRATE_PAGE_SIZE || align > CRATE_MAX_ALIGN || align & (align - 1))
        return FAULT(path, "crate header", "an alignment of 0x%" PRIx64 ", wanted a power of two from 0x%x to 0x%x",
                     align, CRATE_PAGE_SIZE, CRATE_MAX_ALIGN);
    /* The low limit is that of the flag LOW; the other one leaves the sum of base and any rva below 2^63. */
    uint64_t limit = header->flags & CRATE_FLAG_LOW ? UINT64_C(1) << 31 : UINT64_C(1) << 62;
    if (!is_aligned(header->preferred_base, align) || header->preferred_base > limit ||
        header->image_size > limit - header->preferred_base)
        return FAULT(path, "crate header", "preferred base 0x%" PRIx64 " is out of range or no multiple of 0x%" PRIx64,
                     header->preferred_base, align);
    return NULL;
}

static struct crateld_error *check_tables(const char *path, const struct crate_header *header)
{
    for (int kind = 0; kind < CRATE_TABLE_COUNT; kind++) {
        struct crate_table table = header->tables[kind];
        if (!table.count)
            continue;
        uint64_t size = (uint64_t)table.count * tables[kind].size;
        if (!is_aligned(table.rva, 8) || !crate_segment_has(header, CRATE_SEGMENT_META, table.rva, size, true))
            return FAULT(path, "tables", "%s: %u entries at 0x%x are not aligned or not within the meta segment",
                         tables[kind].name, table.count, table.rva);
    }
    if (header->bucket_bits > 30 || header->tables[CRATE_TABLE_BUCKETS].count != (1u << header->bucket_bits) + 1)
        return FAULT(path, "tables", "%u buckets for %u hash bits, wanted a power of two and one",
                     header->tables[CRATE_TABLE_BUCKETS].count, header->bucket_bits);
    if (header->tables[CRATE_TABLE_HASHES].count != header->tables[CRATE_TABLE_EXPORTS].count)
        return FAULT(path, "tables", "%u hashes of %u exports", header->tables[CRATE_TABLE_HASHES].count,
                     header->tables[CRATE_TABLE_EXPORTS].count);
    if (!header->tables[CRATE_TABLE_STRINGS].count)
        return FAULT(path, "tables", "no strings");
    return NULL;
}

/* A bundle's tables of members lie behind all else in the meta segment. */
static struct crateld_error *check_bundle(const char *path, const struct crate_header *header, uint64_t header_end)
{
    bool is_bundle = header->flags & CRATE_FLAG_BUNDLE;
    if (is_bundle != (header->tables[CRATE_TABLE_MEMBERS].count != 0))
        return FAULT(path, "tables", "%u members, but the flags say that it is %s bundle",
                     header->tables[CRATE_TABLE_MEMBERS].count, is_bundle ? "a" : "no");
    if (!is_bundle)
        return NULL;
    uint32_t start = header->tables[CRATE_TABLE_MEMBERS].rva;
    if (!header->tables[CRATE_TABLE_MEMBER_STRINGS].count)
        return FAULT(path, "tables", "no strings of members");
    if (start < header_end)
        return FAULT(path, "tables", "members at 0x%x, within the crate header", start);
    for (int kind = 0; kind < CRATE_TABLE_COUNT; kind++) {
        struct crate_table table = header->tables[kind];
        uint64_t end = table.rva + (uint64_t)table.count * tables[kind].size;
        if (table.count && (kind < CRATE_TABLE_MEMBERS ? end > start : table.rva < start))
            return FAULT(path, "tables", "%s at 0x%x are not on their side of the members at 0x%x", tables[kind].name,
                         table.rva, start);
    }
    return NULL;
}

/* The entry, the TOC and the lazy stubs. */
static struct crateld_error *check_code(const char *path, const struct crate_header *header)
{
    if (header->entry_rva && !crate_segment_has(header, CRATE_SEGMENT_TEXT, header->entry_rva, 1, true))
        return FAULT(path, "crate header", "entry 0x%x is not within the text", header->entry_rva);
    if (header->imported_functions && !crate_segment_has(header, CRATE_SEGMENT_TEXT, header->lazy_stubs_rva, 1, true))
        return FAULT(path, "crate header", "lazy stubs 0x%x are not within the text", header->lazy_stubs_rva);
    if (header->toc_text_rva && !crate_segment_has(header, CRATE_SEGMENT_TEXT, header->toc_text_rva, 0, true))
        return FAULT(path, "crate header", "TOC code at 0x%x is not within the text", header->toc_text_rva);
    struct toc_shape shape;
    struct crateld_error *error = crate_toc_shape(header, &shape);
    if (error)
        return error_prefix(error, "%s: crate header", path);
    if (!is_aligned(header->toc_rva, CRATE_PAGE_SIZE) ||
        !crate_segment_has(header, CRATE_SEGMENT_DATA, header->toc_rva, shape.size, true))
        return FAULT(path, "crate header", "TOC of %u bytes at 0x%x is not page-aligned or not within the data",
                     shape.size, header->toc_rva);
    return NULL;
}

static struct crateld_error *check_array(const char *path, const struct crate_header *header, struct crate_array array,
                                         const char *name)
{
    if (array.count && (!is_aligned(array.rva, 8) ||
                        !crate_segment_has(header, CRATE_SEGMENT_DATA, array.rva, (uint64_t)array.count * 8, true)))
        return FAULT(path, "crate header", "%s: %u pointers at 0x%x are not aligned or not within the data", name,
                     array.count, array.rva);
    return NULL;
}

static struct crateld_error *check_tls(const char *path, const struct crate_header *header)
{
    if (!header->tls_mem_size)
        return header->tls_file_size
                   ? FAULT(path, "thread-locals", "an image of %u bytes for none", header->tls_file_size)
                   : NULL;
    uint32_t align = header->tls_align;
    if (!align || align > CRATE_MAX_TLS_ALIGN || align & (align - 1))
        return FAULT(path, "thread-locals", "alignment %u, wanted a power of two up to %d", align, CRATE_MAX_TLS_ALIGN);
    if (header->tls_mem_size > CRATE_MAX_SIZE || header->tls_file_size > header->tls_mem_size)
        return FAULT(path, "thread-locals", "%u bytes in the file and %" PRIu64 " in memory", header->tls_file_size,
                     header->tls_mem_size);
    if (header->tls_file_size &&
        !crate_segment_has(header, CRATE_SEGMENT_DATA, header->tls_rva, header->tls_file_size, true) &&
        !crate_segment_has(header, CRATE_SEGMENT_RODATA, header->tls_rva, header->tls_file_size, true))
        return FAULT(path, "thread-locals", "image of %u bytes at 0x%x is not within the data", header->tls_file_size,
                     header->tls_rva);
    return NULL;
}

static struct crateld_error *check_unwind(const char *path, const struct crate_header *header)
{
    uint32_t rva = header->eh_frame_hdr_rva, size = header->eh_frame_hdr_size;
    if (!rva)
        return NULL;
    if (!is_aligned(rva, 4) || (!crate_segment_has(header, CRATE_SEGMENT_RODATA, rva, size, true) &&
                                !crate_segment_has(header, CRATE_SEGMENT_TEXT, rva, size, true)))
        return FAULT(path, "unwind tables", "%u bytes at 0x%x are not aligned or not within the read-only data", size,
                     rva);
    return NULL;
}

static struct crateld_error *check_relink(const char *path, const struct crate_header *header, uint64_t file_size)
{
    uint64_t off = header->relink_off, size = header->relink_size;
    if (!(header->flags & CRATE_FLAG_HAS_RELINK))
        return off || size ? FAULT(path, "relink section", "%" PRIu64 " bytes, but the flags say there is none", size)
                           : NULL;
    if (!size || off > file_size || size > file_size - off)
        return FAULT(path, "relink section", "%" PRIu64 " bytes at 0x%" PRIx64 " are not within the file", size, off);
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++) {
        struct crate_segment segment = header->segments[kind];
        if (segment.file_size && off < segment.rva + segment.file_size && segment.rva < off + size)
            return FAULT(path, "relink section", "at 0x%" PRIx64 " it overlaps the %s segment", off,
                         segment_names[kind]);
    }
    return NULL;
}

/* The list of patches that the file carries. */
static struct crateld_error *check_carried(const char *path, const struct crate_header *header, uint64_t file_size)
{
    uint64_t off = header->carried_off, size = (uint64_t)header->carried_count * sizeof(struct crate_carried);
    if (!size)
        return NULL;
    if (header->flags & CRATE_FLAG_PATCH)
        return FAULT(path, "carried patches", "a patch does not carry any");
    if (!is_aligned(off, 8) || off > file_size || size > file_size - off)
        return FAULT(path, "carried patches", "a list of %u at 0x%" PRIx64 " is not within the file: truncated?",
                     header->carried_count, off);
    return NULL;
}

struct crateld_error *crate_toc_shape(const struct crate_header *header, struct toc_shape *ret)
{
    return toc_shape_for_crate(
        &(struct toc_counts){header->imported_functions, header->imported_globals, header->func_refs, header->type_ids},
        ret);
}

struct crateld_error *crate_header_read(const char *path, struct span start, uint64_t file_size,
                                        struct crate_header *ret)
{
    uint64_t off = 0;
    struct crate_header header = {0};
    TRY(crate_header_find(path, start, &off));
    memcpy(&header, start.data + off, sizeof header);
    TRY(check_identity(path, &header, start));
    TRY(check_segments(path, &header, file_size));
    if (!crate_segment_has(&header, CRATE_SEGMENT_META, off, sizeof header, true))
        return FAULT(path, "segments", "the crate header is not within meta");
    TRY(check_placement(path, &header));
    TRY(check_tables(path, &header));
    TRY(check_bundle(path, &header, off + sizeof header));
    TRY(check_code(path, &header));
    TRY(check_array(path, &header, header.preinit_array, "preinit_array"));
    TRY(check_array(path, &header, header.init_array, "init_array"));
    TRY(check_array(path, &header, header.fini_array, "fini_array"));
    TRY(check_array(path, &header, header.types, "types"));
    if (header.types.count > header.type_ids)
        return FAULT(path, "crate header", "types: %u, but room for the numbers of %u", header.types.count,
                     header.type_ids);
    TRY(check_tls(path, &header));
    TRY(check_unwind(path, &header));
    TRY(check_relink(path, &header, file_size));
    TRY(check_carried(path, &header, file_size));
    *ret = header;
    return NULL;
}

/* The address of table `kind`, which is within the meta segment; that of the segment if the table is empty.
 */
static const void *table_at(struct span image, const struct crate_header *header, enum crate_table_kind kind)
{
    return image.data + (header->tables[kind].count ? header->tables[kind].rva : 0);
}

struct crateld_error *crate_view_place(const char *path, struct span image, const struct crate_header *header,
                                       struct crate_view *ret)
{
    assert(is_aligned((uintptr_t)image.data, 8));
    if (image.size < header->segments[CRATE_SEGMENT_META].file_size)
        return FAULT(path, "segments", "only %zu bytes of meta are there", image.size);
    struct crate_view view = {
        .path = path,
        .image = image,
        .header = *header,
        .needed = table_at(image, header, CRATE_TABLE_NEEDED),
        .imports = table_at(image, header, CRATE_TABLE_IMPORTS),
        .exports = table_at(image, header, CRATE_TABLE_EXPORTS),
        .buckets = table_at(image, header, CRATE_TABLE_BUCKETS),
        .hashes = table_at(image, header, CRATE_TABLE_HASHES),
        .relr = table_at(image, header, CRATE_TABLE_RELR),
        .data_relocs = table_at(image, header, CRATE_TABLE_DATA_RELOCS),
        .fixups = table_at(image, header, CRATE_TABLE_FIXUPS),
        .modules = table_at(image, header, CRATE_TABLE_MODULES),
        .moves = table_at(image, header, CRATE_TABLE_MOVES),
        .units = table_at(image, header, CRATE_TABLE_UNITS),
        .inits = table_at(image, header, CRATE_TABLE_INITS),
        .grown = table_at(image, header, CRATE_TABLE_GROWN),
        .fresh = table_at(image, header, CRATE_TABLE_FRESH),
        .sites = table_at(image, header, CRATE_TABLE_SITES),
        .fresh_tls = table_at(image, header, CRATE_TABLE_FRESH_TLS),
        .vanished = table_at(image, header, CRATE_TABLE_VANISHED),
        .starters = table_at(image, header, CRATE_TABLE_STARTERS),
        .strings = table_at(image, header, CRATE_TABLE_STRINGS),
    };
    TRY(crate_toc_shape(header, &view.toc));
    *ret = view;
    return NULL;
}

struct crateld_error *crate_view_check(const struct crate_view *view)
{
    uint32_t string_size = crate_view_count(view, CRATE_TABLE_STRINGS);
    if (view->strings[0] || view->strings[string_size - 1])
        return FAULT(view->path, "strings", "the first or the last byte is not NUL");
    const char *name = crate_view_string(view, view->header.name);
    if (!name || !*name)
        return FAULT(view->path, "crate header", "the crate has no name (string 0x%x)", view->header.name);
    return NULL;
}

struct crateld_error *crate_view_init(const char *path, struct span image, const struct crate_header *header,
                                      struct crate_view *ret)
{
    struct crate_view view = {0};
    TRY(crate_view_place(path, image, header, &view));
    TRY(crate_view_check(&view));
    *ret = view;
    return NULL;
}

struct crateld_error *crate_view_open(const char *path, struct span file, struct crate_view *ret)
{
    struct crate_header header = {0};
    TRY(crate_header_read(path, file, file.size, &header));
    return crate_view_init(path, file, &header, ret);
}

struct crateld_error *crate_view_relink(const struct crate_view *view, struct span file, struct span *ret)
{
    struct span relink = {file.data, 0};
    if (view->header.flags & CRATE_FLAG_HAS_RELINK &&
        !span_slice(file, view->header.relink_off, view->header.relink_size, &relink))
        return FAULT(view->path, "relink section", "it is not within the file: truncated?");
    *ret = relink;
    return NULL;
}

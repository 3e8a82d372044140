#define _GNU_SOURCE
#include "loader/unwind.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "loader/address_index.h"

enum {
    EH_HDR_VERSION = 1,
    /* Pointer encodings of the LSB, "DWARF Exception Header Encoding". */
    EH_PE_UDATA4 = 0x03,
    EH_PE_SDATA4 = 0x0b,
    EH_PE_UDATA8 = 0x04,
    EH_PE_SDATA8 = 0x0c,
    EH_PE_ABSPTR = 0x00,
    EH_PE_PCREL = 0x10,
    EH_PE_DATAREL = 0x30,
    EH_PE_FORMAT = 0x0f,
    EH_PE_APPLICATION = 0x70,
    DWARF_R15 = 15, /* x86-64 psABI 1.0, figure 3.36 */
};

/* .eh_frame_hdr: four bytes of version and encodings, the place of .eh_frame, the count, then the table. */
struct eh_hdr {
    uint8_t version, frame_encoding, count_encoding, table_encoding;
    int32_t frame;
    uint32_t count;
};

struct eh_row {
    int32_t function, fde; /* from the start of .eh_frame_hdr */
};

/* The rows of the crate's table; 0 when it has none of the one kind that linkers write. */
static uint32_t read_header(const struct loaded_crate *crate, struct span *ret)
{
    struct eh_hdr header;
    struct span table = {crate->base + crate->view.header.eh_frame_hdr_rva, crate->view.header.eh_frame_hdr_size};
    if (!crate->view.header.eh_frame_hdr_rva || !span_read(table, 0, &header, sizeof header) ||
        header.version != EH_HDR_VERSION || header.count_encoding != EH_PE_UDATA4 ||
        header.table_encoding != (EH_PE_DATAREL | EH_PE_SDATA4) ||
        (header.frame_encoding & EH_PE_FORMAT) != EH_PE_SDATA4)
        return 0;
    *ret = span_from(table, sizeof header);
    return header.count <= ret->size / sizeof(struct eh_row) ? header.count : 0;
}

static struct eh_row read_row(struct span rows, uint32_t i)
{
    struct eh_row row = {0};
    (void)span_read(rows, (uint64_t)i * sizeof row, &row, sizeof row);
    return row;
}

/* Reads a ULEB128 at *off; false at the end of the bytes. */
static bool read_uleb(struct span bytes, uint64_t *off, uint64_t *ret)
{
    uint64_t value = 0;
    uint8_t byte;
    unsigned shift = 0;
    do {
        if (!span_read(bytes, (*off)++, &byte, 1))
            return false;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    *ret = value;
    return true;
}

/* The encoding of addresses in the FDEs of the CIE at `off` of the image: the CIE's augmentation says it. */
static bool read_cie_encoding(struct span image, uint64_t off, uint8_t *ret)
{
    uint64_t ignored;
    uint8_t version;
    const char *augmentation = span_string(image, off + 9);
    if (!span_read(image, off + 8, &version, 1) || !augmentation)
        return false;
    *ret = EH_PE_ABSPTR;
    uint64_t at = off + 9 + strlen(augmentation) + 1;
    if (augmentation[0] != 'z')
        return true;
    if (!read_uleb(image, &at, &ignored) || !read_uleb(image, &at, &ignored)) /* alignment factors */
        return false;
    if (version == 1)
        at++; /* the return address register: a byte in version 1 */
    else if (!read_uleb(image, &at, &ignored))
        return false;
    if (!read_uleb(image, &at, &ignored)) /* size of the augmentation data */
        return false;
    for (const char *letter = augmentation + 1; *letter; letter++) {
        uint8_t encoding;
        if (*letter == 'R')
            return span_read(image, at, ret, 1);
        if (*letter == 'L') {
            at++;
        } else if (*letter == 'P') {
            if (!span_read(image, at++, &encoding, 1))
                return false;
            uint8_t format = encoding & EH_PE_FORMAT;
            at += format == EH_PE_UDATA4 || format == EH_PE_SDATA4 ? 4 : 8;
        } else if (*letter != 'S' && *letter != 'B') {
            return false;
        }
    }
    return true;
}

/* Sets *ret to the bytes of code that the FDE at `off` of the image speaks of. */
static bool read_fde_range(struct span image, uint64_t off, uint64_t *ret)
{
    uint32_t words[2];
    uint8_t encoding;
    if (!span_read(image, off, words, sizeof words) || words[1] > off + 4 ||
        !read_cie_encoding(image, off + 4 - words[1], &encoding))
        return false;
    uint8_t format = encoding & EH_PE_FORMAT;
    if (format == EH_PE_UDATA4 || format == EH_PE_SDATA4) {
        uint32_t range;
        if (!span_read(image, off + 12, &range, sizeof range))
            return false;
        *ret = range;
        return true;
    }
    return (format == EH_PE_ABSPTR || format == EH_PE_UDATA8 || format == EH_PE_SDATA8) &&
           span_read(image, off + 16, ret, sizeof *ret);
}

const void *unwind_find_fde(const struct loaded_crate *crate, uint64_t pc, uint64_t *ret_function)
{
    struct span rows = {0};
    uint32_t count = read_header(crate, &rows);
    uint64_t header = loaded_address(crate, crate->view.header.eh_frame_hdr_rva);
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pc < header + (uint64_t)read_row(rows, middle).function)
            high = middle;
        else
            low = middle + 1;
    }
    if (!low)
        return NULL;
    struct eh_row row = read_row(rows, low - 1);
    uint64_t function = header + (uint64_t)row.function;
    /* What the file holds of the image is contiguous up to the end of the read-only data. */
    const struct crate_segment *last = &crate->view.header.segments[CRATE_SEGMENT_RODATA];
    if (!last->file_size)
        last = &crate->view.header.segments[CRATE_SEGMENT_TEXT];
    struct span image = {crate->base, last->rva + last->file_size};
    uint64_t off = crate->view.header.eh_frame_hdr_rva + (uint64_t)row.fde, range;
    if (!read_fde_range(image, off, &range) || pc - function >= range)
        return NULL;
    *ret_function = function;
    return image.data + off;
}

bool unwind_is_toc_code(const struct loaded_crate *crate, uint64_t pc)
{
    const struct crate_header *header = &crate->view.header;
    uint64_t rva = pc - loaded_address(crate, 0);
    return header->flags & CRATE_FLAG_TOC_CODE && header->toc_text_rva && rva >= header->toc_text_rva &&
           crate_segment_has(header, CRATE_SEGMENT_TEXT, rva, 1, true);
}

const struct crateld_toc *unwind_toc(const struct loaded_crate *crate)
{
    bool is_patch = crate->view.header.flags & CRATE_FLAG_PATCH;
    return is_patch ? crate->needed[0].crate->toc : crate->toc;
}

/* libgcc_s's own function `name`. libgcc_s is loaded, because nobody else calls us, though perhaps by libc itself
 * and then outside the scopes that RTLD_NEXT looks through. */
static void *find_next(const char *name)
{
    void *library = dlopen("libgcc_s.so.1", RTLD_LAZY | RTLD_NOLOAD);
    return library ? dlsym(library, name) : NULL;
}

__attribute__((visibility("default"))) const void *_Unwind_Find_FDE(const void *pc, struct dwarf_eh_bases *bases)
{
    struct loaded_crate *crate = address_index_find((uint64_t)(uintptr_t)pc);
    if (crate) {
        uint64_t function = 0;
        const void *fde = unwind_find_fde(crate, (uint64_t)(uintptr_t)pc, &function);
        *bases = (struct dwarf_eh_bases){.func = (const void *)(uintptr_t)function};
        return fde;
    }
    static const void *(*_Atomic next)(const void *, struct dwarf_eh_bases *);
    const void *(*function)(const void *, struct dwarf_eh_bases *) = next;
    if (!function) {
        function = (const void *(*)(const void *, struct dwarf_eh_bases *))find_next("_Unwind_Find_FDE");
        if (!function)
            return NULL;
        next = function;
    }
    return function(pc, bases);
}

/* A personality routine calls this for the context that is about to be installed: the landing pad in TOC code wants
 * its crate's TOC, whoever threw. */
__attribute__((visibility("default"))) void _Unwind_SetIP(struct _Unwind_Context *context, uintptr_t ip)
{
    static void (*_Atomic next_set_ip)(struct _Unwind_Context *, uintptr_t);
    static void (*_Atomic next_set_gr)(struct _Unwind_Context *, int, uintptr_t);
    if (!next_set_ip) {
        next_set_gr = (void (*)(struct _Unwind_Context *, int, uintptr_t))find_next("_Unwind_SetGR");
        next_set_ip = (void (*)(struct _Unwind_Context *, uintptr_t))find_next("_Unwind_SetIP");
        if (!next_set_gr || !next_set_ip)
            abort();
    }
    struct loaded_crate *crate = address_index_find(ip);
    if (crate && unwind_is_toc_code(crate, ip))
        next_set_gr(context, DWARF_R15, (uintptr_t)unwind_toc(crate));
    next_set_ip(context, ip);
}

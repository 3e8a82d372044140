#include "linker/layout.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/address.h"
#include "linker/eh_frame.h"
#include "linker/function.h"
#include "linker/output.h"
#include "linker/own.h"
#include "linker/patch_base.h"
#include "linker/scan.h"
#include "linker/tables.h"
#include "toc/stubs.h"

enum {
    MIN_TEXT_ALIGN_LOG2 = 4, /* so that a function's entry has room for the jump that a reload writes there */
    DEFAULT_INIT_PRIORITY = 65536,
    HASH_GRAIN_LOG2 = 24, /* preferred bases are multiples of 16 MiB */
    CACHE_LINE_SIZE = 64,
};

/* Preferred bases: far from where Linux puts programs, libraries and stacks, and within the 16 TiB that Valgrind gives
 * a program; for position-dependent input below 2 GiB, and above a non-PIE program. The address sanitizer reserves some
 * of that: in its processes crates lie elsewhere. */
#define PREFERRED_FIRST     UINT64_C(0x020000000000) /* 2 to 14 TiB */
#define PREFERRED_COUNT     (UINT64_C(0x0c0000000000) >> HASH_GRAIN_LOG2)
#define PREFERRED_NEAR      UINT64_C(0x1000000)
#define PREFERRED_LOW_FIRST UINT64_C(0x10000000)
#define PREFERRED_LOW_COUNT (UINT64_C(0x30000000) >> HASH_GRAIN_LOG2)

/* Bytes kept free behind an image for modules that are reloaded at a fresh address. */
#define RESERVE_SIZE     UINT64_C(0x1000000)
#define RESERVE_LOW_SIZE UINT64_C(0x200000) /* below 2 GiB there is less room */

static bool has_prefix(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

/* A section that the linker writes itself. */
static struct crateld_error *add_synthetic(struct link *link, const char *name, uint8_t segment, uint8_t rank,
                                           uint64_t flags, uint8_t align_log2, uint64_t size)
{
    struct link_output like = {
        .name = name,
        .type = SHT_PROGBITS,
        .flags = flags,
        .segment = segment,
        .rank = rank,
        .align_log2 = align_log2,
        .size = size,
    };
    return size ? link_add_output(link, &like) : NULL;
}

static uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

/* Order within .text, as GNU ld's: rarely run code together; TOC code last (crate_header.toc_text_rva). */
static uint64_t text_order(const struct link_section *section)
{
    unsigned order = section->is_toc ? 8 : 0;
    if (has_prefix(section->name, ".text.unlikely"))
        return order;
    if (has_prefix(section->name, ".text.exit"))
        return order + 1;
    if (has_prefix(section->name, ".text.startup"))
        return order + 2;
    return order + (has_prefix(section->name, ".text.hot") ? 3 : 4);
}

/* Priority of a section of initialisers or finalisers: .init_array.100 and .ctors.65435 are both 100. */
static uint64_t init_order(const struct link_section *section)
{
    const char *dot = strrchr(section->name, '.');
    char *end;
    long number = strtol(dot + 1, &end, 10);
    if (end == dot + 1 || *end || number < 0 || number > 65535)
        return DEFAULT_INIT_PRIORITY;
    bool is_reversed = has_prefix(section->name, ".ctors") || has_prefix(section->name, ".dtors");
    return (uint64_t)(is_reversed ? 65535 - number : number);
}

static uint64_t init_part_order(const struct link_section *section)
{
    static const uint8_t orders[] = {[LINK_INIT_PROLOGUE] = 0, [LINK_INIT_PIECE] = 1, [LINK_INIT_EPILOGUE] = 2};
    return orders[section->init_part];
}

/* Place of the section that an SHF_LINK_ORDER section goes with, which is in an output before it. Others come first. */
static uint64_t linked_order(const struct link_section *section)
{
    if (!(section->flags & SHF_LINK_ORDER) || !section->link)
        return 0;
    const struct link_section *linked = &section->object->sections[section->link];
    return linked->output ? (uint64_t)linked->output->index << 40 | linked->out_off : 0;
}

struct keyed_section {
    uint64_t key;
    uint32_t position;
    struct link_section *section;
};

static int compare_keyed(const void *a, const void *b)
{
    const struct keyed_section *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

/* Sorts an output's sections by `key`, keeping the order of equals. */
static struct crateld_error *sort_sections(struct link_output *output,
                                           uint64_t (*key)(const struct link_section *section))
{
    struct keyed_section *keyed = calloc(output->sections.count + 1, sizeof *keyed);
    if (!keyed)
        return error_memory();
    for (size_t i = 0; i < output->sections.count; i++)
        keyed[i] = (struct keyed_section){key(output->sections.at[i]), (uint32_t)i, output->sections.at[i]};
    qsort(keyed, output->sections.count, sizeof *keyed, compare_keyed);
    for (size_t i = 0; i < output->sections.count; i++)
        output->sections.at[i] = keyed[i].section;
    free(keyed);
    return NULL;
}

/* In a bundle: as it was decided when its crates were taken apart. */
static uint64_t bundled_order(const struct link_section *section)
{
    bool is_last = section->is_toc && section->output->rank == LINK_RANK_TEXT;
    return section->order | (is_last ? UINT64_C(1) << 63 : 0);
}

bool link_is_init_text(const struct link_output *output)
{
    return output->rank == LINK_RANK_TEXT_OTHER && (!strcmp(output->name, ".init") || !strcmp(output->name, ".fini"));
}

static struct crateld_error *order_sections(const struct link *link, struct link_output *output)
{
    if (link->bundle)
        return sort_sections(output, bundled_order);
    if (output->rank == LINK_RANK_TEXT)
        TRY(sort_sections(output, text_order));
    if (output->rank == LINK_RANK_ARRAYS)
        TRY(sort_sections(output, init_order));
    if (link_is_init_text(output))
        TRY(sort_sections(output, init_part_order));
    return output->has_link_order ? sort_sections(output, linked_order) : NULL;
}

/* Places the input sections within their output. */
static struct crateld_error *place_sections(const struct link *link, struct link_output *output)
{
    TRY(order_sections(link, output));
    for (size_t i = 0; i < output->sections.count; i++) {
        struct link_section *section = output->sections.at[i];
        uint8_t align_log2 = section->align_log2;
        if (output->rank == LINK_RANK_TEXT && align_log2 < MIN_TEXT_ALIGN_LOG2)
            align_log2 = MIN_TEXT_ALIGN_LOG2;
        if (output->rank == LINK_RANK_ARRAYS && align_log2 < 3)
            align_log2 = 3;
        if (output->rank == LINK_RANK_ARRAYS && section->size % 8)
            return error_create(CRATELD_ERROR_FORMAT, "%s: section %s: %llu bytes are no array of pointers",
                                section->object->path, section->name, (unsigned long long)section->size);
        if (align_log2 > output->align_log2)
            output->align_log2 = align_log2;
        section->out_off = align_up(output->size, UINT64_C(1) << align_log2);
        if (__builtin_add_overflow(section->out_off, section->size, &output->size) ||
            output->size > (UINT64_C(1) << 40))
            return error_create(CRATELD_ERROR_RANGE, "%s: section %s grows beyond all reach", section->object->path,
                                output->name);
    }
    return NULL;
}

static int compare_outputs(const void *a, const void *b)
{
    const struct link_output *x = *(struct link_output *const *)a, *y = *(struct link_output *const *)b;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void sort_outputs(struct link *link)
{
    for (size_t i = 0; i < link->outputs.count; i++)
        link->outputs.at[i]->index = (uint32_t)i;
    qsort(link->outputs.at, link->outputs.count, sizeof *link->outputs.at, compare_outputs);
    for (size_t i = 0; i < link->outputs.count; i++)
        link->outputs.at[i]->index = (uint32_t)i + 1;
}

/* Import stubs, in the order of slots; returns their size. */
static uint64_t place_import_stubs(struct link *link)
{
    uint64_t end = 0;
    for (size_t i = 0; i < link->function_imports.count; i++) {
        struct link_import *import = &link->function_imports.at[i];
        uint32_t size = import->kind == CRATE_IMPORT_CALL_TOC ? link->machine->stubs->import_toc_size
                                                              : link->machine->stubs->import_plain_size;
        end = align_up(end, import->kind == CRATE_IMPORT_CALL_TOC ? 16 : 8);
        import->stub_off = (uint32_t)end;
        end += size;
    }
    return end;
}

/* Entry stubs, in the order of func_refs; returns their size. */
static uint64_t place_entry_stubs(struct link *link)
{
    uint64_t end = 0;
    for (size_t i = 0; i < link->func_refs.count; i++) {
        struct link_function *function = link->func_refs.at[i];
        bool is_toc = function->section->is_toc;
        if (is_toc)
            end = align_up(end, TOC_ENTRY_TOC_ALIGN);
        function->stub_off = (uint32_t)end;
        end += is_toc ? link->machine->stubs->entry_toc_size(function->stack_arguments, function->is_varargs)
                      : link->machine->stubs->entry_plain_size;
    }
    return end;
}

static struct crateld_error *add_stub_sections(struct link *link)
{
    uint64_t flags = SHF_ALLOC | SHF_EXECINSTR;
    uint64_t lazy = link->function_imports.count ? link->machine->stubs->lazy_head_size +
                                                       link->lazy_count * (uint64_t)link->machine->stubs->lazy_size
                                                 : 0;
    TRY(add_synthetic(link, ".crate.imports", CRATE_SEGMENT_TEXT, LINK_RANK_STUBS, flags, 5, place_import_stubs(link)));
    TRY(add_synthetic(link, ".crate.lazy", CRATE_SEGMENT_TEXT, LINK_RANK_STUBS, flags, 5, lazy));
    return add_synthetic(link, ".crate.entries", CRATE_SEGMENT_TEXT, LINK_RANK_STUBS, flags, 4,
                         place_entry_stubs(link));
}

/* The number of pointers to types of collected objects. */
static uint32_t type_count(const struct link *link)
{
    const struct link_output *types = link_find_output(link, LINK_TYPES_SECTION);
    uint64_t size = 0;
    for (size_t i = 0; types && i < types->sections.count; i++)
        size += types->sections.at[i]->size;
    return (uint32_t)(size / 8);
}

static struct crateld_error *add_synthetics(struct link *link)
{
    link->type_count = type_count(link);
    struct toc_counts counts = {
        .imported_functions = (uint32_t)link->function_imports.count,
        .imported_globals = link->global_slot_count,
        .func_refs = (uint32_t)link->func_refs.count,
        .type_ids = link->type_count,
    };
    TRY(toc_shape_for_crate(&counts, &link->toc));
    TRY(add_stub_sections(link));
    /* The data lies right behind the TOC: both are written to when the crate is activated. */
    TRY(add_synthetic(link, ".toc", CRATE_SEGMENT_DATA, LINK_RANK_TOC, SHF_ALLOC | SHF_WRITE, 12, link->toc.size));
    TRY(link_eh_frame_layout(link));
    TRY(add_synthetic(link, ".eh_frame_hdr", CRATE_SEGMENT_RODATA, LINK_RANK_UNWIND_HDR, SHF_ALLOC, 2,
                      link_eh_frame_hdr_size(link)));
    TRY(add_synthetic(link, ".eh_frame", CRATE_SEGMENT_RODATA, LINK_RANK_UNWIND, SHF_ALLOC, 3,
                      link_eh_frame_size(link)));
    return add_synthetic(link, ".crate", CRATE_SEGMENT_META, LINK_RANK_META, SHF_ALLOC, 3, 1);
}

/* Where in its first page the text of a patch begins, of which there are `size` bytes. Patches begin at pages, so code
 * of many of them, all at the start of its page, would share a few lines of the caches (with 64 modules of one hot
 * loop that took three times as long). The module's name chooses one of those places that take no page more. */
static uint64_t patch_text_off(const struct link *link, uint64_t size)
{
    const struct relink_module *first = &link->patch->objects.at[0].module;
    uint64_t hash = hash_string(first->path) ^ hash_string(first->member);
    return hash % ((align_up(size, CRATE_PAGE_SIZE) - size) / CACHE_LINE_SIZE + 1) * CACHE_LINE_SIZE;
}

/* Gives the outputs of one segment their rvas from `start` (page-aligned) on, `off` bytes of which are left free. */
static void place_segment(struct link *link, uint8_t kind, uint64_t start, uint64_t off, struct crate_segment *ret)
{
    uint64_t end = start + off, file_end = end, tbss_end = end;
    for (size_t i = 0; i < link->outputs.count; i++) {
        struct link_output *output = link->outputs.at[i];
        if (output->segment != kind)
            continue;
        bool is_tbss = output->rank == LINK_RANK_TBSS;
        output->rva = align_up(is_tbss && tbss_end > end ? tbss_end : end, UINT64_C(1) << output->align_log2);
        output->off = output->rva;
        /* .tbss takes no space: its bytes exist per thread only. */
        if (is_tbss) {
            tbss_end = output->rva + output->size;
            continue;
        }
        end = output->rva + output->size;
        if (output->type != SHT_NOBITS)
            file_end = end;
    }
    *ret = (struct crate_segment){start, file_end - start, end - start};
}

/* Where thread-locals are: the outputs of SHF_TLS, which are neighbours. */
static struct crateld_error *place_tls(struct link *link)
{
    uint64_t first = UINT64_MAX, end = 0;
    link->tls_align = 1;
    for (size_t i = 0; i < link->outputs.count; i++) {
        const struct link_output *output = link->outputs.at[i];
        if (!(output->flags & SHF_TLS))
            continue;
        if (output->rva < first)
            first = output->rva;
        if (output->type != SHT_NOBITS)
            link->tls_file_size = output->rva + output->size - first;
        end = output->rva + output->size;
        if ((UINT64_C(1) << output->align_log2) > link->tls_align)
            link->tls_align = UINT64_C(1) << output->align_log2;
    }
    link->tls_rva = end ? first : 0;
    link->tls_mem_size = end ? end - first : 0;
    if (link->tls_mem_size > CRATE_MAX_SIZE || link->tls_align > CRATE_MAX_TLS_ALIGN)
        return error_create(CRATELD_ERROR_RANGE, "%s: %llu bytes of thread-locals, aligned to %llu, are too many",
                            link->options->output, (unsigned long long)link->tls_mem_size,
                            (unsigned long long)link->tls_align);
    return NULL;
}

static uint64_t rva_of(const struct link *link, const char *name)
{
    const struct link_output *output = link_find_output(link, name);
    return output ? output->rva : 0;
}

/* The thread-local block starts where its first section does, so that alignment within it must hold from there: the
 * first section takes the alignment of all. */
static void align_tls(struct link *link)
{
    struct link_output *first = NULL;
    for (size_t i = 0; i < link->outputs.count; i++) {
        struct link_output *output = link->outputs.at[i];
        if (!(output->flags & SHF_TLS))
            continue;
        if (!first)
            first = output;
        if (output->align_log2 > first->align_log2)
            first->align_log2 = output->align_log2;
    }
}

/* What the image's base must be a multiple of. */
static struct crateld_error *find_image_align(const struct link *link, uint64_t *ret)
{
    uint64_t align = CRATE_PAGE_SIZE;
    for (size_t i = 0; i < link->outputs.count; i++) {
        const struct link_output *output = link->outputs.at[i];
        if (output->segment != CRATE_SEGMENT_COUNT && UINT64_C(1) << output->align_log2 > align)
            align = UINT64_C(1) << output->align_log2;
        if (align > CRATE_MAX_ALIGN)
            return error_create(CRATELD_ERROR_RANGE,
                                "%s: section %s is aligned to %llu bytes: more than %d is not possible",
                                link->options->output, output->name, (unsigned long long)align, CRATE_MAX_ALIGN);
    }
    *ret = align;
    return NULL;
}

/* Places all segments; the table of RELR is as long as `image` says. */
static struct crateld_error *place_segments(struct link *link, struct link_image *image)
{
    struct crate_segment *segments = image->header.segments;
    uint64_t start = 0;
    link_find_output(link, ".crate")->size = image->header_end;
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++) {
        place_segment(link, (uint8_t)kind, start, 0, &segments[kind]);
        if (kind == CRATE_SEGMENT_TEXT && segments[kind].mem_size && link->patch && link->patch->objects.count)
            place_segment(link, (uint8_t)kind, start, patch_text_off(link, segments[kind].mem_size), &segments[kind]);
        start = align_up(start + segments[kind].mem_size, CRATE_PAGE_SIZE);
    }
    image->header.image_size = start;
    image->loaded_size = segments[CRATE_SEGMENT_DATA].rva + segments[CRATE_SEGMENT_DATA].file_size;
    uint64_t limit = link->flags & CRATE_FLAG_LOW ? CRATE_MAX_SIZE - link->preferred_base : CRATE_MAX_SIZE;
    if (start > limit)
        return error_create(CRATELD_ERROR_RANGE,
                            "%s: the crate would take %llu bytes, more than pc-relative code reaches",
                            link->options->output, (unsigned long long)start);
    uint64_t reserve = link->flags & CRATE_FLAG_LOW ? RESERVE_LOW_SIZE : RESERVE_SIZE;
    image->header.reserve_size = link->options->keep_relink && start + reserve <= CRATE_MAX_SIZE ? reserve : 0;
    TRY(place_tls(link));
    link->toc_rva = rva_of(link, ".toc");
    link->stubs_rva = rva_of(link, ".crate.imports");
    link->lazy_rva = rva_of(link, ".crate.lazy");
    link->entry_stubs_rva = rva_of(link, ".crate.entries");
    return NULL;
}

/* The preferred base follows from the crate's name, so that crates seldom meet, and a relinked crate stays. */
static void choose_base(struct link *link)
{
    uint64_t hash = hash_string(link->name);
    bool is_low = link->flags & CRATE_FLAG_LOW;
    if (!is_low && link->flags & CRATE_FLAG_NEAR) {
        /* It lies where the libraries do. Valgrind, which can not do with files that lie below what their headers say,
         * puts those very low. */
        link->preferred_base = PREFERRED_NEAR;
        return;
    }
    link->preferred_base = (is_low ? PREFERRED_LOW_FIRST : PREFERRED_FIRST) +
                           ((hash % (is_low ? PREFERRED_LOW_COUNT : PREFERRED_COUNT)) << HASH_GRAIN_LOG2);
}

uint64_t link_import_stub_rva(const struct link *link, uint32_t slot)
{
    return link->stubs_rva + link->function_imports.at[slot].stub_off;
}

/* RELR is as long as the places are scattered, and they lie behind it: places everything until RELR fits where it was
 * counted to be. Shifting whole pages changes its length only where something is aligned to more than a page. */
static struct crateld_error *place_with_tables(struct link *link, struct link_image *image)
{
    uint64_t end = crate_tables_place(&image->tables, link->data_reloc_count, link->fixup_count, &image->header);
    do {
        image->header_end = end;
        TRY(place_segments(link, image));
        TRY(link_tables_relr(link, image));
        end = crate_tables_place(&image->tables, link->data_reloc_count, link->fixup_count, &image->header);
    } while (end > image->header_end);
    return NULL;
}

/* Notes where global symbols are: most relocations against them need nothing else of them. */
static void place_symbols(struct link *link)
{
    for (size_t i = 0; i < link->symbols.count; i++) {
        struct link_symbol *symbol = link->symbols.at[i];
        if (symbol->state == LINK_SYMBOL_DEFINED && symbol->type != STT_SECTION && !symbol->section->merge &&
            symbol->section->output)
            symbol->rva = (uint32_t)link_symbol_rva(symbol, 0);
    }
}

/* Puts all sections into outputs, and those in order. */
static struct crateld_error *place_outputs(struct link *link)
{
    TRY(link_assign_outputs(link));
    TRY(add_synthetics(link));
    sort_outputs(link);
    for (size_t i = 0; i < link->outputs.count; i++)
        if (link->outputs.at[i]->sections.count)
            TRY(place_sections(link, link->outputs.at[i]));
    align_tls(link);
    link_own_place(link);
    return NULL;
}

struct laying {
    struct link *link;
    struct link_image *image;
};

enum { PLACE_OUTPUTS, COUNT_TABLES, LIST_SYMBOLS, LAYING_COUNT };

static struct crateld_error *lay(void *context, uint32_t worker, size_t what)
{
    const struct laying *laying = context;
    (void)worker;
    if (what == PLACE_OUTPUTS)
        return place_outputs(laying->link);
    if (what == COUNT_TABLES)
        return link_tables_count(laying->link, laying->image);
    return laying->link->options->is_strip_all ? NULL : link_symtab_init(laying->link, &laying->image->symtab);
}

struct crateld_error *link_layout(struct link *link, struct link_image *image)
{
    struct laying laying = {link, image};
    bool is_one_by_one = link->patch || link->bundle; /* their tables tell of outputs */
    choose_base(link);
    TRY(workers_run(is_one_by_one ? 1 : link_workers_for(link, link->objects.count), LAYING_COUNT, lay, &laying));
    /* after this the tables' sizes are known, but for RELR's */

    TRY(find_image_align(link, &image->header.image_align));
    TRY(place_with_tables(link, image));
    link_own_place(link);
    place_symbols(link);
    link_tables_fill_header(link, &image->header);
    return NULL;
}

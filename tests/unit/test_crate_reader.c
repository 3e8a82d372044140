/* Reading crates: good ones, and what is wrong with bad ones. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stddef.h>

#include "base/hash.h"
#include "crate/build_id.h"
#include "crate/check.h"
#include "crate/reader.h"
#include "tests/unit/crate_builder.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(crate_reader, .fini = require_no_leaks);

static uint32_t find(const struct crate_view *view, const char *name)
{
    return crate_view_find_export(view, hash_string(name), name);
}

Test(crate_reader, a_good_crate_passes_every_check)
{
    struct span file = crate_builder_make(NULL);
    struct crate_view view;
    require_success(crate_view_open("shapes.crate", file, &view));
    require_success(crate_view_check_all(&view));
    cr_assert_str_eq(crate_view_name(&view), "shapes");
    cr_assert_eq(view.toc.imported_functions, sizeof(struct crateld_toc));
    free((void *)file.data);
}

Test(crate_reader, exports_are_found_by_name_and_others_are_not)
{
    struct span file = crate_builder_make(NULL);
    struct crate_view view;
    struct crate_export export;
    require_success(crate_view_open("shapes.crate", file, &view));
    for (uint32_t i = 0; i < CRATE_BUILDER_EXPORTS; i++) {
        require_success(crate_view_export(&view, i, &export));
        cr_assert_eq(find(&view, crate_view_string(&view, export.name)), i);
    }
    require_success(crate_view_export(&view, find(&view, "table"), &export));
    cr_assert(export.kind == CRATE_EXPORT_DATA && export.size == 64);
    cr_assert_eq(find(&view, "f4"), CRATE_NONE);
    cr_assert_eq(find(&view, ""), CRATE_NONE);
    /* A name is compared, not only its hash; so are its ends. */
    cr_assert_eq(crate_view_find_export(&view, hash_string("table"), "tabl"), CRATE_NONE);
    cr_assert_eq(crate_view_find_export(&view, hash_string("table"), "tables"), CRATE_NONE);
    free((void *)file.data);
}

Test(crate_reader, relr_gives_each_place_once)
{
    static const uint32_t want[] = {0x4060, 0x4068, 0x4070, 0x4080, 0x4310};
    struct span file = crate_builder_make(NULL);
    struct crate_view view;
    struct crate_relr_cursor cursor = {0};
    uint32_t place;
    require_success(crate_view_open("shapes.crate", file, &view));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        cr_assert_eq(crate_view_relr_next(&view, &cursor, &place), CRATE_RELR_PLACE);
        cr_assert_eq(place, want[i], "0x%x", place);
    }
    cr_assert_eq(crate_view_relr_next(&view, &cursor, &place), CRATE_RELR_END);
    free((void *)file.data);
}

Test(crate_reader, the_build_id_does_not_see_what_strip_removes)
{
    static const uint8_t relink[] = "any bytes";
    struct span bare = crate_builder_make(NULL);
    struct span full = crate_builder_make(&(struct crate_builder_opts){{relink, sizeof relink}, 100});
    struct crate_view bare_view, full_view;
    require_success(crate_view_open("shapes.crate", bare, &bare_view));
    require_success(crate_view_open("shapes.crate", full, &full_view));
    cr_assert_arr_eq(bare_view.header.build_id, full_view.header.build_id, 16);
    uint8_t id[16];
    uint64_t off;
    ((uint8_t *)full.data)[0x2000]++;
    require_success(crate_header_find("shapes.crate", full, &off));
    crate_build_id(full, off, &full_view.header, id);
    cr_assert_arr_neq(bare_view.header.build_id, id, 16);
    free((void *)bare.data);
    free((void *)full.data);
}

Test(crate_reader, each_bit_of_headers_and_tables_that_is_flipped_is_noticed)
{
    struct span file = crate_builder_make(NULL);
    struct crate_view view;
    uint8_t *bytes = (uint8_t *)file.data;
    require_success(crate_view_open("shapes.crate", file, &view));
    require_success(crate_check_meta("shapes.crate", file, &view.header));
    uint64_t header_off, size = view.header.segments[CRATE_SEGMENT_META].file_size;
    uint32_t unnoticed = 0;
    require_success(crate_header_find("shapes.crate", file, &header_off));
    for (uint64_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct crateld_error *error = crate_view_open("shapes.crate", file, &view);
        if (!error)
            error = crate_check_meta("shapes.crate", file, &view.header);
        unnoticed += !error;
        crateld_error_destroy(error);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* What stripping changes: e_shoff, e_shnum, e_shstrndx, HAS_RELINK, relink_off and relink_size, and what patches
     * that are carried do, where they do not contradict each other. */
    cr_assert_leq(unnoticed, 64 + 16 + 16 + 1 + 64 + 64 + 64 + 32, "%u", unnoticed);
    bytes[header_off + offsetof(struct crate_header, meta_hash)] ^= 1;
    require_success(crate_view_open("shapes.crate", file, &view));
    require_error(crate_check_meta("shapes.crate", file, &view.header), CRATELD_ERROR_FORMAT,
                  "shapes.crate: damaged: headers and tables have the hash 0x");
    free((void *)file.data);
}

/* One change to a good crate's header, and what the reader must say. */
struct header_fault {
    size_t off; /* in struct crate_header */
    uint8_t size;
    uint64_t value;
    enum crateld_error_code code;
    const char *text;
};

#define FIELD(member) offsetof(struct crate_header, member), sizeof((struct crate_header *)0)->member

static const struct header_fault header_faults[] = {
    {FIELD(magic), 1, CRATELD_ERROR_FORMAT, "crate header: magic 0x0000000000000001"},
    {FIELD(abi_major), 2, CRATELD_ERROR_MISMATCH, "made for ABI version 2.0, this crateld has 1.0"},
    {FIELD(abi_minor), 9, CRATELD_ERROR_MISMATCH, "made for ABI version 1.9"},
    {FIELD(machine), EM_AARCH64, CRATELD_ERROR_FORMAT, "machine 183, but 62 in the ELF header"},
    {FIELD(header_size), 8, CRATELD_ERROR_FORMAT, "crate header: size 8"},
    {FIELD(flags), 1u << 31, CRATELD_ERROR_UNSUPPORTED, "unknown flags 0x80000000"},
    {FIELD(name), 0, CRATELD_ERROR_FORMAT, "the crate has no name (string 0x0)"},
    {FIELD(name), 1u << 30, CRATELD_ERROR_FORMAT, "the crate has no name"},
    {FIELD(preferred_base), 1, CRATELD_ERROR_FORMAT, "preferred base 0x1 is out of range"},
    {FIELD(preferred_base), UINT64_MAX - 0xfff, CRATELD_ERROR_FORMAT, "preferred base 0xfffffffffffff000"},
    {FIELD(image_align), 0, CRATELD_ERROR_FORMAT,
     "an alignment of 0x0, wanted a power of two from 0x1000 to 0x1000000"},
    {FIELD(image_align), 0x3000, CRATELD_ERROR_FORMAT, "an alignment of 0x3000"},
    {FIELD(image_align), 0x2000000, CRATELD_ERROR_FORMAT, "an alignment of 0x2000000"},
    {FIELD(image_size), 0x7000, CRATELD_ERROR_FORMAT, "they end at 0x5800, but the image's size is 0x7000"},
    {FIELD(reserve_size), 0x80000000, CRATELD_ERROR_FORMAT, "a reserve of 0x80000000 bytes"},
    {FIELD(segments[0].rva), 0x1000, CRATELD_ERROR_FORMAT, "segments: meta is empty or does not start the file"},
    {FIELD(segments[1].rva), 0x2010, CRATELD_ERROR_FORMAT, "segments: text at 0x2010, wanted a page"},
    {FIELD(segments[2].rva), 0x2000, CRATELD_ERROR_FORMAT, "rodata at 0x2000, wanted a page at or behind 0x2300"},
    {FIELD(segments[3].mem_size), 1, CRATELD_ERROR_FORMAT, "data has 2048 bytes in the file, but 1 in memory"},
    {FIELD(segments[3].mem_size), UINT64_MAX, CRATELD_ERROR_FORMAT, "ends behind 2 GiB"},
    {FIELD(segments[3].file_size), 0x1800, CRATELD_ERROR_FORMAT, "data ends at 0x5800 of the file, which has only"},
    {FIELD(tables[1].rva), 0x2000, CRATELD_ERROR_FORMAT, "imports: 5 entries at 0x2000 are not aligned or not within"},
    {FIELD(tables[2].count), UINT32_MAX, CRATELD_ERROR_FORMAT, "exports: 4294967295 entries"},
    {FIELD(tables[3].count), 16, CRATELD_ERROR_FORMAT, "16 buckets for 4 hash bits"},
    {FIELD(tables[CRATE_TABLE_HASHES].count), 39, CRATELD_ERROR_FORMAT, "tables: 39 hashes of 40 exports"},
    {FIELD(tables[CRATE_TABLE_STRINGS].count), 0, CRATELD_ERROR_FORMAT, "tables: no strings"},
    {FIELD(tables[CRATE_TABLE_STRINGS].count), 2, CRATELD_ERROR_FORMAT,
     "strings: the first or the last byte is not NUL"},
    {FIELD(bucket_bits), 31, CRATELD_ERROR_FORMAT, "17 buckets for 31 hash bits"},
    {FIELD(entry_rva), 0x3000, CRATELD_ERROR_FORMAT, "entry 0x3000 is not within the text"},
    {FIELD(toc_rva), 0x4008, CRATELD_ERROR_FORMAT, "at 0x4008 is not page-aligned"},
    {FIELD(imported_functions), UINT32_MAX, CRATELD_ERROR_RANGE, "more than 31-bit offsets reach"},
    {FIELD(imported_globals), 0x1000, CRATELD_ERROR_FORMAT, "or not within the data"},
    {FIELD(lazy_stubs_rva), 0, CRATELD_ERROR_FORMAT, "lazy stubs 0x0 are not within the text"},
    {FIELD(init_array.count), UINT32_MAX, CRATELD_ERROR_FORMAT, "init_array: 4294967295 pointers at 0x4310"},
    {FIELD(types.rva), 0x47fc, CRATELD_ERROR_FORMAT, "types: 1 pointers at 0x47fc are not aligned"},
    {FIELD(types.count), 2, CRATELD_ERROR_FORMAT, "types: 2, but room for the numbers of 1"},
    {FIELD(tls_align), 24, CRATELD_ERROR_FORMAT, "thread-locals: alignment 24, wanted a power of two"},
    {FIELD(tls_rva), 0x47fc, CRATELD_ERROR_FORMAT, "thread-locals: image of 8 bytes at 0x47fc"},
    {FIELD(tls_mem_size), 0, CRATELD_ERROR_FORMAT, "thread-locals: an image of 8 bytes for none"},
    {FIELD(tls_mem_size), 4, CRATELD_ERROR_FORMAT, "8 bytes in the file and 4 in memory"},
    {FIELD(eh_frame_hdr_rva), 0x30f8, CRATELD_ERROR_FORMAT, "unwind tables: 12 bytes at 0x30f8"},
    {FIELD(toc_text_rva), 0x3000, CRATELD_ERROR_FORMAT, "TOC code at 0x3000 is not within the text"},
    {FIELD(carried_count), 1u << 20, CRATELD_ERROR_FORMAT,
     "carried patches: a list of 1048576 at 0x0 is not within the file: truncated?"},
    {FIELD(relink_size), 5, CRATELD_ERROR_FORMAT, "relink section: 5 bytes, but the flags say there is none"},
};

Test(crate_reader, each_fault_of_the_header_is_named)
{
    struct span file = crate_builder_make(NULL);
    uint64_t header_off;
    require_success(crate_header_find("shapes.crate", file, &header_off));
    for (size_t i = 0; i < sizeof header_faults / sizeof *header_faults; i++) {
        const struct header_fault *fault = &header_faults[i];
        uint8_t *place = (uint8_t *)file.data + header_off + fault->off, saved[8];
        struct crate_view view;
        memcpy(saved, place, fault->size);
        memcpy(place, &fault->value, fault->size);
        struct crateld_error *error = crate_view_open("shapes.crate", file, &view);
        cr_assert(error, "no error, wanted: %s", fault->text);
        cr_assert(strncmp(crateld_error_message(error), "shapes.crate: ", 14) == 0);
        require_error(error, fault->code, fault->text);
        memcpy(place, saved, fault->size);
    }
    free((void *)file.data);
}

Test(crate_reader, the_relink_section_must_lie_behind_the_segments)
{
    static const uint8_t relink[] = "any bytes";
    struct span file = crate_builder_make(&(struct crate_builder_opts){{relink, sizeof relink}, 0}), found;
    struct crate_view view;
    uint64_t header_off;
    require_success(crate_view_open("shapes.crate", file, &view));
    require_success(crate_view_relink(&view, file, &found));
    cr_assert(found.size == sizeof relink && memcmp(found.data, relink, sizeof relink) == 0);
    require_success(crate_header_find("shapes.crate", file, &header_off));
    uint64_t off = 0x4100;
    memcpy((uint8_t *)file.data + header_off + offsetof(struct crate_header, relink_off), &off, sizeof off);
    require_error(crate_view_open("shapes.crate", file, &view), CRATELD_ERROR_FORMAT,
                  "shapes.crate: relink section: at 0x4100 it overlaps the data segment");
    free((void *)file.data);
}

/* One change to an entry of a good crate's tables, and what the whole check must say. */
struct entry_fault {
    enum crate_table_kind table;
    size_t off; /* from the table's start */
    uint8_t size;
    uint64_t value;
    const char *text;
};

#define ENTRY(type, i, member)                                                                                         \
    (i) * sizeof(struct type) + offsetof(struct type, member), sizeof((struct type *)0)->member

static const struct entry_fault entry_faults[] = {
    {CRATE_TABLE_NEEDED, ENTRY(crate_needed, 0, name), 0, "needed[0]: it has no name"},
    {CRATE_TABLE_NEEDED, ENTRY(crate_needed, 1, path), 1u << 20, "needed[1]: path at 0x100000 is not within"},
    {CRATE_TABLE_NEEDED, ENTRY(crate_needed, 1, kind), 7, "needed[1]: unknown kind 7"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 0, hash), 7, "imports[0]: the hash is not that of the name 'sin'"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 0, needed), 2, "imports[0]: from needed 2 of 2"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 1, slot), 0, "imports[1]: function slot 0 of 4"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 2, fallback_rva), 0, "imports[2]: resolver 0x0 is not within"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 3, slot), 4, "imports[3]: global slot 4 of 4"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 4, slot), 3, "imports[4]: global slot 3 of 4"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 4, fallback_rva), 17, "0x11 is not within the crate's 16 bytes"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 0, kind), 3, "imports[1]: kind 1 is behind one of a later group"},
    {CRATE_TABLE_EXPORTS, ENTRY(crate_export, 9, name), 0, "exports[9]: it has no name"},
    {CRATE_TABLE_EXPORTS, ENTRY(crate_export, 9, kind), 9, "exports[9]: unknown kind 9"},
    {CRATE_TABLE_EXPORTS, ENTRY(crate_export, 9, rva), 1u << 30, "exports[9]: 0x40000000 (canonically"},
    {CRATE_TABLE_EXPORTS, ENTRY(crate_export, 9, import), 0, "exports[9]: import 0 of 5 says which copy won"},
    {CRATE_TABLE_BUCKETS, 4, 4, 100, "buckets[2]"},
    {CRATE_TABLE_BUCKETS, 64, 4, 41, "buckets[16]: they are for exports 0 to 41 of 40"},
    {CRATE_TABLE_HASHES, 12, 4, 7, "hashes[3]: 0x7, but the hash of"},
    {CRATE_TABLE_RELR, 16, 8, 0x5ff8, "relr[2]: a place that is not within the data"},
    {CRATE_TABLE_DATA_RELOCS, ENTRY(crate_data_reloc, 0, place_rva), 0x3000, "place 0x3000 is not within the data"},
    {CRATE_TABLE_DATA_RELOCS, ENTRY(crate_data_reloc, 0, import), 1, "import 1 of 5, wanted one of kind 3"},
    {CRATE_TABLE_FIXUPS, ENTRY(crate_fixup, 0, place_rva), 0x100, "fixups[0]: place 0x100 is not within the image"},
    {CRATE_TABLE_FIXUPS, ENTRY(crate_fixup, 1, kind), 9, "fixups[1]: unknown kind 9"},
    {CRATE_TABLE_FIXUPS, ENTRY(crate_fixup, 1, kind), CRATE_FIXUP_TPOFF32,
     "fixups[1]: import 3 of 5, wanted one of kind 4"},
    {CRATE_TABLE_IMPORTS, ENTRY(crate_import, 0, flags), CRATE_IMPORT_FLAG_BASE,
     "imports[0]: flags 0x8 and needed 0: a patch's base is needed 0"},
    {CRATE_TABLE_MODULES, ENTRY(crate_module, 0, path), 1u << 20, "modules[0]: path at 0x100000 is not within"},
    {CRATE_TABLE_MODULES, ENTRY(crate_module, 0, group), 1,
     "modules[0]: its group is 1, wanted at most its own number"},
    {CRATE_TABLE_MOVES, ENTRY(crate_move, 0, name), 1u << 20, "moves[0]: name at 0x100000 is not within"},
    {CRATE_TABLE_MOVES, ENTRY(crate_move, 1, new_rva), 0, "moves[1]: 0x0 is not within the text"},
    {CRATE_TABLE_MOVES, ENTRY(crate_move, 1, old_rva), 0x100, "moves[1]: 0x100 behind 0x100"},
    {CRATE_TABLE_MOVES, ENTRY(crate_move, 0, flags), 4, "moves[0]: unknown flags 0x4"},
    {CRATE_TABLE_MOVES, ENTRY(crate_move, 0, flags), 2, "is not within the data"},
    {CRATE_TABLE_MOVES, ENTRY(crate_move, 0, module), 1, "moves[0]: module 1 of 1"},
    {CRATE_TABLE_UNITS, ENTRY(crate_unit, 0, module), 7, "units[0]: module 7 of 1"},
    {CRATE_TABLE_UNITS, ENTRY(crate_unit, 1, size), 0xffffffff, "units[1]: 0xffffffff bytes at 0x200"},
    {CRATE_TABLE_UNITS, ENTRY(crate_unit, 1, rva), 0x11f, "units[1]: 0x11f behind 0x120"},
    {CRATE_TABLE_GROWN, ENTRY(crate_grown, 0, new_size), 4, "grown variables[0]: 4 bytes, which were 8, at"},
    {CRATE_TABLE_GROWN, ENTRY(crate_grown, 0, image_rva), 0, "grown variables[0]: 16 bytes, which were 8, at 0x0"},
    {CRATE_TABLE_GROWN, ENTRY(crate_grown, 1, base_rva), 0x507, "grown variables[1]: 0x507 behind 0x508"},
    {CRATE_TABLE_FRESH, ENTRY(crate_fresh, 0, rva), 0, "new variables[0]: 8 bytes at 0x0 are not within"},
    {CRATE_TABLE_FRESH, ENTRY(crate_fresh, 0, size), 12, "new variables[1]: 0x4350 behind 0x4354"},
    {CRATE_TABLE_GROWN, ENTRY(crate_grown, 0, on_change), 4,
     "grown variables[0]: what becomes of its value is 4, with flags 0x0"},
    {CRATE_TABLE_GROWN, ENTRY(crate_grown, 1, flags), 2,
     "grown variables[1]: what becomes of its value is 0, with flags 0x2"},
    {CRATE_TABLE_GROWN, ENTRY(crate_grown, 0, difference), 1u << 20, "grown variables[0]: difference at 0x100000"},
    {CRATE_TABLE_GROWN, ENTRY(crate_grown, 0, stranger), 1u << 20, "grown variables[0]: stranger at 0x100000"},
    {CRATE_TABLE_FRESH_TLS, ENTRY(crate_fresh, 0, size), 1u << 30,
     "new thread-locals[0]: 1073741824 bytes at 0x0 are not within"},
    {CRATE_TABLE_FRESH_TLS, ENTRY(crate_fresh, 1, rva), 7, "new thread-locals[1]: 0x7 behind 0x8"},
    {CRATE_TABLE_VANISHED, ENTRY(crate_vanished, 0, module), 1, "vanished exports[0]: module 1 of 1"},
    {CRATE_TABLE_STARTERS, ENTRY(crate_starter, 0, rva), 0, "initialisers[0]: 0x0 is not within the text"},
    {CRATE_TABLE_SITES, ENTRY(crate_site, 0, subject), 4, "sites[0]: subject 4 of 4, kind 0"},
    {CRATE_TABLE_SITES, ENTRY(crate_site, 1, kind), CRATE_FIXUP_TPOFF32, "sites[1]: subject 2 of 4, kind 4"},
    {CRATE_TABLE_INITS, ENTRY(crate_init, 0, size), 1u << 30, "initial values[0]: 1073741824 bytes at"},
    {CRATE_TABLE_INITS, ENTRY(crate_init, 1, base_rva), 0x300, "initial values[1]: 0x300 behind 0x300"},
};

Test(crate_reader, each_fault_of_an_entry_is_named)
{
    struct span file = crate_builder_make(NULL);
    struct crate_view view;
    require_success(crate_view_open("shapes.crate", file, &view));
    for (size_t i = 0; i < sizeof entry_faults / sizeof *entry_faults; i++) {
        const struct entry_fault *fault = &entry_faults[i];
        uint8_t *place = (uint8_t *)file.data + view.header.tables[fault->table].rva + fault->off, saved[8];
        memcpy(saved, place, fault->size);
        memcpy(place, &fault->value, fault->size);
        require_error(crate_view_check_all(&view), CRATELD_ERROR_FORMAT, fault->text);
        memcpy(place, saved, fault->size);
    }
    free((void *)file.data);
}

/* Reads all that a loader or tool reads, whatever it says. */
static void read_everything(struct span file)
{
    struct crate_view view;
    struct span relink;
    struct crateld_error *error = crate_view_open("shapes.crate", file, &view);
    if (!error) {
        find(&view, "main");
        find(&view, "nothing");
        crateld_error_destroy(crate_view_relink(&view, file, &relink));
        error = crate_view_check_all(&view);
    }
    if (error)
        cr_assert(strncmp(crateld_error_message(error), "shapes.crate: ", 14) == 0);
    crateld_error_destroy(error);
}

Test(crate_reader, a_flipped_bit_in_header_or_tables_is_an_error_or_another_crate)
{
    struct span file = crate_builder_make(NULL);
    struct crate_view view;
    uint8_t *bytes = (uint8_t *)file.data;
    require_success(crate_view_open("shapes.crate", file, &view));
    size_t size = view.header.segments[CRATE_SEGMENT_META].file_size;
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        read_everything(file);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
}

Test(crate_reader, each_truncation_is_an_error)
{
    struct span file = crate_builder_make(NULL);
    for (size_t size = 0; size < 0x4800; size++) {
        struct crate_view view;
        uint8_t *cut = malloc(size + !size);
        cr_assert_not_null(cut);
        memcpy(cut, file.data, size);
        struct crateld_error *error = crate_view_open("shapes.crate", (struct span){cut, size}, &view);
        cr_assert_not_null(error, "%zu bytes", size);
        crateld_error_destroy(error);
        free(cut);
    }
    free((void *)file.data);
}

Test(crate_reader, what_is_no_crate_is_told_apart)
{
    struct span file = crate_builder_make(NULL);
    uint8_t *bytes = (uint8_t *)file.data;
    struct crate_view view;
    require_error(crate_view_open("a.txt", (struct span){(const uint8_t *)"text....", 8}, &view), CRATELD_ERROR_FORMAT,
                  "a.txt: not a crate: it is no ELF file");
    Elf64_Phdr *phdr = (Elf64_Phdr *)(bytes + 64) + CRATE_SEGMENT_COUNT;
    phdr->p_type = PT_NOTE;
    require_error(crate_view_open("liba.so", file, &view), CRATELD_ERROR_FORMAT,
                  "liba.so: not a crate: it has no PT_CRATE program header");
    bytes[EI_CLASS] = ELFCLASS32;
    require_error(crate_view_open("liba.so", file, &view), CRATELD_ERROR_FORMAT,
                  "liba.so: not a crate: it is no little-endian 64-bit ELF file");
    free(bytes);
}

/* Two views whose strings are the given bytes, as far as this test looks at them. */
static bool same(const char *a, uint32_t a_size, uint32_t a_off, const char *b, uint32_t b_size, uint32_t b_off)
{
    struct crate_view x = {.strings = a}, y = {.strings = b};
    x.header.tables[CRATE_TABLE_STRINGS].count = a_size;
    y.header.tables[CRATE_TABLE_STRINGS].count = b_size;
    return crate_view_same_string(&x, a_off, &y, b_off);
}

Test(crate_reader, strings_of_two_crates_are_compared_to_their_ends)
{
    char a[64], b[64];
    for (uint32_t length = 0; length < 24; length++) {
        for (uint32_t behind = 1; behind < 24; behind += 11) {
            memset(a, 'x', sizeof a);
            memset(b, 'x', sizeof b);
            memset(b + 3 + length + 1, 'y', 10); /* what follows differs */
            a[2 + length] = b[3 + length] = 0;
            uint32_t a_size = 2 + length + behind, b_size = 3 + length + behind;
            a[a_size - 1] = b[b_size - 1] = 0;
            cr_assert(same(a, a_size, 2, b, b_size, 3), "%u %u", length, behind);
            for (uint32_t i = 0; i < length; i++) {
                b[3 + i] ^= 1;
                cr_assert_not(same(a, a_size, 2, b, b_size, 3), "%u %u %u", length, behind, i);
                b[3 + i] = 0;
                cr_assert_not(same(a, a_size, 2, b, b_size, 3));
                cr_assert_not(same(b, b_size, 3, a, a_size, 2));
                b[3 + i] = 'x';
            }
        }
    }
    cr_assert_not(same("a", 2, 2, "a", 2, 0));
    cr_assert_not(same("a", 2, 0, "a", 2, 5));
}

#include "tests/unit/crate_builder.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "crate/build_id.h"
#include "crateld/format.h"
#include "crateld/toc.h"
#include "toc/shape.h"

enum {
    TEXT_RVA = 0x2000,
    TEXT_SIZE = 0x300,
    RODATA_RVA = 0x3000,
    RODATA_SIZE = 0x100,
    DATA_RVA = 0x4000, /* the TOC first */
    DATA_FILE_SIZE = 0x800,
    DATA_MEM_SIZE = 0x1800,
    PREFERRED_BASE = 0x10000000,
    HEADER_OFF = 64 + 5 * 56 + 8, /* behind the ELF header and five program headers, aligned */
    BUCKET_BITS = 4,
};

/* The file under construction. */
struct image {
    uint8_t bytes[64 << 10];
    uint32_t end;     /* of the meta segment, as far as it is filled */
    uint32_t strings; /* of the string table, as far as it is filled */
    char string_bytes[4096];
    struct crate_header header;
};

static uint32_t add_string(struct image *image, const char *text)
{
    uint32_t off = image->strings;
    memcpy(image->string_bytes + off, text, strlen(text) + 1);
    image->strings += (uint32_t)strlen(text) + 1;
    return off;
}

static void add_table(struct image *image, enum crate_table_kind kind, const void *bytes, uint32_t count, uint32_t size)
{
    image->end = (image->end + 7) & ~7u;
    image->header.tables[kind] = (struct crate_table){image->end, count};
    memcpy(image->bytes + image->end, bytes, (size_t)count * size);
    image->end += count * size;
    cr_assert_leq(image->end, TEXT_RVA);
}

static void add_needed(struct image *image)
{
    struct crate_needed needed[] = {
        {.name = add_string(image, "libm.so.6"), .kind = CRATE_NEEDED_ELF},
        {.name = add_string(image, "base"),
         .path = add_string(image, "base.crate"),
         .kind = CRATE_NEEDED_CRATE,
         .flags = CRATE_NEEDED_FLAG_EAGER,
         .build_id = "0123456789abcde"},
    };
    add_table(image, CRATE_TABLE_NEEDED, needed, 2, sizeof *needed);
}

static void add_imports(struct image *image)
{
    static const struct {
        const char *name, *version;
        struct crate_import import;
    } given[] = {
        {"sin", "GLIBC_2.2.5", {.needed = 0, .slot = 0, .kind = CRATE_IMPORT_CALL_PLAIN}},
        {"base_draw", "", {.needed = 1, .slot = 1, .kind = CRATE_IMPORT_CALL_TOC}},
        {"", "", {.needed = CRATE_NONE, .slot = 2, .kind = CRATE_IMPORT_IFUNC, .fallback_rva = TEXT_RVA + 0x80}},
        {"base_scale", "", {.needed = 1, .slot = 0, .kind = CRATE_IMPORT_ADDRESS, .flags = CRATE_IMPORT_FLAG_WEAK}},
        {"counter",
         "",
         {.needed = CRATE_NONE,
          .slot = 1,
          .kind = CRATE_IMPORT_TLS_INDEX,
          .flags = CRATE_IMPORT_FLAG_SELF,
          .fallback_rva = 4}},
    };
    struct crate_import imports[5];
    for (int i = 0; i < 5; i++) {
        imports[i] = given[i].import;
        imports[i].hash = hash_string(given[i].name);
        imports[i].name = *given[i].name ? add_string(image, given[i].name) : 0;
        imports[i].version = *given[i].version ? add_string(image, given[i].version) : 0;
    }
    add_table(image, CRATE_TABLE_IMPORTS, imports, 5, sizeof *imports);
}

static int compare_exports(const void *left, const void *right)
{
    const struct crate_export *a = left, *b = right;
    return a->hash < b->hash ? -1 : a->hash > b->hash;
}

static void add_exports(struct image *image)
{
    struct crate_export exports[CRATE_BUILDER_EXPORTS] = {
        {.name = add_string(image, "main"), .rva = TEXT_RVA + 0x100, .canonical_rva = TEXT_RVA + 0x100},
        {.name = add_string(image, "draw"),
         .rva = TEXT_RVA + 0x200,
         .canonical_rva = TEXT_RVA + 0x240,
         .kind = CRATE_EXPORT_FUNCTION_TOC},
        {.name = add_string(image, "table"),
         .rva = DATA_RVA + 0x300,
         .canonical_rva = DATA_RVA + 0x300,
         .size = 64,
         .kind = CRATE_EXPORT_DATA},
        {.name = add_string(image, "counter"), .rva = 4, .size = 4, .kind = CRATE_EXPORT_TLS},
        {.name = add_string(image, "answer"), .rva = 42, .kind = CRATE_EXPORT_ABSOLUTE},
    };
    for (int i = 5; i < CRATE_BUILDER_EXPORTS; i++) {
        char name[] = {'f', (char)('0' + i / 10), (char)('0' + i % 10), 0};
        const char *text = i < 10 ? (name[1] = name[2], name[2] = 0, name) : name;
        exports[i] = (struct crate_export){
            .name = add_string(image, text), .rva = TEXT_RVA + 0x100, .canonical_rva = TEXT_RVA + 0x100, .size = 3};
    }
    for (int i = 0; i < CRATE_BUILDER_EXPORTS; i++) {
        exports[i].hash = hash_string(image->string_bytes + exports[i].name);
        exports[i].import = CRATE_NONE;
    }
    qsort(exports, CRATE_BUILDER_EXPORTS, sizeof *exports, compare_exports);
    add_table(image, CRATE_TABLE_EXPORTS, exports, CRATE_BUILDER_EXPORTS, sizeof *exports);
    uint32_t buckets[(1 << BUCKET_BITS) + 1] = {0};
    for (int i = 0; i < CRATE_BUILDER_EXPORTS; i++)
        buckets[(exports[i].hash >> (64 - BUCKET_BITS)) + 1]++;
    for (int i = 1; i <= 1 << BUCKET_BITS; i++)
        buckets[i] += buckets[i - 1];
    add_table(image, CRATE_TABLE_BUCKETS, buckets, (1 << BUCKET_BITS) + 1, sizeof *buckets);
    uint32_t hashes[CRATE_BUILDER_EXPORTS];
    for (int i = 0; i < CRATE_BUILDER_EXPORTS; i++)
        hashes[i] = (uint32_t)(exports[i].hash >> 32);
    add_table(image, CRATE_TABLE_HASHES, hashes, CRATE_BUILDER_EXPORTS, sizeof *hashes);
    image->header.bucket_bits = BUCKET_BITS;
}

static void add_relocs(struct image *image)
{
    /* The TOC's three function slots, and two words of data through a bitmap. */
    uint64_t first = sizeof(struct crateld_toc);
    uint64_t relr[] = {DATA_RVA + first, 0x2 | 1 << 2 | 1 << 4 | 1, DATA_RVA + 0x310};
    struct crate_data_reloc reloc = {DATA_RVA + 0x340, 3, 8};
    struct crate_fixup fixups[] = {
        {RODATA_RVA + 0x10, CRATE_NONE, 0x2100, CRATE_FIXUP_ABS32, 0},
        {TEXT_RVA + 0x104, 3, -4, CRATE_FIXUP_PC32, 0},
    };
    add_table(image, CRATE_TABLE_RELR, relr, 3, sizeof *relr);
    add_table(image, CRATE_TABLE_DATA_RELOCS, &reloc, 1, sizeof reloc);
    add_table(image, CRATE_TABLE_FIXUPS, fixups, 2, sizeof *fixups);
    struct crate_module module = {add_string(image, "libx.a"), add_string(image, "y.o"), 0};
    struct crate_move moves[] = {
        {.name = add_string(image, "moved"), .old_rva = 0x100, .new_rva = TEXT_RVA + 0x110},
        {.name = add_string(image, "moved_too"), .old_rva = 0x200, .new_rva = TEXT_RVA + 0x120},
    };
    struct crate_unit units[] = {{0, 0x100, 0x20, 0}, {0, 0x200, 0x10, 0}};
    struct crate_init inits[] = {
        {add_string(image, "variable"), 0, 0x300, 8, DATA_RVA + 0x340, 0},
        {add_string(image, "other"), 0, 0x400, 4, DATA_RVA + 0x348, 0},
    };
    struct crate_grown grown[] = {
        {.name = add_string(image, "array"),
         .base_rva = 0x500,
         .old_size = 8,
         .new_size = 16,
         .image_rva = DATA_RVA + 0x350},
        {.name = add_string(image, "list"),
         .base_rva = 0x508,
         .old_size = 4,
         .new_size = 8,
         .image_rva = DATA_RVA + 0x360},
    };
    struct crate_fresh fresh[] = {
        {add_string(image, "new"), 0, DATA_RVA + 0x348, 8, 0},
        {add_string(image, "newer"), 0, DATA_RVA + 0x350, 4, 0},
    };
    struct crate_fresh fresh_tls[] = {
        {add_string(image, "thread_local"), 0, 0, 8, 0},
        {add_string(image, "another"), 0, 8, 4, 0},
    };
    struct crate_vanished vanished = {add_string(image, "vanished"), 0};
    struct crate_starter starter = {.name = add_string(image, "starter"), .rva = TEXT_RVA + 0x130};
    struct crate_site sites[] = {{0x600, 1, -4, CRATE_FIXUP_PC32}, {0x700, 2, 0, CRATE_FIXUP_ABS64}};
    add_table(image, CRATE_TABLE_MODULES, &module, 1, sizeof module);
    add_table(image, CRATE_TABLE_MOVES, moves, 2, sizeof *moves);
    add_table(image, CRATE_TABLE_UNITS, units, 2, sizeof *units);
    add_table(image, CRATE_TABLE_INITS, inits, 2, sizeof *inits);
    add_table(image, CRATE_TABLE_GROWN, grown, 2, sizeof *grown);
    add_table(image, CRATE_TABLE_FRESH, fresh, 2, sizeof *fresh);
    add_table(image, CRATE_TABLE_SITES, sites, 2, sizeof *sites);
    add_table(image, CRATE_TABLE_FRESH_TLS, fresh_tls, 2, sizeof *fresh_tls);
    add_table(image, CRATE_TABLE_VANISHED, &vanished, 1, sizeof vanished);
    add_table(image, CRATE_TABLE_STARTERS, &starter, 1, sizeof starter);
}

static void fill_header(struct image *image)
{
    struct crate_header *header = &image->header;
    header->magic = CRATE_MAGIC;
    header->abi_major = CRATE_ABI_MAJOR;
    header->abi_minor = CRATE_ABI_MINOR;
    header->machine = EM_X86_64;
    header->header_size = sizeof *header;
    header->flags = CRATE_FLAG_TEXT_FIXUPS | CRATE_FLAG_TOC_CODE | CRATE_FLAG_EAGER;
    header->preferred_base = PREFERRED_BASE;
    header->image_align = CRATE_PAGE_SIZE;
    header->image_size = 0x6000;
    header->reserve_size = 0x10000;
    header->segments[CRATE_SEGMENT_META] = (struct crate_segment){0, image->end, image->end};
    header->segments[CRATE_SEGMENT_TEXT] = (struct crate_segment){TEXT_RVA, TEXT_SIZE, TEXT_SIZE};
    header->segments[CRATE_SEGMENT_RODATA] = (struct crate_segment){RODATA_RVA, RODATA_SIZE, RODATA_SIZE};
    header->segments[CRATE_SEGMENT_DATA] = (struct crate_segment){DATA_RVA, DATA_FILE_SIZE, DATA_MEM_SIZE};
    header->entry_rva = TEXT_RVA + 0x100;
    header->toc_rva = DATA_RVA;
    header->imported_functions = 4; /* one spare */
    header->imported_globals = 4;
    header->func_refs = 2;
    header->type_ids = 1;
    header->lazy_stubs_rva = TEXT_RVA;
    header->init_array = (struct crate_array){DATA_RVA + 0x310, 1};
    header->types = (struct crate_array){DATA_RVA + 0x310, 1};
    header->tls_rva = DATA_RVA + 0x380;
    header->tls_file_size = 8;
    header->tls_mem_size = 16;
    header->tls_align = 8;
    header->eh_frame_hdr_rva = RODATA_RVA + 0x20;
    header->eh_frame_hdr_size = 12;
    header->toc_text_rva = TEXT_RVA + 0x200;
}

/* Code that returns, and a TOC whose slots lead to it. */
static void fill_contents(struct image *image)
{
    memset(image->bytes + TEXT_RVA, 0xc3, TEXT_SIZE);
    struct crateld_toc toc = {.magic = CRATELD_TOC_MAGIC};
    memcpy(image->bytes + DATA_RVA, &toc, sizeof toc);
    for (uint32_t i = 0; i < 3; i++) {
        struct crateld_function slot = {PREFERRED_BASE + TEXT_RVA + i * 0x10, PREFERRED_BASE + DATA_RVA};
        memcpy(image->bytes + DATA_RVA + sizeof toc + i * sizeof slot, &slot, sizeof slot);
    }
}

/* What lies behind the segments: sections that are not loaded, and the section headers. */
struct tail {
    Elf64_Shdr sections[8];
    uint16_t count;
    char names[128];
    uint32_t name_end;
    uint64_t end; /* of the file */
};

static void add_section(struct image *image, struct tail *tail, const char *name, Elf64_Shdr section, const void *bytes)
{
    section.sh_name = tail->name_end;
    memcpy(tail->names + tail->name_end, name, strlen(name) + 1);
    tail->name_end += (uint32_t)strlen(name) + 1;
    if (!(section.sh_flags & SHF_ALLOC)) {
        tail->end = (tail->end + 7) & ~UINT64_C(7);
        section.sh_offset = tail->end;
        cr_assert_leq(tail->end + section.sh_size, sizeof image->bytes - sizeof tail->sections);
        if (bytes)
            memcpy(image->bytes + tail->end, bytes, section.sh_size);
        tail->end += section.sh_size;
    }
    tail->sections[tail->count++] = section;
}

static void add_sections(struct image *image, struct tail *tail, const struct crate_builder_opts *opts)
{
    static const char strings[] = "\0main";
    Elf64_Sym symbols[] = {{0},
                           {.st_name = 1,
                            .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                            .st_shndx = 1,
                            .st_value = PREFERRED_BASE + TEXT_RVA + 0x100,
                            .st_size = 3}};
    tail->count = 1;
    tail->name_end = 1;
    tail->end = DATA_RVA + DATA_FILE_SIZE;
    add_section(image, tail, ".text",
                (Elf64_Shdr){.sh_type = SHT_PROGBITS,
                             .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                             .sh_addr = PREFERRED_BASE + TEXT_RVA,
                             .sh_offset = TEXT_RVA,
                             .sh_size = TEXT_SIZE,
                             .sh_addralign = 16},
                NULL);
    if (opts->relink.size) {
        image->header.relink_off = (tail->end + 7) & ~UINT64_C(7);
        image->header.relink_size = opts->relink.size;
        image->header.flags |= CRATE_FLAG_HAS_RELINK;
        add_section(image, tail, ".crate.relink",
                    (Elf64_Shdr){.sh_type = SHT_PROGBITS, .sh_size = opts->relink.size, .sh_addralign = 8},
                    opts->relink.data);
    }
    if (opts->debug_size)
        add_section(image, tail, ".debug_info",
                    (Elf64_Shdr){.sh_type = SHT_PROGBITS, .sh_size = opts->debug_size, .sh_addralign = 1}, NULL);
    add_section(image, tail, ".symtab",
                (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                             .sh_size = sizeof symbols,
                             .sh_link = tail->count + 1u,
                             .sh_info = 1,
                             .sh_addralign = 8,
                             .sh_entsize = sizeof *symbols},
                symbols);
    add_section(image, tail, ".strtab",
                (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_size = sizeof strings, .sh_addralign = 1}, strings);
    add_section(image, tail, ".shstrtab",
                (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_size = tail->name_end + 10, .sh_addralign = 1}, tail->names);
    memcpy(image->bytes + tail->sections[tail->count - 1].sh_offset, tail->names, tail->name_end);
}

static void add_elf_header(struct image *image, struct tail *tail)
{
    tail->end = (tail->end + 7) & ~UINT64_C(7);
    Elf64_Ehdr ehdr = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_DYN,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof ehdr,
        .e_shoff = tail->end,
        .e_ehsize = sizeof ehdr,
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = CRATE_SEGMENT_COUNT + 1,
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = tail->count,
        .e_shstrndx = (uint16_t)(tail->count - 1),
    };
    static const uint32_t flags[CRATE_SEGMENT_COUNT] = {PF_R, PF_R | PF_X, PF_R, PF_R | PF_W};
    Elf64_Phdr phdrs[CRATE_SEGMENT_COUNT + 1];
    for (int i = 0; i < CRATE_SEGMENT_COUNT; i++) {
        struct crate_segment segment = image->header.segments[i];
        phdrs[i] = (Elf64_Phdr){PT_LOAD,
                                flags[i],
                                segment.rva,
                                PREFERRED_BASE + segment.rva,
                                PREFERRED_BASE + segment.rva,
                                segment.file_size,
                                segment.mem_size,
                                CRATE_PAGE_SIZE};
    }
    phdrs[CRATE_SEGMENT_COUNT] = (Elf64_Phdr){CRATE_PT_CRATE,
                                              PF_R,
                                              HEADER_OFF,
                                              PREFERRED_BASE + HEADER_OFF,
                                              PREFERRED_BASE + HEADER_OFF,
                                              sizeof image->header,
                                              sizeof image->header,
                                              8};
    memcpy(image->bytes + tail->end, tail->sections, tail->count * sizeof *tail->sections);
    tail->end += tail->count * sizeof *tail->sections;
    memcpy(image->bytes, &ehdr, sizeof ehdr);
    memcpy(image->bytes + sizeof ehdr, phdrs, sizeof phdrs);
}

struct span crate_builder_make(const struct crate_builder_opts *opts)
{
    static const struct crate_builder_opts defaults;
    struct image *image = calloc(1, sizeof *image);
    cr_assert_not_null(image);
    struct tail tail = {0};
    image->strings = 1;
    image->end = HEADER_OFF + sizeof image->header;
    image->header.name = add_string(image, "shapes");
    add_needed(image);
    add_imports(image);
    add_exports(image);
    add_relocs(image);
    add_table(image, CRATE_TABLE_STRINGS, image->string_bytes, image->strings, 1);
    fill_header(image);
    fill_contents(image);
    add_sections(image, &tail, opts ? opts : &defaults);
    add_elf_header(image, &tail);
    struct span file = {image->bytes, (size_t)tail.end};
    crate_seal(file, HEADER_OFF, &image->header);
    memcpy(image->bytes + HEADER_OFF, &image->header, sizeof image->header);
    uint8_t *copy = malloc(file.size);
    cr_assert_not_null(copy);
    memcpy(copy, image->bytes, file.size);
    free(image);
    return (struct span){copy, file.size};
}

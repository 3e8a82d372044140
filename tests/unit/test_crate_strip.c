/* Stripping crates: what goes, what stays, and files that are damaged. */
#include <criterion/criterion.h>
#include <gelf.h>
#include <libelf.h>

#include "crate/check.h"
#include "crate/strip.h"
#include "tests/unit/crate_builder.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"

TestSuite(crate_strip, .fini = require_no_leaks);

static const uint8_t relink_bytes[] = "the relink section's bytes";

/* A crate with everything that can be stripped. */
static struct span full_crate(void)
{
    return crate_builder_make(&(struct crate_builder_opts){{relink_bytes, sizeof relink_bytes}, 1000});
}

static struct crate_stripped strip(struct span file, unsigned what)
{
    struct crate_stripped stripped;
    require_success(crate_strip("shapes.crate", file, what, &stripped));
    return stripped;
}

/* Whether the ELF file has a section called `name`; libelf must be content with it. */
static bool has_section(const struct crate_stripped *stripped, const char *name)
{
    elf_version(EV_CURRENT);
    Elf *elf = elf_memory((char *)stripped->bytes, stripped->size);
    size_t names;
    bool is_found = false;
    cr_assert_not_null(elf);
    cr_assert_eq(elf_getshdrstrndx(elf, &names), 0);
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
        GElf_Shdr header;
        cr_assert_not_null(gelf_getshdr(section, &header));
        cr_assert_not_null(elf_getdata(section, NULL));
        is_found |= strcmp(elf_strptr(elf, names, header.sh_name), name) == 0;
    }
    elf_end(elf);
    return is_found;
}

/* The loaded contents and the build id must be those of `file`. */
static void require_same_contents(struct span file, const struct crate_stripped *stripped, struct crate_view *view)
{
    struct crate_view before;
    require_success(crate_view_open("shapes.crate", file, &before));
    require_success(crate_view_open("shapes.crate", (struct span){stripped->bytes, stripped->size}, view));
    require_success(crate_view_check_all(view));
    cr_assert_arr_eq(view->header.build_id, before.header.build_id, 16);
    for (int kind = CRATE_SEGMENT_TEXT; kind < CRATE_SEGMENT_COUNT; kind++) {
        struct crate_segment segment = before.header.segments[kind];
        cr_assert_arr_eq(stripped->bytes + segment.rva, file.data + segment.rva, segment.file_size);
    }
}

Test(crate_strip, everything_but_the_loaded_contents_goes)
{
    struct span file = full_crate();
    struct crate_stripped stripped = strip(file, CRATE_STRIP_ALL);
    struct crate_view view;
    require_same_contents(file, &stripped, &view);
    cr_assert_not(view.header.flags & CRATE_FLAG_HAS_RELINK);
    cr_assert(view.header.relink_off == 0 && view.header.relink_size == 0);
    cr_assert_not(has_section(&stripped, ".crate.relink"));
    cr_assert_not(has_section(&stripped, ".symtab"));
    cr_assert_not(has_section(&stripped, ".strtab"));
    cr_assert_not(has_section(&stripped, ".debug_info"));
    cr_assert(has_section(&stripped, ".text"));
    cr_assert(stripped.relink_size == sizeof relink_bytes && stripped.debug_size == 1000);
    cr_assert_eq(stripped.symbols_size, 2 * sizeof(Elf64_Sym) + 6);
    cr_assert_lt(stripped.size + 1000 + sizeof relink_bytes, file.size);
    free(stripped.bytes);
    free((void *)file.data);
}

Test(crate_strip, relink_only_keeps_the_symbols_right)
{
    struct span file = full_crate();
    struct crate_stripped stripped = strip(file, CRATE_STRIP_RELINK);
    struct crate_view view;
    require_same_contents(file, &stripped, &view);
    cr_assert_not(has_section(&stripped, ".crate.relink"));
    cr_assert(has_section(&stripped, ".symtab") && has_section(&stripped, ".debug_info"));
    Elf *elf = elf_memory((char *)stripped.bytes, stripped.size);
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
        GElf_Shdr header;
        GElf_Sym symbol;
        gelf_getshdr(section, &header);
        if (header.sh_type != SHT_SYMTAB)
            continue;
        cr_assert_not_null(gelf_getsym(elf_getdata(section, NULL), 1, &symbol));
        cr_assert_str_eq(elf_strptr(elf, header.sh_link, symbol.st_name), "main");
        cr_assert_eq(symbol.st_shndx, 1);
    }
    elf_end(elf);
    free(stripped.bytes);
    free((void *)file.data);
}

Test(crate_strip, debug_only_keeps_the_relink_section)
{
    struct span file = full_crate(), relink;
    struct crate_stripped stripped = strip(file, CRATE_STRIP_DEBUG);
    struct crate_view view;
    require_same_contents(file, &stripped, &view);
    cr_assert_not(has_section(&stripped, ".debug_info"));
    cr_assert(has_section(&stripped, ".crate.relink") && has_section(&stripped, ".symtab"));
    require_success(crate_view_relink(&view, (struct span){stripped.bytes, stripped.size}, &relink));
    cr_assert_eq(relink.size, sizeof relink_bytes);
    cr_assert_arr_eq(relink.data, relink_bytes, sizeof relink_bytes);
    free(stripped.bytes);
    free((void *)file.data);
}

Test(crate_strip, stripping_again_changes_nothing)
{
    struct span file = full_crate();
    struct crate_stripped once = strip(file, CRATE_STRIP_ALL);
    struct crate_stripped twice = strip((struct span){once.bytes, once.size}, CRATE_STRIP_ALL);
    cr_assert_eq(once.size, twice.size);
    cr_assert_arr_eq(once.bytes, twice.bytes, once.size);
    cr_assert_eq(twice.relink_size + twice.symbols_size + twice.debug_size, 0);
    free(once.bytes);
    free(twice.bytes);
    free((void *)file.data);
}

/* Strips whatever it is; if that succeeds, the result must be a crate. */
static void strip_damaged(struct span file, unsigned what)
{
    struct crate_stripped stripped;
    struct crateld_error *error = crate_strip("shapes.crate", file, what, &stripped);
    if (!error) {
        struct crate_view view;
        require_success(crate_view_open("shapes.crate", (struct span){stripped.bytes, stripped.size}, &view));
        free(stripped.bytes);
    }
    crateld_error_destroy(error);
}

Test(crate_strip, flipped_bits_in_headers_are_errors_or_other_crates)
{
    struct span file = full_crate();
    uint8_t *bytes = (uint8_t *)file.data;
    Elf64_Ehdr ehdr;
    memcpy(&ehdr, bytes, sizeof ehdr);
    for (size_t bit = 0; bit < file.size * 8; bit++) {
        if (bit / 8 == sizeof(Elf64_Ehdr) + 900)
            bit = ehdr.e_shoff * 8; /* from the crate header to the section headers */
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        strip_damaged(file, bit % 2 ? CRATE_STRIP_ALL : CRATE_STRIP_DEBUG);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
}

Test(crate_strip, sections_outside_the_file_are_named)
{
    struct span file = full_crate();
    struct crate_stripped stripped;
    Elf64_Ehdr ehdr;
    memcpy(&ehdr, file.data, sizeof ehdr);
    Elf64_Shdr *header = (Elf64_Shdr *)(file.data + ehdr.e_shoff) + 3;
    header->sh_offset = file.size;
    require_error(crate_strip("shapes.crate", file, CRATE_STRIP_ALL, &stripped), CRATELD_ERROR_FORMAT,
                  "shapes.crate: section 3: 1000 bytes at 0x");
    free((void *)file.data);
}

/* Archives as binutils and LLVM make them, compared with what `ar` and `nm` say of them; and broken ones. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linker/archive.h"
#include "tests/unit/errors.h"
#include "tests/unit/leaks.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;

static void set_up(void)
{
    scratch_init(&scratch);
}

static void tear_down(void)
{
    scratch_deinit(&scratch);
    require_no_leaks();
}

TestSuite(linker_archive, .init = set_up, .fini = tear_down, .timeout = 300);

/* f.o defines f and f2, a_name_longer_than_sixteen.o defines g. */
static void make_objects(void)
{
    scratch_run(&scratch, "echo 'int f(void){return 1;} int f2 = 3;' | gcc -c -x c - -o f.o && "
                          "echo 'int g(void){return 1;}' | gcc -c -x c - -o a_name_longer_than_sixteen.o");
}

static void require_member(struct archive *archive, uint32_t idx, const char *name, const char *file)
{
    cr_assert_lt(idx, archive->member_count);
    cr_assert_str_eq(archive->members[idx].name, name);
    struct span data;
    require_success(archive_member_data(archive, idx, &data));
    struct file expected;
    require_success(file_open(scratch_path(&scratch, file), &expected));
    cr_assert_eq(data.size, expected.data.size);
    cr_assert_eq(memcmp(data.data, expected.data.data, data.size), 0);
    file_close(&expected);
}

/* The three symbols of make_objects' files, which are members `first` and `second`. */
static void require_symbols(const struct archive *archive, uint32_t first, uint32_t second)
{
    cr_assert(archive->has_index);
    cr_assert_eq(archive->symbol_count, 3);
    cr_assert_str_eq(archive->symbols[0].name, "f");
    cr_assert_str_eq(archive->symbols[1].name, "f2");
    cr_assert_str_eq(archive->symbols[2].name, "g");
    cr_assert_eq(archive->symbols[0].member_idx, first);
    cr_assert_eq(archive->symbols[1].member_idx, first);
    cr_assert_eq(archive->symbols[2].member_idx, second);
}

Test(linker_archive, members_and_index_of_a_gnu_archive_are_read)
{
    make_objects();
    scratch_run(&scratch, "ar rcs x.a f.o a_name_longer_than_sixteen.o");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    cr_assert_not(archive.is_thin);
    cr_assert_eq(archive.member_count, 2);
    require_member(&archive, 0, "f.o", "f.o");
    require_member(&archive, 1, "a_name_longer_than_sixteen.o", "a_name_longer_than_sixteen.o");
    cr_assert_eq((uintptr_t)archive.members[1].data.data % 2, 0);
    require_symbols(&archive, 0, 1);
    archive_deinit(&archive);
}

Test(linker_archive, members_of_odd_size_are_padded)
{
    scratch_run(&scratch, "printf abc >a; printf d >b; printf efghi >c; ar rcS x.a a b c");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    cr_assert_eq(archive.member_count, 3);
    require_member(&archive, 0, "a", "a");
    require_member(&archive, 1, "b", "b");
    require_member(&archive, 2, "c", "c");
    cr_assert_not(archive.has_index);
    archive_deinit(&archive);
}

Test(linker_archive, the_last_padding_byte_may_be_missing)
{
    scratch_run(&scratch, "printf abc >a; ar rcS x.a a; truncate -s -1 x.a");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    require_member(&archive, 0, "a", "a");
    archive_deinit(&archive);
}

Test(linker_archive, an_archive_without_members_is_empty)
{
    scratch_run(&scratch, "ar rc x.a");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    cr_assert_eq(archive.member_count, 0);
    cr_assert_eq(archive.symbol_count, 0);
    archive_deinit(&archive);
}

Test(linker_archive, thin_members_are_files_beside_the_archive)
{
    make_objects();
    scratch_run(&scratch, "mkdir sub && cp f.o sub/f.o && cd sub && ar rcsT x.a f.o ../a_name_longer_than_sixteen.o");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "sub/x.a"), &archive));
    cr_assert(archive.is_thin);
    require_member(&archive, 0, "f.o", "f.o");
    require_member(&archive, 0, "f.o", "f.o"); /* again, from what is open */
    require_member(&archive, 1, "../a_name_longer_than_sixteen.o", "a_name_longer_than_sixteen.o");
    require_symbols(&archive, 0, 1);
    archive_deinit(&archive);
}

Test(linker_archive, thin_archives_refer_into_other_archives)
{
    make_objects();
    scratch_run(&scratch, "ar rcs inner.a f.o a_name_longer_than_sixteen.o; cp f.o h.o; ar rcsT x.a inner.a h.o");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    cr_assert_eq(archive.member_count, 3);
    require_member(&archive, 0, "inner.a", "f.o");
    require_member(&archive, 1, "inner.a", "a_name_longer_than_sixteen.o");
    require_member(&archive, 2, "h.o", "h.o");
    archive_deinit(&archive);
}

Test(linker_archive, a_thin_member_that_is_gone_is_reported)
{
    make_objects();
    scratch_run(&scratch, "ar rcsT x.a f.o; rm f.o");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    struct span data;
    require_error(archive_member_data(&archive, 0, &data), CRATELD_ERROR_IO, "x.a(f.o): ");
    archive_deinit(&archive);
}

Test(linker_archive, an_archive_that_contains_itself_is_refused)
{
    static const char text[] = "!<thin>\n"
                               "//                                              6         `\n"
                               "x.a/\n\n"
                               "/0:74           0           0     0     644     8         `\n";
    scratch_write(&scratch, "x.a", text, sizeof text - 1);
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    struct span data;
    require_error(archive_member_data(&archive, 0, &data), CRATELD_ERROR_FORMAT, "has no member at 0x4a");
    archive_deinit(&archive);
}

Test(linker_archive, bsd_long_names_are_read)
{
    make_objects();
    scratch_run(&scratch, "llvm-ar rcS --format=bsd x.a a_name_longer_than_sixteen.o f.o");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    cr_assert_eq(archive.member_count, 2);
    require_member(&archive, 0, "a_name_longer_than_sixteen.o", "a_name_longer_than_sixteen.o");
    require_member(&archive, 1, "f.o", "f.o");
    archive_deinit(&archive);
}

Test(linker_archive, a_64_bit_index_is_read)
{
    make_objects();
    /* llvm-ar writes /SYM64/ when asked to by this environment variable's threshold. */
    scratch_run(&scratch, "SYM64_THRESHOLD=1 llvm-ar rcs x.a f.o a_name_longer_than_sixteen.o; "
                          "head -c 16 x.a | grep -q SYM64");
    struct archive archive;
    require_success(archive_open(scratch_path(&scratch, "x.a"), &archive));
    require_symbols(&archive, 0, 1);
    archive_deinit(&archive);
}

/* An archive of `text`, which must fail with `message`. */
static void require_broken(const char *text, const char *message)
{
    struct archive archive;
    struct span data = {(const uint8_t *)text, strlen(text)};
    require_error(archive_init(data, "lib/x.a", &archive), CRATELD_ERROR_FORMAT, message);
}

Test(linker_archive, broken_headers_are_reported_with_their_offset)
{
    require_broken("", "lib/x.a: does not start as an archive does");
    require_broken("!<arch>\nf.o/", "lib/x.a: member header at 0x8: 4 bytes are left, a header has 60");
    require_broken("!<arch>\nf.o/            0           0     0     644     8         xx",
                   "0x8: does not end in '`' and a newline");
    require_broken("!<arch>\nf.o/            0           0     0     644     8x        `\n",
                   "size '8x        ' is no decimal number");
    require_broken("!<arch>\nf.o/            0           0     0     644               `\n", "is no decimal number");
    require_broken("!<arch>\nf.o/            0           0     0     644     9999999999`\nabc",
                   "'f.o/' has 9999999999 bytes, 3 are left");
    require_broken("!<arch>\n                0           0     0     644     0         `\n", "has no name");
}

Test(linker_archive, broken_names_are_reported)
{
    require_broken("!<arch>\n/12             0           0     0     644     0         `\n",
                   "name at 12 is outside the 0 bytes of long names");
    require_broken("!<arch>\n/x              0           0     0     644     0         `\n", "name '/x' is no offset");
    require_broken("!<arch>\n/1:2            0           0     0     644     0         `\n",
                   "name '/1:2' is no offset");
    require_broken("!<thin>\n/1:             0           0     0     644     0         `\n", "has no offset after ':'");
    require_broken("!<arch>\n#1/9            0           0     0     644     4         `\nabcd",
                   "name '#1/9' does not fit the member's 4 bytes");
}

Test(linker_archive, a_broken_index_is_reported)
{
    static const char few[] = "!<arch>\n/               0           0     0     0       4         `\n\0\0\1\0";
    static const char nameless[] = "!<arch>\n/               0           0     0     0       10        `\n"
                                   "\0\0\0\1\0\0\0\x8"
                                   "fg";
    static const char lost[] = "!<arch>\n/               0           0     0     0       10        `\n"
                               "\0\0\0\1\0\0\0\x8"
                               "f";
    struct archive archive;
    struct span data = {(const uint8_t *)few, sizeof few - 1};
    require_error(archive_init(data, "x.a", &archive), CRATELD_ERROR_FORMAT, "no room for its symbols in 4 bytes");
    data = (struct span){(const uint8_t *)nameless, sizeof nameless - 1};
    require_error(archive_init(data, "x.a", &archive), CRATELD_ERROR_FORMAT, "the index's name 0 of 1 has no end");
    data = (struct span){(const uint8_t *)lost, sizeof lost};
    require_error(archive_init(data, "x.a", &archive), CRATELD_ERROR_FORMAT,
                  "the index places 'f' at 0x8, where no member is");
}

/* The next line of `stream` without its newline, in *line; false at the end. */
static bool read_line(FILE *stream, char **line, size_t *size)
{
    ssize_t length = getline(line, size, stream);
    if (length <= 0)
        return false;
    (*line)[strcspn(*line, "\n")] = 0;
    return true;
}

static FILE *open_command(const char *format, const char *path)
{
    char command[512];
    snprintf(command, sizeof command, format, path);
    FILE *stream = popen(command, "r");
    cr_assert_not_null(stream);
    return stream;
}

static void compare_members(const struct archive *archive, char **line, size_t *size)
{
    FILE *stream = open_command("ar t %s", archive->path);
    uint32_t count = 0;
    while (read_line(stream, line, size)) {
        cr_assert_lt(count, archive->member_count, "%s", archive->path);
        cr_assert_str_eq(archive->members[count++].name, *line, "%s", archive->path);
    }
    cr_assert_eq(count, archive->member_count, "%s", archive->path);
    pclose(stream);
}

/* `nm -s` begins with lines "symbol in member", ended by an empty one. */
static void compare_index(const struct archive *archive, char **line, size_t *size)
{
    FILE *stream = open_command("nm -s %s 2>/dev/null | sed -e 1,/^Archive.index:/d -e '/^$/q'", archive->path);
    uint32_t count = 0;
    while (read_line(stream, line, size) && (*line)[0]) {
        cr_assert_lt(count, archive->symbol_count, "%s: %s", archive->path, *line);
        const struct archive_symbol *symbol = &archive->symbols[count++];
        char *expected;
        cr_assert_geq(asprintf(&expected, "%s in %s", symbol->name, archive->members[symbol->member_idx].name), 0);
        cr_assert_str_eq(expected, *line, "%s", archive->path);
        free(expected);
    }
    cr_assert_eq(count, archive->symbol_count, "%s", archive->path);
    pclose(stream);
}

Test(linker_archive, all_archives_of_the_system_read_as_ar_and_nm_read_them)
{
    glob_t found;
    char *line = NULL;
    size_t size = 0;
    if (glob("/usr/lib/x86_64-linux-gnu/*.a", 0, NULL, &found) != 0)
        cr_skip_test("no archives");
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct archive archive;
        struct crateld_error *error = archive_open(found.gl_pathv[i], &archive);
        if (error && strstr(crateld_error_message(error), "does not start as an archive")) { /* libm.a: a script */
            crateld_error_destroy(error);
            continue;
        }
        require_success(error);
        compare_members(&archive, &line, &size);
        compare_index(&archive, &line, &size);
        archive_deinit(&archive);
    }
    free(line);
    globfree(&found);
}

/* Every kind of input, told by its bytes. */
#include <criterion/criterion.h>
#include <elf.h>
#include <string.h>

#include "base/file.h"
#include "crateld/format.h"
#include "linker/input_kind.h"
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

TestSuite(linker_input_kind, .init = set_up, .fini = tear_down);

static struct crateld_error *kind_of(const char *name, enum input_kind *ret)
{
    struct file file;
    require_success(file_open(scratch_path(&scratch, name), &file));
    struct crateld_error *error = input_kind_of(file.data, name, ret);
    file_close(&file);
    return error;
}

static void require_kind(const char *name, enum input_kind expected)
{
    enum input_kind kind;
    require_success(kind_of(name, &kind));
    cr_assert_eq(kind, expected, "%s: %d", name, kind);
}

Test(linker_input_kind, files_of_tools_are_recognised_whatever_they_are_called)
{
    scratch_run(&scratch,
                "echo 'int f;' >x.c; gcc -c x.c -o x.a; gcc -shared x.c -o x.o; ar rcs x.so x.a; ar rcsT thin x.a;"
                "echo 'GROUP ( a )' >script.a");
    require_kind("x.a", INPUT_OBJECT);
    require_kind("x.o", INPUT_SHARED);
    require_kind("x.so", INPUT_ARCHIVE);
    require_kind("thin", INPUT_ARCHIVE);
    require_kind("script.a", INPUT_SCRIPT);
}

Test(linker_input_kind, a_crate_is_known_by_its_program_header)
{
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segments[2];
    } crate = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB},
                   .e_type = ET_DYN,
                   .e_phnum = 2,
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phoff = sizeof(Elf64_Ehdr)},
        .segments = {{.p_type = PT_LOAD}, {.p_type = CRATE_PT_CRATE}},
    };
    enum input_kind kind;
    require_success(input_kind_of((struct span){(const uint8_t *)&crate, sizeof crate}, "x", &kind));
    cr_assert_eq(kind, INPUT_CRATE);
    crate.segments[1].p_type = PT_NOTE;
    require_error(input_kind_of((struct span){(const uint8_t *)&crate, sizeof crate}, "x", &kind), CRATELD_ERROR_FORMAT,
                  "x: neither a shared library nor a crate");
    require_error(input_kind_of((struct span){(const uint8_t *)&crate, sizeof crate - 1}, "x", &kind),
                  CRATELD_ERROR_FORMAT, "x: program header 1 is not in the file");
}

static void require_refused(const char *bytes, size_t size, enum crateld_error_code code, const char *text)
{
    enum input_kind kind;
    require_error(input_kind_of((struct span){(const uint8_t *)bytes, size}, "x", &kind), code, text);
}

Test(linker_input_kind, bitcode_is_refused_with_the_flag_to_use)
{
    scratch_run(&scratch, "if command -v clang >/dev/null; then echo 'int f;' | clang -flto -c -x c - -o x.o; "
                          "else printf 'BC\\300\\336' >x.o; fi");
    enum input_kind kind;
    require_error(kind_of("x.o", &kind), CRATELD_ERROR_UNSUPPORTED,
                  "x.o: LLVM bitcode, from link-time optimisation; "
                  "compile with -fno-lto");
    require_refused("\xde\xc0\x17\x0b", 4, CRATELD_ERROR_UNSUPPORTED, "compile with -fno-lto");
}

Test(linker_input_kind, other_files_are_refused)
{
    scratch_run(&scratch,
                "echo 'int main(void){}' >x.c; gcc -no-pie x.c -o exec; gcc -c -m32 x.c -o x32.o 2>/dev/null || "
                "printf '\\177ELF\\001\\001\\001' >x32.o");
    enum input_kind kind;
    require_error(kind_of("exec", &kind), CRATELD_ERROR_UNSUPPORTED, "exec: a linked program (ET_EXEC)");
    require_error(kind_of("x32.o", &kind), CRATELD_ERROR_UNSUPPORTED, "x32.o: ELF class 1, data encoding 1");
    require_refused("", 0, CRATELD_ERROR_FORMAT, "x: neither an ELF file, an archive nor a linker script: it is empty");
    require_refused("MZ\x90\0", 4, CRATELD_ERROR_FORMAT, "x: neither an ELF file, an archive nor a linker script");
    require_refused("\x7f"
                    "ELF\2\1",
                    6, CRATELD_ERROR_FORMAT, "x: 6 bytes, an ELF header has 64");
}

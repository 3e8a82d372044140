/* Relocatable objects: the whole link of one, from reading it to the crate. Whatever links must be a crate that the
 * reader accepts. Files are made in the current folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "crate/check.h"
#include "linker/link.h"
#include "reloc/relink_reader.h"
#include "tests/fuzz/mutate_object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); /* libFuzzer's own */

enum { CHOICE_OFF = 15 }; /* the last byte of e_ident, which means nothing to anyone, chooses options */

static char input_path[32], output_path[32];

static void init(void)
{
    snprintf(input_path, sizeof input_path, "%d.o", (int)getpid());
    snprintf(output_path, sizeof output_path, "%d.crate", (int)getpid());
    setenv("PATH", "/nonexistent", 1); /* no compiler for intermediate code */
    stderr = fopen("/dev/null", "w");  /* warnings; sanitizers write elsewhere */
    if (!stderr)
        abort();
}

static void write_input(const uint8_t *data, size_t size)
{
    FILE *stream = fopen(input_path, "w");
    if (!stream || fwrite(data, 1, size, stream) != size || fclose(stream))
        abort();
}

static void require_success(struct crateld_error *error, const char *what)
{
    if (!error)
        return;
    printf("the crate that was linked is refused by %s: %s\n", what, crateld_error_message(error));
    fflush(stdout);
    abort();
}

/* Opens the crate as the loader, the inspector and a relink do. */
static void check_output(const struct link_options *options)
{
    struct file file;
    struct crate_view view;
    struct span bytes;
    struct relink_view relink;
    require_success(file_open(output_path, &file), "the system");
    require_success(crate_view_open(output_path, file.data, &view), "the reader");
    require_success(crate_view_check_all(&view), "the checker");
    if (options->keep_relink) {
        require_success(crate_view_relink(&view, file.data, &bytes), "the reader of its relink section");
        require_success(relink_view_open(output_path, bytes, &relink), "the relink reader");
        require_success(relink_view_check_all(&relink), "the relink checker");
    }
    file_close(&file);
    unlink(output_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned choice = size > CHOICE_OFF ? data[CHOICE_OFF] : 0;
    struct link_argument argument = {.value = input_path, .kind = LINK_ARGUMENT_FILE};
    struct link_options options = {
        .output = output_path,
        .name = "fuzz",
        .entry = "main",
        .arguments = &argument,
        .argument_count = 1,
        .collect_garbage = choice & 1,
        .keep_relink = !(choice & 2),
        .allow_undefined = !(choice & 4),
        .is_strip_debug = choice & 8,
        .is_strip_all = choice & 16,
    };
    if (size < SELFMAG || memcmp(data, ELFMAG, SELFMAG) != 0)
        return 0; /* a linker script, which may name any file, or an archive; they have fuzzers of their own */
    if (!input_path[0])
        init();
    write_input(data, size);
    struct crateld_error *error = link_run(&options);
    if (error && !*crateld_error_message(error))
        abort();
    if (!error)
        check_output(&options);
    else if (!access(output_path, F_OK))
        abort(); /* a failed link leaves nothing behind */
    crateld_error_destroy(error);
    unlink(input_path);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    if (LLVMFuzzerMutate && seed % 4 == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    mutate_object(data, size, &random);
    return size;
}

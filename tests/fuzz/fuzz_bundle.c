/* Crates that are bundled: the whole link of one, from its relink section. Whatever becomes a bundle must be one that
 * the readers accept. Files are made in the current folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "crate/build_id.h"
#include "crate/check.h"
#include "linker/link.h"
#include "reloc/relink_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static char input_path[32], output_path[32];

static void init(void)
{
    snprintf(input_path, sizeof input_path, "%d.crate", (int)getpid());
    snprintf(output_path, sizeof output_path, "%d.bundle", (int)getpid());
    stderr = fopen("/dev/null", "w"); /* warnings; sanitizers write elsewhere */
    if (!stderr)
        abort();
}

/* Gives the crate the hashes that it is to have, or the rest would hardly ever be reached; false if it is none. */
static bool seal(uint8_t *data, size_t size)
{
    struct span file = {data, size};
    struct crate_view view;
    uint64_t off;
    struct crateld_error *error = crate_view_open("fuzz.crate", file, &view);
    if (!error)
        error = crate_header_find("fuzz.crate", file, &off);
    if (!error) {
        crate_seal(file, off, &view.header);
        memcpy(data + off, &view.header, sizeof view.header);
    }
    crateld_error_destroy(error);
    return !error;
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
    printf("the bundle that was linked is refused by %s: %s\n", what, crateld_error_message(error));
    fflush(stdout);
    abort();
}

static void check_output(void)
{
    struct file file;
    struct crate_view view;
    struct span bytes;
    struct relink_view relink;
    require_success(file_open(output_path, &file), "the system");
    require_success(crate_view_open(output_path, file.data, &view), "the reader");
    require_success(crate_view_check_all(&view), "the checker");
    require_success(crate_check_members(output_path, file.data, &view.header), "the checker of members");
    require_success(crate_view_relink(&view, file.data, &bytes), "the reader of its relink section");
    require_success(relink_view_open(output_path, bytes, &relink), "the relink reader");
    require_success(relink_view_check_all(&relink), "the relink checker");
    file_close(&file);
    unlink(output_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *const bundled[] = {input_path};
    struct link_options options = {.output = output_path,
                                   .entry = "main",
                                   .bundled = bundled,
                                   .bundled_count = 1,
                                   .keep_relink = true,
                                   .allow_undefined = true};
    if (!input_path[0])
        init();
    uint8_t *copy = aligned_alloc(16, (size + 16) & ~(size_t)15);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    if (seal(copy, size)) {
        write_input(copy, size);
        struct crateld_error *error = link_run(&options);
        if (error && !*crateld_error_message(error))
            abort();
        if (!error)
            check_output();
        crateld_error_destroy(error);
        unlink(input_path);
    }
    free(copy);
    return 0;
}

static uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* Changes a few bytes, most of them in the relink section, which is what a bundle is made of. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    uint64_t state = seed + UINT64_C(1), start = 0, length = size;
    struct crate_header header;
    (void)max_size;
    struct crateld_error *error = crate_header_read("fuzz.crate", (struct span){data, size}, size, &header);
    if (!error && next_random(&state) % 4) {
        start = header.relink_off;
        length = header.relink_size;
    }
    crateld_error_destroy(error);
    if (!length || start > size || length > size - start)
        return size;
    for (uint32_t count = 1 + next_random(&state) % 4; count; count--) {
        uint8_t *byte = &data[start + next_random(&state) % length];
        uint32_t choice = next_random(&state) % 8;
        *byte = choice < sizeof values ? values[choice] : (uint8_t)(*byte + next_random(&state) % 5 - 2);
    }
    return size;
}

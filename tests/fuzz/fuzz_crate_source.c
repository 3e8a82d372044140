/* Crates as the linker reads them to import from them: with some names wanted, with all, and with names that nobody
 * expected. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/crate_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_source(struct span file, bool is_selective)
{
    static const char *const names[] = {"f", "main", "d", "f2", "t", "nobody_has_this"};
    enum { COUNT = sizeof names / sizeof *names, WANTED = 2 };
    struct crate_source source = {.path = "fuzz.crate", .contents = file};
    struct arena arena;
    arena_init(&arena);
    struct name_filter *wanted = name_filter_create(&arena, WANTED);
    if (!wanted)
        abort();
    for (int i = 0; i < WANTED; i++)
        name_filter_add(wanted, (uint32_t)(hash_string(names[i]) >> 32));
    struct crateld_error *error = crate_source_read(&arena, NULL, file, is_selective ? wanted : NULL, &source);
    for (int i = 0; i < COUNT && !error; i++) {
        const struct source_export *found;
        error = crate_source_find(&arena, &source, hash_string(names[i]), names[i], &found);
        if (!error && found && strcmp(found->name, names[i]) != 0)
            abort();
    }
    crateld_error_destroy(error);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* aligned, and of exactly that size */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (size) {
        read_source((struct span){copy, size}, false);
        read_source((struct span){copy, size}, true);
    }
    free(copy);
    return 0;
}

/* Objects with gcc's intermediate code. */
#include <string.h>

#include "linker/input_kind.h"
#include "linker/lto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span span = {data, size};
    struct arena arena;
    struct lto_object object = {0};
    enum input_kind kind;
    arena_init(&arena);
    crateld_error_destroy(input_kind_of(span, "x.o", &kind));
    struct crateld_error *error = lto_object_read(span, "x.o", &arena, &object);
    volatile size_t sum = 0;
    for (uint32_t i = 0; !error && i < object.symbol_count; i++)
        sum += strlen(object.symbols[i].name) + (object.symbols[i].comdat ? strlen(object.symbols[i].comdat) : 0);
    crateld_error_destroy(error);
    arena_deinit(&arena);
    return 0;
}

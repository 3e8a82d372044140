/* ELF shared libraries; whatever is read without error must be safe to search. */
#include <elf.h>
#include <string.h>

#include "linker/input_kind.h"
#include "linker/shared_library.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_WALKS = 64 }; /* walks over all symbols, for one input */

static size_t search(const struct shared_library *library)
{
    size_t sum = strlen(library->soname), walks = 0;
    for (uint32_t i = 0; i < library->needed_count; i++)
        sum += strlen(library->needed[i]);
    for (uint32_t i = 0; i < library->symbol_count; i++) {
        struct shared_symbol symbol, found;
        if (!shared_library_symbol(library, i, &symbol))
            continue;
        sum += symbol.version ? strlen(symbol.version) : 0;
        sum += shared_library_find(library, symbol.name, NULL, &found);
        sum += symbol.version && shared_library_find(library, symbol.name, symbol.version, &found);
        sum += shared_library_is_writable(library, symbol.value);
        for (uint32_t cursor = 0; walks < MAX_WALKS; walks++)
            if (!shared_library_next_alias(library, &symbol, &cursor, &found))
                break;
    }
    for (size_t i = 0; i < library->build_id.size; i++)
        sum += library->build_id.data[i];
    return sum + shared_library_find(library, "absent", NULL, &(struct shared_symbol){0});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span span = {data, size};
    struct shared_library library;
    enum input_kind kind;
    crateld_error_destroy(input_kind_of(span, "libx.so", &kind));
    struct crateld_error *error = shared_library_init(span, "libx.so", EM_X86_64, &library);
    if (error) {
        crateld_error_destroy(error);
        return 0;
    }
    volatile size_t sum = search(&library);
    (void)sum;
    shared_library_deinit(&library);
    return 0;
}

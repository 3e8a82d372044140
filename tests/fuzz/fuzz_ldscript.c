/* Text linker scripts. */
#include <string.h>

#include "linker/ldscript.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ldscript script;
    struct crateld_error *error = ldscript_parse((struct span){data, size}, "libx.so", "elf64-x86-64", &script);
    if (error) {
        crateld_error_destroy(error);
        return 0;
    }
    volatile size_t sum = 0;
    for (size_t i = 0; i < script.input_count; i++)
        sum += strlen(script.inputs[i].name);
    for (size_t i = 0; i < script.search_dir_count; i++)
        sum += strlen(script.search_dirs[i]);
    ldscript_deinit(&script);
    return 0;
}

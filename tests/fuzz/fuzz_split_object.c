/* Objects that are split into their functions and variables: each with itself as the model. */
#include <stdlib.h>

#include "cli/split_object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span file = {data, size};
    struct split_bytes once, twice;
    struct crateld_error *error = split_object_bytes("once.o", file, "once.o", file, &once);
    if (error) {
        crateld_error_destroy(error);
        return 0;
    }
    struct span split = {once.at, once.size};
    error = split_object_bytes("twice.o", split, "once.o", split, &twice);
    if (!error)
        free(twice.at);
    crateld_error_destroy(error);
    free(once.at);
    return 0;
}

/* Assembly text for the TOC pass. */
#include <stdlib.h>

#include "cli/toc_pass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct toc_text output;
    struct crateld_error *error = toc_pass((struct asm_slice){(const char *)data, size}, &output);
    if (error)
        crateld_error_destroy(error);
    else
        free(output.at);
    return 0;
}

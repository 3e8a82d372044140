/* Archives; whatever is read without error must be safe to walk. */
#include <string.h>

#include "linker/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct archive archive;
    struct crateld_error *error = archive_init((struct span){data, size}, "fuzz/x.a", &archive);
    if (error) {
        crateld_error_destroy(error);
        return 0;
    }
    volatile size_t sum = 0;
    for (uint32_t i = 0; i < archive.member_count; i++) {
        const struct archive_member *member = &archive.members[i];
        struct span bytes;
        sum += strlen(member->name);
        if (member->external_path) /* whatever file that is, it is none of ours */
            continue;
        crateld_error_destroy(archive_member_data(&archive, i, &bytes));
        for (size_t b = 0; b < bytes.size; b++)
            sum += bytes.data[b];
    }
    for (uint32_t i = 0; i < archive.symbol_count; i++)
        sum += strlen(archive.symbols[i].name) + archive.members[archive.symbols[i].member_idx].header_off;
    archive_deinit(&archive);
    return 0;
}

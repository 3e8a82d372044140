#include "cli/object_file.h"

#include <stdlib.h>
#include <string.h>

#include "linker/archive.h"

static struct crateld_error *find_member(struct archive *archive, const char *member, struct span *ret)
{
    for (uint32_t i = 0; i < archive->member_count; i++)
        if (!strcmp(archive->members[i].name, member))
            return archive_member_data(archive, i, ret);
    return error_create(CRATELD_ERROR_NOT_FOUND, "%s: has no member %s", archive->path, member);
}

static struct crateld_error *copy(struct span from, struct file_bytes *to)
{
    if (to->capacity < from.size) {
        uint8_t *grown = realloc(to->at, from.size);
        if (!grown)
            return error_memory();
        to->at = grown;
        to->capacity = from.size;
    }
    if (from.size)
        memcpy(to->at, from.data, from.size);
    to->size = from.size;
    return NULL;
}

struct crateld_error *object_file_read(const char *path, const char *member, struct file_bytes *bytes)
{
    struct archive archive = {0};
    struct span data = {0};
    if (!*member)
        return file_read(path, bytes);
    TRY(archive_open(path, &archive));
    struct crateld_error *error = find_member(&archive, member, &data);
    if (!error)
        error = copy(data, bytes);
    archive_deinit(&archive);
    return error;
}

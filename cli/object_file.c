#include "cli/object_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* Who asks for one member after the other does so in their order, as a rule. */
static struct crateld_error *find_member(struct object_file *file, const char *member, struct span *ret)
{
    struct archive *archive = &file->archive;
    for (uint32_t n = 0; n < archive->member_count; n++) {
        uint32_t i = (file->next + n) % archive->member_count;
        if (strcmp(archive->members[i].name, member) != 0)
            continue;
        file->next = i + 1;
        return archive_member_data(archive, i, ret);
    }
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

static struct crateld_error *read_member(struct object_file *file, const char *member, uint64_t *hash,
                                         struct file_bytes *bytes)
{
    struct span data = {0};
    uint64_t before = *hash;
    if (!file->is_open)
        TRY(archive_open(file->path, &file->archive));
    file->is_open = true;
    TRY(find_member(file, member, &data));
    *hash = hash_bytes(data.data, data.size);
    return *hash == before ? NULL : copy(data, bytes);
}

struct crateld_error *object_file_read(struct object_file *file, const char *member, uint64_t *hash,
                                       struct file_bytes *bytes)
{
    if (*member)
        return read_member(file, member, hash, bytes);
    TRY(file_read(file->path, bytes));
    *hash = hash_bytes(bytes->at, bytes->size);
    return NULL;
}

void object_file_close(struct object_file *file)
{
    if (file->is_open)
        archive_deinit(&file->archive);
    file->is_open = false;
}

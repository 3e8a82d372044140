#include "linker/input.h"

#include <string.h>
#include <unistd.h>

#include "linker/resolve.h"

enum { MAX_OPEN_CRATES = 500 }; /* of the 1024 files that a process may have open: the rest are opened again */

/* Makes the provider of a crate, of which `start` is the beginning, and which is `source` so far. */
static struct crateld_error *make_provider(struct arena *arena, struct span start, struct crate_source *source,
                                           struct link_input *input)
{
    struct link_provider *provider = arena_alloc(arena, sizeof *provider);
    if (!provider)
        return error_memory();
    source->path = input->path;
    provider->kind = LINK_PROVIDER_CRATE;
    provider->path = input->path;
    TRY(crate_source_read(arena, start, source));
    provider->crate = *source;
    provider->name = provider->crate.name;
    input->provider = provider;
    return NULL;
}

static struct crateld_error *read_contents(const struct link *link, struct arena *arena, struct link_input *input)
{
    if (input->kind == INPUT_OBJECT) {
        TRY(link_read_object(link, arena, input->path, input->contents, &input->object));
        input->object->stamp = input->stamp;
        return NULL;
    }
    struct crate_source source = {.contents = input->contents, .file.fd = -1};
    return input->kind == INPUT_CRATE ? make_provider(arena, input->contents, &source, input) : NULL;
}

/* Takes over the file of a crate. */
static struct crateld_error *read_crate(struct link *link, struct arena *arena, const char *path, struct span start,
                                        struct open_file *file, struct link_input *input)
{
    struct crate_source source = {.file = *file};
    input->kind = INPUT_CRATE;
    input->path = arena_strndup(arena, path, strlen(path));
    struct crateld_error *error = input->path ? make_provider(arena, start, &source, input) : error_memory();
    if (error)
        return error;
    if (__atomic_fetch_add(&link->open_crates, 1, __ATOMIC_RELAXED) < MAX_OPEN_CRATES)
        file->fd = -1;
    else
        input->provider->crate.file.fd = -1;
    return NULL;
}

static struct crateld_error *open_handle(struct link *link, struct arena *arena, const char *path,
                                         struct open_file *handle, struct link_input *input)
{
    _Alignas(8) uint8_t bytes[CRATE_START_SIZE];
    struct span start = {bytes, handle->stamp.size < sizeof bytes ? (size_t)handle->stamp.size : sizeof bytes};
    TRY(file_read_at(path, handle, 0, bytes, start.size));
    if (input_is_crate(start))
        return read_crate(link, arena, path, start, handle, input);
    TRY(file_map(path, handle, &input->file));
    input->path = input->file.path;
    input->contents = input->file.data;
    TRY(input_kind_of(input->contents, path, &input->kind));
    TRY(read_contents(link, arena, input));
    if (input->object)
        input->object->is_mapped = input->object->image.data == input->file.data.data;
    return NULL;
}

struct crateld_error *link_input_open(struct link *link, struct arena *arena, const char *path, struct link_input *ret)
{
    struct open_file handle;
    *ret = (struct link_input){0};
    TRY(file_open_only(path, &handle));
    ret->stamp = handle.stamp;
    struct crateld_error *error = open_handle(link, arena, path, &handle, ret);
    if (handle.fd >= 0)
        close(handle.fd);
    return error;
}

struct crateld_error *link_input_open_contents(const struct link *link, struct arena *arena, const char *path,
                                               struct span contents, struct link_input *ret)
{
    *ret = (struct link_input){.path = path, .contents = contents};
    TRY(input_kind_of(contents, path, &ret->kind));
    return read_contents(link, arena, ret);
}

#include "linker/input.h"

#include <string.h>
#include <unistd.h>

#include "linker/resolve.h"

/* Makes the provider of a crate, open as `file` unless there are its contents, of which `start` is the beginning. */
static struct crateld_error *make_provider(const struct link *link, struct arena *arena, const struct open_file *file,
                                           struct span start, struct link_input *input)
{
    struct link_provider *provider = arena_alloc(arena, sizeof *provider);
    if (!provider)
        return error_memory();
    provider->kind = LINK_PROVIDER_CRATE;
    provider->path = input->path;
    provider->crate = (struct crate_source){.path = input->path, .stamp = input->stamp, .contents = input->contents};
    TRY(crate_source_read(arena, file, start, link->expected, &provider->crate));
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
    return input->kind == INPUT_CRATE ? make_provider(link, arena, NULL, input->contents, input) : NULL;
}

static struct crateld_error *open_handle(const struct link *link, struct arena *arena, const char *path,
                                         const struct open_file *handle, struct link_input *input)
{
    _Alignas(8) uint8_t bytes[CRATE_START_SIZE];
    struct span start = {bytes, handle->stamp.size < sizeof bytes ? (size_t)handle->stamp.size : sizeof bytes};
    TRY(file_read_at(path, handle, 0, bytes, start.size));
    if (input_is_crate(start)) {
        input->kind = INPUT_CRATE;
        input->path = arena_strndup(arena, path, strlen(path));
        return input->path ? make_provider(link, arena, handle, start, input) : error_memory();
    }
    TRY(file_map(path, handle, &input->file));
    input->path = input->file.path;
    input->contents = input->file.data;
    TRY(input_kind_of(input->contents, path, &input->kind));
    TRY(read_contents(link, arena, input));
    if (input->object)
        input->object->is_mapped = input->object->image.data == input->file.data.data;
    return NULL;
}

struct crateld_error *link_input_open(const struct link *link, struct arena *arena, const char *path,
                                      struct link_input *ret)
{
    struct open_file handle;
    *ret = (struct link_input){0};
    TRY(file_open_only(path, &handle));
    ret->stamp = handle.stamp;
    struct crateld_error *error = open_handle(link, arena, path, &handle, ret);
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

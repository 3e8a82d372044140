#include "linker/input.h"

#include <string.h>
#include <unistd.h>

#include "linker/resolve.h"

enum { FILTER_EXPORTS_PER_WORD = 4 /* at the most: 8 of 64 bits are set */ };

/* Notes which exports there may be, so that most crates are not asked for what they do not have. */
static struct crateld_error *make_filter(struct arena *arena, struct link_provider *provider)
{
    uint32_t count = crate_view_count(&provider->crate, CRATE_TABLE_EXPORTS), words = 1;
    while (words < count / FILTER_EXPORTS_PER_WORD + 1)
        words *= 2;
    provider->filter = arena_alloc_array(arena, words, sizeof *provider->filter);
    if (!provider->filter)
        return error_memory();
    provider->filter_mask = words - 1;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash = provider->crate.exports[i].hash;
        provider->filter[hash & provider->filter_mask] |= link_filter_bits(hash);
    }
    return NULL;
}

/* Makes the provider of a crate: `meta` are its headers and tables, which are all that matters to a link. What is in the
 * tables is checked where it is used; their hash is for the loader to check. */
static struct crateld_error *make_provider(struct arena *arena, struct span meta, const struct crate_header *header,
                                           struct link_input *input)
{
    struct link_provider *provider = arena_alloc(arena, sizeof *provider);
    if (!provider)
        return error_memory();
    provider->kind = LINK_PROVIDER_CRATE;
    provider->path = input->path;
    TRY(crate_view_init(input->path, meta, header, &provider->crate));
    TRY(make_filter(arena, provider));
    input->provider = provider;
    return NULL;
}

/* Reads no more of the crate than that; `start` is its beginning. */
static struct crateld_error *read_crate(struct arena *arena, const struct open_file *handle, struct span start,
                                        struct link_input *input)
{
    struct crate_header header;
    TRY(crate_header_read(input->path, start, handle->stamp.size, &header));
    size_t size = header.segments[CRATE_SEGMENT_META].file_size, known = start.size < size ? start.size : size;
    uint8_t *meta = arena_alloc_bytes(arena, size);
    if (!meta)
        return error_memory();
    memcpy(meta, start.data, known);
    TRY(file_read_at(input->path, handle, known, meta + known, size - known));
    return make_provider(arena, (struct span){meta, size}, &header, input);
}

static struct crateld_error *read_contents(const struct link *link, struct arena *arena, struct link_input *input)
{
    struct crate_header header;
    if (input->kind == INPUT_OBJECT) {
        TRY(link_read_object(link, arena, input->path, input->contents, &input->object));
        input->object->stamp = input->stamp;
        return NULL;
    }
    if (input->kind != INPUT_CRATE)
        return NULL;
    TRY(crate_header_read(input->path, input->contents, input->contents.size, &header));
    return make_provider(arena, input->contents, &header, input);
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
        return input->path ? read_crate(arena, handle, start, input) : error_memory();
    }
    TRY(file_map(path, handle, &input->file));
    input->path = input->file.path;
    input->contents = input->file.data;
    TRY(input_kind_of(input->contents, path, &input->kind));
    return read_contents(link, arena, input);
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

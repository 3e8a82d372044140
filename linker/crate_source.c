#include "linker/crate_source.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
    FILTER_EXPORTS_PER_WORD = 4, /* at the most: 8 of 64 bits are set */
    NAME_CHUNK = 64,             /* bytes: nearly every name is shorter */
    KNOWN_EXPORT_FLAGS = CRATE_EXPORT_FLAG_WEAK | CRATE_EXPORT_FLAG_VAGUE | CRATE_EXPORT_FLAG_FORWARD,
};

static struct crateld_error *reopen(struct crate_source *source)
{
    struct open_file file;
    TRY(file_open_only(source->path, &file));
    if (memcmp(&file.stamp, &source->file.stamp, sizeof file.stamp) != 0) {
        close(file.fd);
        return error_create(CRATELD_ERROR_IO, "%s: has changed during the link", source->path);
    }
    source->file.fd = file.fd;
    return NULL;
}

static struct crateld_error *read_at(struct crate_source *source, uint64_t off, void *ret, size_t size)
{
    if (source->contents.size)
        return span_read(source->contents, off, ret, size)
                   ? NULL
                   : error_create(CRATELD_ERROR_FORMAT, "%s: truncated", source->path);
    if (source->file.fd < 0)
        TRY(reopen(source));
    return file_read_at(source->path, &source->file, off, ret, size);
}

/* Reads the crate's name, piece by piece as far as it goes. */
static struct crateld_error *read_name(struct arena *arena, struct crate_source *source)
{
    struct crate_table strings = source->header.tables[CRATE_TABLE_STRINGS];
    uint32_t left = source->header.name < strings.count ? strings.count - source->header.name : 0;
    for (uint32_t size = NAME_CHUNK;; size *= 2) {
        size = size < left ? size : left;
        char *name = arena_alloc(arena, (size_t)size + 1);
        if (!name)
            return error_memory();
        TRY(read_at(source, (uint64_t)strings.rva + source->header.name, name, size));
        if (*name && memchr(name, 0, size)) {
            source->name = name;
            return NULL;
        }
        if (!size || !*name || size == left)
            return error_create(CRATELD_ERROR_FORMAT, "%s: crate header: the crate has no name (string 0x%x)",
                                source->path, source->header.name);
    }
}

static uint64_t filter_bits(uint64_t hash)
{
    return UINT64_C(1) << (hash >> 40 & 63) | UINT64_C(1) << (hash >> 50 & 63);
}

static struct crateld_error *read_hashes(struct arena *arena, struct crate_source *source)
{
    struct crate_table table = source->header.tables[CRATE_TABLE_EXPORTS];
    struct crate_export *exports AUTO_FREE = calloc((size_t)table.count + 1, sizeof *exports);
    uint32_t words = 1;
    while (words < table.count / FILTER_EXPORTS_PER_WORD + 1)
        words *= 2;
    source->filter = arena_alloc_array(arena, words, sizeof *source->filter);
    source->hashes = arena_alloc_bytes(arena, table.count * sizeof *source->hashes);
    if (!exports || !source->filter || !source->hashes)
        return error_memory();
    source->filter_mask = words - 1;
    if (table.count)
        TRY(read_at(source, table.rva, exports, table.count * sizeof *exports));
    for (uint32_t i = 0; i < table.count; i++) {
        uint64_t hash = exports[i].hash;
        if (i && hash < source->hashes[i - 1])
            return error_create(CRATELD_ERROR_FORMAT, "%s: exports[%u]: not sorted by its hash", source->path, i);
        source->hashes[i] = hash;
        source->filter[hash & source->filter_mask] |= filter_bits(hash);
    }
    return NULL;
}

struct crateld_error *crate_source_read(struct arena *arena, struct span start, struct crate_source *source)
{
    uint64_t size = source->contents.size ? source->contents.size : source->file.stamp.size;
    TRY(crate_header_read(source->path, start, size, &source->header));
    TRY(read_name(arena, source));
    return read_hashes(arena, source);
}

void crate_source_rest(struct crate_source *source)
{
    if (!source->contents.size && source->file.fd >= 0)
        close(source->file.fd);
    source->file.fd = -1;
}

/* The first export whose hash is not below `hash`; their number if there is none. */
static uint32_t first_export(const struct crate_source *source, uint64_t hash)
{
    uint32_t low = 0, high = source->header.tables[CRATE_TABLE_EXPORTS].count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (source->hashes[middle] < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Reads export `i`; *ret tells whether it is that of `name`. */
static struct crateld_error *read_export(struct crate_source *source, uint32_t i, const char *name,
                                         struct crate_export *entry, bool *ret)
{
    struct crate_table exports = source->header.tables[CRATE_TABLE_EXPORTS];
    struct crate_table strings = source->header.tables[CRATE_TABLE_STRINGS];
    size_t size = strlen(name) + 1;
    char chunk[NAME_CHUNK];
    TRY(read_at(source, exports.rva + (uint64_t)i * sizeof *entry, entry, sizeof *entry));
    if (entry->kind > CRATE_EXPORT_ABSOLUTE || entry->flags & ~KNOWN_EXPORT_FLAGS)
        return error_create(CRATELD_ERROR_FORMAT, "%s: exports[%u]: unknown kind %u or flags 0x%x", source->path, i,
                            entry->kind, entry->flags);
    *ret = entry->name < strings.count && size <= strings.count - entry->name;
    for (size_t off = 0; *ret && off < size; off += sizeof chunk) {
        size_t part = size - off < sizeof chunk ? size - off : sizeof chunk;
        TRY(read_at(source, (uint64_t)strings.rva + entry->name + off, chunk, part));
        *ret = !memcmp(chunk, name + off, part);
    }
    return NULL;
}

struct crateld_error *crate_source_find(struct crate_source *source, uint64_t hash, const char *name,
                                        struct crate_export *entry, bool *ret)
{
    uint64_t bits = filter_bits(hash);
    *ret = false;
    if ((source->filter[hash & source->filter_mask] & bits) != bits)
        return NULL;
    uint32_t count = source->header.tables[CRATE_TABLE_EXPORTS].count;
    for (uint32_t i = first_export(source, hash); i < count && source->hashes[i] == hash && !*ret; i++)
        TRY(read_export(source, i, name, entry, ret));
    return NULL;
}

#include "linker/crate_source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum {
    NAME_CHUNK = 64, /* bytes: nearly every name is shorter */
    NEAR = 16,       /* exports: what lies no further apart is read in one go */
    KNOWN_EXPORT_FLAGS = CRATE_EXPORT_FLAG_WEAK | CRATE_EXPORT_FLAG_VAGUE | CRATE_EXPORT_FLAG_FORWARD,
};

/* Where a crate's bytes come from: `start` has the first ones. */
struct bytes {
    const struct crate_source *source;
    const struct open_file *file; /* NULL: `start` has all */
    struct span start;
};

static struct crateld_error *read_at(const struct bytes *bytes, uint64_t off, void *ret, size_t size)
{
    if (bytes->start.size && span_read(bytes->start, off, ret, size))
        return NULL;
    return bytes->file ? file_read_at(bytes->source->path, bytes->file, off, ret, size)
                       : error_create(CRATELD_ERROR_FORMAT, "%s: truncated", bytes->source->path);
}

/* Reads the strings at `off` up to the end of the one that `last` is within; they may not be empty. */
static struct crateld_error *read_strings(struct arena *arena, const struct bytes *bytes, uint32_t off, uint32_t last,
                                          const char **ret)
{
    struct crate_table table = bytes->source->strings;
    if (off > last || last >= table.count)
        return error_create(CRATELD_ERROR_FORMAT, "%s: string 0x%x of 0x%x bytes", bytes->source->path, last,
                            table.count);
    uint32_t left = table.count - last;
    for (uint32_t chunk = NAME_CHUNK;; chunk *= 2) {
        chunk = chunk < left ? chunk : left;
        char *strings = arena_alloc_bytes(arena, (size_t)last - off + chunk);
        if (!strings)
            return error_memory();
        TRY(read_at(bytes, (uint64_t)table.rva + off, strings, (size_t)last - off + chunk));
        *ret = strings;
        if (memchr(strings + (last - off), 0, chunk))
            return NULL;
        if (chunk == left)
            return error_create(CRATELD_ERROR_FORMAT, "%s: strings: the last byte is not NUL", bytes->source->path);
    }
}

static struct crateld_error *read_name(struct arena *arena, const struct bytes *bytes, uint32_t name, const char **ret)
{
    struct crateld_error *error = read_strings(arena, bytes, name, name, ret);
    if (!error && **ret)
        return NULL;
    return error_join(error, error_create(CRATELD_ERROR_FORMAT, "%s: crate header: the crate has no name (string 0x%x)",
                                          bytes->source->path, name));
}

/* Keeps `count` exports, with their names. */
static struct crateld_error *keep(struct arena *arena, const struct bytes *bytes, const struct crate_export *exports,
                                  uint32_t count, struct crate_source *source)
{
    const char *names = "";
    uint32_t first = UINT32_MAX, last = 0;
    source->export_count = count;
    if (!count)
        return NULL;
    for (uint32_t i = 0; i < count; i++) {
        first = exports[i].name < first ? exports[i].name : first;
        last = exports[i].name > last ? exports[i].name : last;
        if (exports[i].kind > CRATE_EXPORT_ABSOLUTE || exports[i].flags & ~KNOWN_EXPORT_FLAGS)
            return error_create(CRATELD_ERROR_FORMAT, "%s: exports: unknown kind %u or flags 0x%x", source->path,
                                exports[i].kind, exports[i].flags);
    }
    TRY(read_strings(arena, bytes, first, last, &names));
    source->exports = arena_alloc_array(arena, count, sizeof *source->exports);
    if (!source->exports)
        return error_memory();
    for (uint32_t i = 0; i < count; i++)
        source->exports[i] = (struct source_export){exports[i].hash, names + (exports[i].name - first), exports[i].size,
                                                    exports[i].kind, exports[i].flags};
    return NULL;
}

/* Moves those of `count` exports that have the numbers, of which the first one is the first export's, to the front,
 * after checking their hashes, which rise from *last on. */
static struct crateld_error *pick(const struct crate_source *source, const uint32_t *numbers, uint32_t count,
                                  uint64_t *last, struct crate_export *exports)
{
    for (uint32_t i = 0; i < count; i++) {
        struct crate_export export = exports[numbers[i] - numbers[0]];
        if (export.hash >> 32 != source->hashes[numbers[i]] || export.hash < *last)
            return error_create(CRATELD_ERROR_FORMAT,
                                "%s: exports[%u]: hash 0x%016" PRIx64 " behind 0x%016" PRIx64
                                ", and 0x%08x in the hashes",
                                source->path, numbers[i], export.hash, *last, source->hashes[numbers[i]]);
        *last = export.hash;
        exports[i] = export;
    }
    return NULL;
}

/* Reads and keeps the exports with those numbers, which rise; those that lie near each other in one go. */
static struct crateld_error *read_wanted(struct arena *arena, const struct bytes *bytes, const uint32_t *numbers,
                                         uint32_t count, struct crate_source *source)
{
    uint64_t room = 0, last = 0;
    for (uint32_t i = 0; i < count; i++)
        room += i && numbers[i] - numbers[i - 1] <= NEAR ? numbers[i] - numbers[i - 1] : 1;
    struct crate_export *exports AUTO_FREE = malloc((room + 1) * sizeof *exports);
    if (!exports)
        return error_memory();
    for (uint32_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && numbers[end] - numbers[end - 1] <= NEAR;)
            end++;
        uint64_t off = source->exports_rva + (uint64_t)numbers[i] * sizeof *exports;
        TRY(read_at(bytes, off, exports + i, (numbers[end - 1] - numbers[i] + (size_t)1) * sizeof *exports));
        TRY(pick(source, numbers + i, end - i, &last, exports + i));
    }
    return keep(arena, bytes, exports, count, source);
}

static struct crateld_error *read_exports(struct arena *arena, const struct bytes *bytes,
                                          const struct name_filter *wanted, struct crate_source *source)
{
    uint32_t count = source->export_total;
    uint32_t *numbers AUTO_FREE = malloc((count + (size_t)1) * sizeof *numbers);
    if (!numbers)
        return error_memory();
    if (wanted)
        count = name_filter_select(wanted, source->hashes, count, numbers);
    for (uint32_t i = 0; i < count && !wanted; i++)
        numbers[i] = i;
    source->wanted = wanted;
    return read_wanted(arena, bytes, numbers, count, source);
}

static struct crateld_error *read_hashes(struct arena *arena, const struct bytes *bytes, struct crate_table table,
                                         struct crate_source *source)
{
    size_t size = table.count * sizeof *source->hashes;
    source->export_total = table.count;
    source->hashes = arena_alloc_bytes(arena, size);
    if (!source->hashes)
        return error_memory();
    return size ? read_at(bytes, table.rva, source->hashes, size) : NULL;
}

struct crateld_error *crate_source_read(struct arena *arena, const struct open_file *file, struct span start,
                                        const struct name_filter *wanted, struct crate_source *source)
{
    struct bytes bytes = {source, source->contents.size ? NULL : file, start};
    uint64_t size = source->contents.size ? source->contents.size : source->stamp.size;
    struct crate_header header = {0};
    TRY(crate_header_read(source->path, start, size, &header));
    memcpy(source->build_id, header.build_id, sizeof source->build_id);
    source->has_soname = header.flags & CRATE_FLAG_SONAME;
    source->exports_rva = header.tables[CRATE_TABLE_EXPORTS].rva;
    source->strings = header.tables[CRATE_TABLE_STRINGS];
    TRY(read_name(arena, &bytes, header.name, &source->name));
    TRY(read_hashes(arena, &bytes, header.tables[CRATE_TABLE_HASHES], source));
    return read_exports(arena, &bytes, wanted, source);
}

/* Reads all exports, after some. */
static struct crateld_error *read_all(struct arena *arena, struct crate_source *source)
{
    if (source->contents.size)
        return read_exports(arena, &(struct bytes){source, NULL, source->contents}, NULL, source);
    struct open_file file;
    TRY(file_open_only(source->path, &file));
    struct crateld_error *error = memcmp(&file.stamp, &source->stamp, sizeof file.stamp)
                                      ? error_create(CRATELD_ERROR_IO, "%s: has changed during the link", source->path)
                                      : read_exports(arena, &(struct bytes){source, &file, {0}}, NULL, source);
    close(file.fd);
    return error;
}

/* Whether some export's hash has that upper half; of a damaged crate, whose hashes are not sorted, perhaps not. */
static bool has_hash(const struct crate_source *source, uint32_t hash)
{
    uint32_t low = 0, high = source->export_total;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (source->hashes[middle] == hash)
            return true;
        if (source->hashes[middle] < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* The first export whose hash is not below `hash`; their number if there is none. */
static uint32_t first_export(const struct crate_source *source, uint64_t hash)
{
    uint32_t low = 0, high = source->export_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (source->exports[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct crateld_error *crate_source_find(struct arena *arena, struct crate_source *source, uint64_t hash,
                                        const char *name, const struct source_export **ret)
{
    *ret = NULL;
    if (source->wanted && !name_filter_may_have(source->wanted, (uint32_t)(hash >> 32))) {
        if (!has_hash(source, (uint32_t)(hash >> 32)))
            return NULL;
        TRY(read_all(arena, source));
    }
    for (uint32_t i = first_export(source, hash); i < source->export_count && source->exports[i].hash == hash; i++)
        if (!strcmp(source->exports[i].name, name)) {
            *ret = &source->exports[i];
            break;
        }
    return NULL;
}

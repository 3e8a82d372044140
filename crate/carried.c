#include "crate/carried.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crate/reader.h"

struct crateld_error *crate_carried_check(const char *path, const struct crate_header *header, uint64_t file_size,
                                          const struct crate_carried *previous, const struct crate_carried *carried)
{
    uint64_t start = header->carried_off + (uint64_t)header->carried_count * sizeof *carried;
    if (previous && (previous->off > file_size || previous->size > file_size - previous->off))
        start = file_size; /* nothing is behind that */
    else if (previous)
        start = previous->off + previous->size;
    if (carried->off % 8 || carried->off < start || carried->off > file_size ||
        carried->size > file_size - carried->off)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: a patch that it carries, %" PRIu64 " bytes at 0x%" PRIx64
                            ", is not aligned or not within the file, behind 0x%" PRIx64,
                            path, carried->size, carried->off, start);
    return NULL;
}

struct crateld_error *crate_carried_at(const char *path, struct span file, const struct crate_header *header,
                                       uint32_t i, struct span *ret)
{
    struct crate_carried records[2] = {{0}};
    struct crate_header patch = {0};
    uint64_t before = i > 0, off = header->carried_off + (i - before) * sizeof *records;
    if (!span_read(file, off, records, (1 + before) * sizeof *records))
        return error_create(CRATELD_ERROR_FORMAT, "%s: its list of carried patches is not within the file: truncated?",
                            path);
    const struct crate_carried *carried = &records[before];
    TRY(crate_carried_check(path, header, file.size, before ? records : NULL, carried));
    struct span bytes = {file.data + carried->off, carried->size};
    TRY(crate_header_read(path, bytes, bytes.size, &patch));
    if (!(patch.flags & CRATE_FLAG_PATCH))
        return error_create(CRATELD_ERROR_FORMAT, "%s: what it carries at 0x%" PRIx64 " is no patch", path,
                            carried->off);
    *ret = bytes;
    return NULL;
}

/* How much of the file is not about carried patches. */
static struct crateld_error *size_without(const char *path, struct span file, const struct crate_header *header,
                                          uint64_t *ret)
{
    Elf64_Ehdr ehdr;
    uint64_t end = header->carried_count ? header->carried_off : file.size;
    memcpy(&ehdr, file.data, sizeof ehdr); /* a crate has one */
    bool is_behind = ehdr.e_shnum && !span_has((struct span){file.data, end}, ehdr.e_shoff,
                                               (uint64_t)ehdr.e_shnum * sizeof(Elf64_Shdr));
    is_behind |= !span_has((struct span){file.data, end}, header->relink_off, header->relink_size);
    for (int kind = 0; kind < CRATE_SEGMENT_COUNT; kind++)
        is_behind |=
            header->segments[kind].file_size && header->segments[kind].rva + header->segments[kind].file_size > end;
    if (is_behind)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: carried patches at 0x%" PRIx64 ", but other parts of the file are behind them", path,
                            end);
    *ret = end;
    return NULL;
}

static uint64_t align_up(uint64_t value)
{
    return (value + 7) & ~UINT64_C(7);
}

struct crateld_error *crate_carry(const char *path, struct span file, const struct span *patches, uint32_t count,
                                  struct crate_carrier *ret)
{
    struct crate_header header = {0};
    uint64_t header_off = 0, own_size = 0;
    TRY(crate_header_read(path, file, file.size, &header));
    TRY(crate_header_find(path, file, &header_off));
    TRY(size_without(path, file, &header, &own_size));
    if (header.flags & CRATE_FLAG_PATCH)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: is a patch, which can not carry others", path);
    if (count > CRATE_CARRIED_MAX)
        return error_create(CRATELD_ERROR_RANGE, "%s: can not carry %u patches, at most %d", path, count,
                            CRATE_CARRIED_MAX);
    header.carried_off = count ? align_up(own_size) : 0;
    header.carried_count = count;
    uint64_t end = count ? header.carried_off + count * sizeof(struct crate_carried) : own_size, at = end;
    for (uint32_t i = 0; i < count; i++)
        end = align_up(end) + patches[i].size;
    uint8_t *bytes = calloc(end, 1);
    if (!bytes)
        return error_memory();
    memcpy(bytes, file.data, own_size);
    memcpy(bytes + header_off, &header, sizeof header);
    for (uint32_t i = 0; i < count; i++) {
        struct crate_carried carried = {align_up(at), patches[i].size};
        memcpy(bytes + header.carried_off + i * sizeof carried, &carried, sizeof carried);
        memcpy(bytes + carried.off, patches[i].data, carried.size);
        at = carried.off + carried.size;
    }
    *ret = (struct crate_carrier){bytes, end};
    return NULL;
}

#include "linker/compressed.h"

#include <elf.h>
#include <zlib.h>

enum {
    MAX_RATIO = 1032, /* of zlib (RFC 1951): 258 bytes of one match in two bits */
    SLACK = 64,       /* for the smallest streams */
};

static struct crateld_error *damaged(const char *what)
{
    return error_create(CRATELD_ERROR_FORMAT, "damaged compressed contents: %s", what);
}

static struct crateld_error *check_header(const Elf64_Chdr *header, size_t stream_size)
{
    if (header->ch_type != ELFCOMPRESS_ZLIB)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "compression of type %u; compile with -gz=zlib or -gz=none",
                            header->ch_type);
    uint64_t align = header->ch_addralign;
    if ((align & (align - 1)) || align > (UINT64_C(1) << 31))
        return damaged("their alignment is not a power of two below 2^32");
    /* More than any stream of that length can hold: do not even ask for the memory. */
    if (stream_size > UINT32_MAX || header->ch_size > (uint64_t)stream_size * MAX_RATIO + SLACK)
        return damaged("their size is absurd");
    return NULL;
}

struct crateld_error *compressed_expand(struct arena *arena, struct span data, struct span *ret, uint64_t *ret_align)
{
    Elf64_Chdr header;
    if (!span_read(data, 0, &header, sizeof header))
        return damaged("no room for their header");
    struct span stream = span_from(data, sizeof header);
    TRY(check_header(&header, stream.size));
    uint8_t *bytes = arena_alloc(arena, header.ch_size);
    if (!bytes)
        return error_memory();
    uLongf size = header.ch_size;
    int status = uncompress(bytes, &size, stream.data, stream.size);
    if (status == Z_MEM_ERROR)
        return error_memory();
    if (status != Z_OK || size != header.ch_size)
        return damaged("zlib does not understand them, or they have another size");
    *ret = (struct span){bytes, size};
    *ret_align = header.ch_addralign ? header.ch_addralign : 1;
    return NULL;
}

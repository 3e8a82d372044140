#include "crate/build_id.h"

#include <assert.h>
#include <elf.h>

#include "base/hash.h"

/* Adds [begin, end) of the file. */
static void add_bytes(XXH3_state_t *state, struct span file, uint64_t begin, uint64_t end)
{
    XXH3_128bits_update(state, file.data + begin, (size_t)(end - begin));
}

/* Adds the meta segment, with the ELF header and the crate header as they are when all that stripping changes
 * is zero. */
static void add_meta(XXH3_state_t *state, struct span file, uint64_t header_off,
                     const struct crate_header *header)
{
    Elf64_Ehdr ehdr;
    struct crate_header masked = *header;
    memcpy(&ehdr, file.data, sizeof ehdr);
    ehdr.e_shoff = 0;
    ehdr.e_shnum = 0;
    ehdr.e_shstrndx = 0;
    memset(masked.build_id, 0, sizeof masked.build_id);
    masked.flags &= ~(uint32_t)CRATE_FLAG_HAS_RELINK;
    masked.relink_off = 0;
    masked.relink_size = 0;
    XXH3_128bits_update(state, &ehdr, sizeof ehdr);
    add_bytes(state, file, sizeof ehdr, header_off);
    XXH3_128bits_update(state, &masked, sizeof masked);
    add_bytes(state, file, header_off + sizeof masked, header->segments[CRATE_SEGMENT_META].file_size);
}

void crate_build_id(struct span file, uint64_t header_off, const struct crate_header *header,
                    uint8_t ret[CRATE_BUILD_ID_SIZE])
{
    assert(header_off >= sizeof(Elf64_Ehdr) && header_off % 8 == 0 &&
           header_off + sizeof *header <= header->segments[CRATE_SEGMENT_META].file_size);
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    add_meta(&state, file, header_off, header);
    for (int kind = CRATE_SEGMENT_META + 1; kind < CRATE_SEGMENT_COUNT; kind++) {
        const struct crate_segment *segment = &header->segments[kind];
        if (segment->file_size)
            add_bytes(&state, file, segment->rva, segment->rva + segment->file_size);
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
    memcpy(ret, canonical.digest, CRATE_BUILD_ID_SIZE);
}

#include "crate/build_id.h"

#include <assert.h>
#include <elf.h>
#include <inttypes.h>

#include "base/hash.h"
#include "crate/reader.h"

typedef XXH_errorcode hash_update(XXH3_state_t *, const void *, size_t);

/* Adds [begin, end) of the file. */
static void add_bytes(hash_update *update, XXH3_state_t *state, struct span file, uint64_t begin, uint64_t end)
{
    update(state, file.data + begin, (size_t)(end - begin));
}

/* Adds the meta segment with `masked` for its crate header, and the ELF header as it is when all that stripping changes
 * is zero. */
static void add_meta(hash_update *update, XXH3_state_t *state, struct span meta, uint64_t header_off,
                     const struct crate_header *masked)
{
    Elf64_Ehdr ehdr;
    memcpy(&ehdr, meta.data, sizeof ehdr);
    ehdr.e_shoff = 0;
    ehdr.e_shnum = 0;
    ehdr.e_shstrndx = 0;
    update(state, &ehdr, sizeof ehdr);
    add_bytes(update, state, meta, sizeof ehdr, header_off);
    update(state, masked, sizeof *masked);
    add_bytes(update, state, meta, header_off + sizeof *masked, masked->segments[CRATE_SEGMENT_META].file_size);
}

/* The crate header as it counts for the hash of the meta segment: what stripping and carried patches change is zero. */
static struct crate_header mask(const struct crate_header *header, uint64_t header_off)
{
    assert(header_off >= sizeof(Elf64_Ehdr) && header_off % 8 == 0 &&
           header_off + sizeof *header <= header->segments[CRATE_SEGMENT_META].file_size);
    struct crate_header masked = *header;
    masked.meta_hash = 0;
    masked.flags &= ~(uint32_t)CRATE_FLAG_HAS_RELINK;
    masked.relink_off = 0;
    masked.relink_size = 0;
    masked.carried_off = 0;
    masked.carried_count = 0;
    return masked;
}

void crate_build_id(struct span file, uint64_t header_off, const struct crate_header *header,
                    uint8_t ret[CRATE_BUILD_ID_SIZE])
{
    struct crate_header masked = mask(header, header_off);
    memset(masked.build_id, 0, sizeof masked.build_id);
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    add_meta(XXH3_128bits_update, &state, file, header_off, &masked);
    for (int kind = CRATE_SEGMENT_META + 1; kind < CRATE_SEGMENT_COUNT; kind++) {
        const struct crate_segment *segment = &header->segments[kind];
        if (segment->file_size)
            add_bytes(XXH3_128bits_update, &state, file, segment->rva, segment->rva + segment->file_size);
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
    memcpy(ret, canonical.digest, CRATE_BUILD_ID_SIZE);
}

static uint64_t meta_hash(struct span meta, uint64_t header_off, const struct crate_header *header)
{
    struct crate_header masked = mask(header, header_off);
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    add_meta(XXH3_64bits_update, &state, meta, header_off, &masked);
    return XXH3_64bits_digest(&state);
}

void crate_seal(struct span file, uint64_t header_off, struct crate_header *header)
{
    crate_build_id(file, header_off, header, header->build_id);
    header->meta_hash = meta_hash(file, header_off, header);
}

struct crateld_error *crate_check_meta(const char *path, struct span meta, const struct crate_header *header)
{
    uint64_t header_off = 0;
    TRY(crate_header_find(path, meta, &header_off));
    uint64_t hash = meta_hash(meta, header_off, header);
    if (hash != header->meta_hash)
        return error_create(CRATELD_ERROR_FORMAT,
                            "%s: damaged: headers and tables have the hash 0x%016" PRIx64 ", wanted 0x%016" PRIx64,
                            path, hash, header->meta_hash);
    return NULL;
}

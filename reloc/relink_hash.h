/* The content hash of a section: what the object says about it, before any address is known. Two sections
 * with one hash are the same code or data, with the same relocations against the same symbols; a reload does
 * not touch them.
 */
#ifndef RELOC_RELINK_HASH_H
#define RELOC_RELINK_HASH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"
#include "base/span.h"

enum { RELINK_HASH_BUFFER = 1024 };

/* Most sections are small, so what is hashed is gathered first: many small updates of the state cost more than it all.
 */
struct relink_hash {
    uint8_t buffer[RELINK_HASH_BUFFER];
    size_t size; /* bytes in it that are not in the state yet */
    bool has_state;
    XXH3_state_t state; /* of what came before; set up when the buffer was full */
};

/* Adds bytes. */
static inline void relink_hash_add(struct relink_hash *hash, const void *bytes, size_t size)
{
    if (size <= sizeof hash->buffer - hash->size) {
        if (size)
            memcpy(hash->buffer + hash->size, bytes, size);
        hash->size += size;
        return;
    }
    if (!hash->has_state) {
        XXH3_INITSTATE(&hash->state);
        XXH3_64bits_reset(&hash->state);
        hash->has_state = true;
    }
    XXH3_64bits_update(&hash->state, hash->buffer, hash->size);
    XXH3_64bits_update(&hash->state, bytes, size);
    hash->size = 0;
}

/* Begins with the section's contents: `bytes` as the object has them (empty for bss), `size` in memory and
 * the flags (enum relink_section_flags). */
static inline void relink_hash_init(struct relink_hash *hash, struct span bytes, uint64_t size, uint32_t flags)
{
    uint64_t fixed[] = {size, flags, bytes.size};
    hash->size = 0;
    hash->has_state = false;
    relink_hash_add(hash, fixed, sizeof fixed);
    relink_hash_add(hash, bytes.data, bytes.size);
}

/* Adds one relocation, in the order of places: the type and addend as in the object, before any relaxation.
 * `target` identifies the symbol beyond renumbering: its name; for a section's symbol the section's name, and
 * for one into merged strings or constants the element's bytes (`addend` is then what remains behind the
 * element's start). */
static inline void relink_hash_reloc(struct relink_hash *hash, uint64_t off, uint32_t type, int64_t addend,
                                     struct span target)
{
    uint64_t fixed[] = {off, type, (uint64_t)addend, target.size};
    relink_hash_add(hash, fixed, sizeof fixed);
    relink_hash_add(hash, target.data, target.size);
}

/* The hash of all that was added. */
static inline uint64_t relink_hash_finish(struct relink_hash *hash)
{
    if (!hash->has_state)
        return XXH3_64bits(hash->buffer, hash->size);
    XXH3_64bits_update(&hash->state, hash->buffer, hash->size);
    return XXH3_64bits_digest(&hash->state);
}

#endif

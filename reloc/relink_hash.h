/* The content hash of a section: what the object says about it, before any address is known. Two sections
 * with one hash are the same code or data, with the same relocations against the same symbols; a reload does
 * not touch them.
 */
#ifndef RELOC_RELINK_HASH_H
#define RELOC_RELINK_HASH_H

#include <stdint.h>
#include <string.h>

#include "base/hash.h"
#include "base/span.h"

struct relink_hash {
    XXH3_state_t state;
};

/* Begins with the section's contents: `bytes` as the object has them (empty for bss), `size` in memory and
 * the flags (enum relink_section_flags). */
static inline void relink_hash_init(struct relink_hash *hash, struct span bytes, uint64_t size, uint32_t flags)
{
    uint64_t fixed[] = {size, flags, bytes.size};
    XXH3_INITSTATE(&hash->state);
    XXH3_64bits_reset(&hash->state);
    XXH3_64bits_update(&hash->state, fixed, sizeof fixed);
    XXH3_64bits_update(&hash->state, bytes.data, bytes.size);
}

/* Adds one relocation, in the order of places: the type and addend as in the object, before any relaxation.
 * `target` identifies the symbol beyond renumbering: its name; for a section's symbol the section's name, and
 * for one into merged strings or constants the element's bytes (`addend` is then what remains behind the
 * element's start). */
static inline void relink_hash_reloc(struct relink_hash *hash, uint64_t off, uint32_t type, int64_t addend,
                                     struct span target)
{
    uint64_t fixed[] = {off, type, (uint64_t)addend, target.size};
    XXH3_64bits_update(&hash->state, fixed, sizeof fixed);
    XXH3_64bits_update(&hash->state, target.data, target.size);
}

/* The hash of all that was added. */
static inline uint64_t relink_hash_finish(const struct relink_hash *hash)
{
    return XXH3_64bits_digest(&hash->state);
}

#endif

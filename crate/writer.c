#include "crate/writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/radix.h"
#include "crate/reader.h"

void crate_tables_init(struct crate_tables *tables)
{
    *tables = (struct crate_tables){0};
    hash_index_init(&tables->string_index);
}

void crate_tables_deinit(struct crate_tables *tables)
{
    free(tables->needed.at);
    free(tables->imports.at);
    free(tables->exports.at);
    free(tables->buckets.at);
    free(tables->hashes.at);
    free(tables->relr.at);
    free(tables->data_relocs.at);
    free(tables->fixups.at);
    free(tables->modules.at);
    free(tables->moves.at);
    free(tables->units.at);
    free(tables->inits.at);
    free(tables->grown.at);
    free(tables->fresh.at);
    free(tables->fresh_tls.at);
    free(tables->starters.at);
    free(tables->vanished.at);
    free(tables->sites.at);
    free(tables->starts.at);
    free(tables->members.at);
    free(tables->member_needs.at);
    free(tables->member_exports.at);
    free(tables->member_buckets.at);
    free(tables->member_text.at);
    free(tables->member_strings.at);
    free(tables->strings.at);
    free(tables->string_offs.at);
    hash_index_deinit(&tables->string_index);
    *tables = (struct crate_tables){0};
}

struct crateld_error *crate_tables_string(struct crate_tables *tables, const char *text, uint32_t *ret)
{
    if (!tables->strings.count && !VEC_PUSH(&tables->strings, '\0'))
        return error_memory();
    if (!*text) {
        *ret = 0;
        return NULL;
    }
    uint64_t hash = hash_string(text);
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&tables->string_index, hash, &cursor)) != HASH_INDEX_NONE)
        if (!strcmp(tables->strings.at + tables->string_offs.at[i], text)) {
            *ret = tables->string_offs.at[i];
            return NULL;
        }
    size_t size = strlen(text) + 1;
    uint32_t off = (uint32_t)tables->strings.count;
    if (!VEC_RESERVE(&tables->strings, size) || !VEC_PUSH(&tables->string_offs, off) ||
        !hash_index_add(&tables->string_index, hash))
        return error_memory();
    memcpy(tables->strings.at + off, text, size);
    tables->strings.count += size;
    *ret = off;
    return NULL;
}

struct crateld_error *crate_tables_relr(struct crate_tables *tables, const uint64_t *rvas, size_t count)
{
    for (size_t i = 0; i < count;) {
        uint64_t base = rvas[i++];
        if (!VEC_PUSH(&tables->relr, base))
            return error_memory();
        base += 8;
        for (;;) {
            uint64_t bits = 0;
            for (; i < count && rvas[i] - base < UINT64_C(63) * 8; i++)
                bits |= UINT64_C(1) << ((rvas[i] - base) / 8);
            if (!bits)
                break;
            if (!VEC_PUSH(&tables->relr, bits << 1 | 1))
                return error_memory();
            base += UINT64_C(63) * 8;
        }
    }
    return NULL;
}

/* Sorts the exports by hash, and those with the same one by name. */
static struct crateld_error *sort_exports(struct crate_tables *tables)
{
    size_t count = tables->exports.count;
    struct keyed *keyed AUTO_FREE = calloc(count + 1, sizeof *keyed);
    struct crate_export *sorted AUTO_FREE = calloc(count + 1, sizeof *sorted);
    if (!keyed || !sorted)
        return error_memory();
    for (size_t i = 0; i < count; i++)
        keyed[i] = (struct keyed){tables->exports.at[i].hash, (uint32_t)i};
    if (!radix_sort(keyed, count))
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        struct crate_export export = tables->exports.at[keyed[i].number];
        size_t k = i;
        for (; k && sorted[k - 1].hash == export.hash && sorted[k - 1].name > export.name; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = export;
    }
    if (count)
        memcpy(tables->exports.at, sorted, count * sizeof *sorted);
    return NULL;
}

struct crateld_error *crate_tables_seal(struct crate_tables *tables, struct crate_header *header)
{
    size_t count = tables->exports.count;
    uint32_t bits = 0;
    hash_index_deinit(&tables->string_index);
    free(STEAL_PTR(tables->string_offs.at));
    TRY(sort_exports(tables));
    while ((UINT64_C(1) << bits) < count && bits < 30)
        bits++;
    size_t bucket_count = (size_t)1 << bits;
    tables->buckets.count = 0;
    tables->hashes.count = 0;
    if (!VEC_RESERVE(&tables->buckets, bucket_count + 1) || !VEC_RESERVE(&tables->hashes, count))
        return error_memory();
    for (; tables->hashes.count < count; tables->hashes.count++)
        tables->hashes.at[tables->hashes.count] = (uint32_t)(tables->exports.at[tables->hashes.count].hash >> 32);
    size_t next = 0;
    for (uint64_t bucket = 0; bucket < bucket_count; bucket++) {
        while (next < count && tables->exports.at[next].hash >> 1 >> (63 - bits) < bucket)
            next++;
        tables->buckets.at[bucket] = (uint32_t)next;
    }
    tables->buckets.at[bucket_count] = (uint32_t)count;
    tables->buckets.count = bucket_count + 1;
    header->bucket_bits = bits;
    return NULL;
}

uint64_t crate_tables_place(const struct crate_tables *tables, uint32_t data_reloc_count, uint32_t fixup_count,
                            struct crate_header *header)
{
    const struct {
        size_t count, size;
    } sizes[CRATE_TABLE_COUNT] = {
        [CRATE_TABLE_NEEDED] = {tables->needed.count, sizeof(struct crate_needed)},
        [CRATE_TABLE_IMPORTS] = {tables->imports.count, sizeof(struct crate_import)},
        [CRATE_TABLE_EXPORTS] = {tables->exports.count, sizeof(struct crate_export)},
        [CRATE_TABLE_BUCKETS] = {tables->buckets.count, sizeof(uint32_t)},
        [CRATE_TABLE_RELR] = {tables->relr.count, sizeof(uint64_t)},
        [CRATE_TABLE_DATA_RELOCS] = {data_reloc_count, sizeof(struct crate_data_reloc)},
        [CRATE_TABLE_FIXUPS] = {fixup_count, sizeof(struct crate_fixup)},
        [CRATE_TABLE_MODULES] = {tables->modules.count, sizeof(struct crate_module)},
        [CRATE_TABLE_MOVES] = {tables->moves.count, sizeof(struct crate_move)},
        [CRATE_TABLE_UNITS] = {tables->units.count, sizeof(struct crate_unit)},
        [CRATE_TABLE_INITS] = {tables->inits.count, sizeof(struct crate_init)},
        [CRATE_TABLE_GROWN] = {tables->grown.count, sizeof(struct crate_grown)},
        [CRATE_TABLE_FRESH] = {tables->fresh.count, sizeof(struct crate_fresh)},
        [CRATE_TABLE_SITES] = {tables->sites.count, sizeof(struct crate_site)},
        [CRATE_TABLE_STARTS] = {tables->starts.count, sizeof(uint32_t)},
        [CRATE_TABLE_FRESH_TLS] = {tables->fresh_tls.count, sizeof(struct crate_fresh)},
        [CRATE_TABLE_VANISHED] = {tables->vanished.count, sizeof(struct crate_vanished)},
        [CRATE_TABLE_STARTERS] = {tables->starters.count, sizeof(struct crate_starter)},
        [CRATE_TABLE_HASHES] = {tables->hashes.count, sizeof(uint32_t)},
        [CRATE_TABLE_STRINGS] = {tables->strings.count, 1},
        [CRATE_TABLE_MEMBERS] = {tables->members.count, sizeof(struct crate_member)},
        [CRATE_TABLE_MEMBER_NEEDS] = {tables->member_needs.count, sizeof(uint32_t)},
        [CRATE_TABLE_MEMBER_EXPORTS] = {tables->member_exports.count, sizeof(struct crate_export)},
        [CRATE_TABLE_MEMBER_BUCKETS] = {tables->member_buckets.count, sizeof(uint32_t)},
        [CRATE_TABLE_MEMBER_TEXT] = {tables->member_text.count, sizeof(struct crate_member_text)},
        [CRATE_TABLE_MEMBER_STRINGS] = {tables->member_strings.count, 1},
    };
    /* What is read of a crate that may never be used comes first: by the loader the needed table and the first strings,
     * by the linker the hashes and the crate's name, which is the first string. All that in one go, if it is not long.
     */
    enum { FIRST_COUNT = 3, FIRST_STRINGS = 512 };
    uint64_t end = CRATE_HEADER_RVA + sizeof *header;
    bool is_short = end + tables->needed.count * sizeof(struct crate_needed) + tables->hashes.count * sizeof(uint32_t) +
                        FIRST_STRINGS <=
                    CRATE_START_SIZE;
    const int first[FIRST_COUNT] = {CRATE_TABLE_NEEDED, is_short ? CRATE_TABLE_HASHES : CRATE_TABLE_STRINGS,
                                    is_short ? CRATE_TABLE_STRINGS : CRATE_TABLE_HASHES};
    for (int k = 0; k < FIRST_COUNT + CRATE_TABLE_COUNT; k++) {
        int i = k < FIRST_COUNT ? first[k] : k - FIRST_COUNT;
        if (k >= FIRST_COUNT && (i == first[0] || i == first[1] || i == first[2]))
            continue;
        end = (end + 7) & ~UINT64_C(7);
        header->tables[i] = (struct crate_table){(uint32_t)end, (uint32_t)sizes[i].count};
        end += sizes[i].count * sizes[i].size;
    }
    return end;
}

#define WRITE_TABLE(kind, vec)                                                                                         \
    do {                                                                                                               \
        if ((vec).count)                                                                                               \
            memcpy(image + header->tables[kind].rva, (vec).at, (vec).count * sizeof *(vec).at);                        \
    } while (0)

void crate_tables_write(const struct crate_tables *tables, const struct crate_header *header, uint8_t *image)
{
    memcpy(image + CRATE_HEADER_RVA, header, sizeof *header);
    WRITE_TABLE(CRATE_TABLE_NEEDED, tables->needed);
    WRITE_TABLE(CRATE_TABLE_IMPORTS, tables->imports);
    WRITE_TABLE(CRATE_TABLE_EXPORTS, tables->exports);
    WRITE_TABLE(CRATE_TABLE_BUCKETS, tables->buckets);
    WRITE_TABLE(CRATE_TABLE_RELR, tables->relr);
    WRITE_TABLE(CRATE_TABLE_DATA_RELOCS, tables->data_relocs);
    WRITE_TABLE(CRATE_TABLE_FIXUPS, tables->fixups);
    WRITE_TABLE(CRATE_TABLE_MODULES, tables->modules);
    WRITE_TABLE(CRATE_TABLE_MOVES, tables->moves);
    WRITE_TABLE(CRATE_TABLE_UNITS, tables->units);
    WRITE_TABLE(CRATE_TABLE_INITS, tables->inits);
    WRITE_TABLE(CRATE_TABLE_GROWN, tables->grown);
    WRITE_TABLE(CRATE_TABLE_FRESH, tables->fresh);
    WRITE_TABLE(CRATE_TABLE_SITES, tables->sites);
    WRITE_TABLE(CRATE_TABLE_STARTS, tables->starts);
    WRITE_TABLE(CRATE_TABLE_FRESH_TLS, tables->fresh_tls);
    WRITE_TABLE(CRATE_TABLE_VANISHED, tables->vanished);
    WRITE_TABLE(CRATE_TABLE_STARTERS, tables->starters);
    WRITE_TABLE(CRATE_TABLE_HASHES, tables->hashes);
    WRITE_TABLE(CRATE_TABLE_STRINGS, tables->strings);
    WRITE_TABLE(CRATE_TABLE_MEMBERS, tables->members);
    WRITE_TABLE(CRATE_TABLE_MEMBER_NEEDS, tables->member_needs);
    WRITE_TABLE(CRATE_TABLE_MEMBER_EXPORTS, tables->member_exports);
    WRITE_TABLE(CRATE_TABLE_MEMBER_BUCKETS, tables->member_buckets);
    WRITE_TABLE(CRATE_TABLE_MEMBER_TEXT, tables->member_text);
    WRITE_TABLE(CRATE_TABLE_MEMBER_STRINGS, tables->member_strings);
}

#include "linker/merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "linker/output.h"
#include "linker/own.h"

/* A piece of an input section and where it went. */
struct merge_piece {
    uint32_t in_off;
    uint32_t number; /* of the entry in the table */
};

/* The pieces of one input section, in order. */
struct link_merge {
    struct link_merge_table *table; /* borrowed */
    struct merge_piece *pieces;     /* in the link's arena */
    uint32_t piece_count;
};

struct merge_entry {
    struct span bytes; /* borrowed from the input */
    uint64_t hash;
    uint64_t out_off;
};

/* All pieces that may share places. */
struct link_merge_table {
    struct link_merge_table *next; /* owned */
    const char *name;              /* output name */
    uint64_t flags;
    uint32_t entry_size;
    uint8_t align_log2;
    struct hash_index index;
    VEC(struct merge_entry) entries; /* owned; numbers of the index */
    uint64_t size;
    struct link_section *section; /* the merged section */
};

void link_merge_table_destroy(struct link_merge_table *tables)
{
    while (tables) {
        struct link_merge_table *next = tables->next;
        hash_index_deinit(&tables->index);
        free(tables->entries.at);
        free(tables);
        tables = next;
    }
}

static struct crateld_error *table_for(struct link *link, const struct link_section *section,
                                       struct link_merge_table **ret)
{
    uint64_t flags = section->flags & (SHF_ALLOC | SHF_MERGE | SHF_STRINGS);
    const char *name = link_output_name(section);
    struct link_merge_table **end = &link->merges;
    for (; *end; end = &(*end)->next)
        if ((*end)->flags == flags && (*end)->entry_size == section->entry_size &&
            (*end)->align_log2 == section->align_log2 && !strcmp((*end)->name, name)) {
            *ret = *end;
            return NULL;
        }
    struct link_merge_table *table = calloc(1, sizeof *table);
    if (!table)
        return error_memory();
    table->name = name;
    table->flags = flags;
    table->entry_size = section->entry_size;
    table->align_log2 = section->align_log2;
    hash_index_init(&table->index);
    *end = table;
    TRY(link_own_section(link, name, SHT_PROGBITS, flags, 0, section->align_log2, &table->section));
    table->section->entry_size = section->entry_size;
    *ret = table;
    return VEC_PUSH(&link->own_sections, table->section) ? NULL : error_memory();
}

/* The number of `bytes` in the table, entered if they are new; HASH_INDEX_NONE without memory. */
static uint32_t enter_piece(struct link_merge_table *table, struct span bytes)
{
    uint64_t hash = hash_bytes(bytes.data, bytes.size);
    size_t cursor = 0;
    uint32_t i;
    while ((i = hash_index_next(&table->index, hash, &cursor)) != HASH_INDEX_NONE) {
        const struct merge_entry *entry = &table->entries.at[i];
        if (entry->hash == hash && entry->bytes.size == bytes.size &&
            !memcmp(entry->bytes.data, bytes.data, bytes.size))
            return i;
    }
    uint64_t align = UINT64_C(1) << table->align_log2;
    uint64_t off = (table->size + align - 1) & ~(align - 1);
    struct merge_entry entry = {bytes, hash, off};
    if (!VEC_PUSH(&table->entries, entry) || !hash_index_add(&table->index, hash))
        return HASH_INDEX_NONE;
    table->size = off + bytes.size;
    return (uint32_t)(table->entries.count - 1);
}

/* Bytes up to and including the string's terminator, a zero character of `width` bytes; all the rest if there
 * is none. */
static size_t string_size(struct span rest, uint32_t width)
{
    if (width == 1) {
        const uint8_t *end = memchr(rest.data, 0, rest.size);
        return end ? (size_t)(end - rest.data) + 1 : rest.size;
    }
    for (size_t at = 0; at + width <= rest.size; at += width) {
        size_t zeros = 0;
        while (zeros < width && !rest.data[at + zeros])
            zeros++;
        if (zeros == width)
            return at + width;
    }
    return rest.size;
}

static uint32_t count_pieces(const struct link_section *section)
{
    if (!(section->flags & SHF_STRINGS))
        return (uint32_t)(section->size / section->entry_size);
    uint32_t count = 0;
    for (struct span rest = section->data; rest.size; count++)
        rest = span_from(rest, string_size(rest, section->entry_size));
    return count;
}

static struct crateld_error *cut_section(struct link *link, struct link_section *section)
{
    struct link_merge *merge = arena_alloc(&link->arena, sizeof *merge);
    if (!merge)
        return error_memory();
    TRY(table_for(link, section, &merge->table));
    merge->piece_count = count_pieces(section);
    merge->pieces = arena_alloc_array(&link->arena, merge->piece_count, sizeof *merge->pieces);
    if (!merge->pieces)
        return error_memory();
    struct span rest = section->data;
    for (uint32_t i = 0; i < merge->piece_count; i++) {
        size_t size = section->flags & SHF_STRINGS ? string_size(rest, section->entry_size) : section->entry_size;
        uint32_t number = enter_piece(merge->table, (struct span){rest.data, size});
        if (number == HASH_INDEX_NONE)
            return error_memory();
        if (merge->table->size > CRATE_MAX_SIZE)
            return error_create(CRATELD_ERROR_RANGE, "%s: section %s grows beyond all reach", section->object->path,
                                section->name);
        merge->pieces[i] = (struct merge_piece){(uint32_t)(rest.data - section->data.data), number};
        rest = span_from(rest, size);
    }
    section->merge = merge;
    return NULL;
}

/* Gives the merged section of `table` its contents. */
static struct crateld_error *fill_table(struct link *link, struct link_merge_table *table)
{
    uint8_t *bytes = arena_alloc(&link->arena, table->size);
    if (!bytes)
        return error_memory();
    for (size_t i = 0; i < table->entries.count; i++)
        memcpy(bytes + table->entries.at[i].out_off, table->entries.at[i].bytes.data, table->entries.at[i].bytes.size);
    table->section->data = (struct span){bytes, table->size};
    table->section->size = table->size;
    return NULL;
}

/* Cuts the section, unless it is a lone object's, and not loaded: its compiler has merged that. */
static struct crateld_error *take_section(struct link *link, struct link_section *section)
{
    if (link->objects.count > 1 || section->flags & SHF_ALLOC)
        return cut_section(link, section);
    section->kind = LINK_SECTION_DEBUG;
    return NULL;
}

struct crateld_error *link_merge_sections(struct link *link)
{
    for (size_t i = 0; i < link->objects.count; i++) {
        struct link_object *object = link->objects.at[i];
        for (uint32_t k = 1; k < object->section_count; k++)
            if (object->sections[k].kind == LINK_SECTION_MERGE && object->sections[k].is_live)
                TRY(take_section(link, &object->sections[k]));
    }
    for (struct link_merge_table *table = link->merges; table; table = table->next)
        TRY(fill_table(link, table));
    return NULL;
}

struct link_section *link_merge_find(const struct link_section *section, uint64_t off, uint64_t *ret)
{
    const struct link_merge *merge = section->merge;
    uint32_t low = 0, high = merge->piece_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (merge->pieces[middle].in_off <= off)
            low = middle;
        else
            high = middle;
    }
    *ret = merge->table->entries.at[merge->pieces[low].number].out_off + (off - merge->pieces[low].in_off);
    return merge->table->section;
}

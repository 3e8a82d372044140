#include "reloc/relink_reader.h"

#include <elf.h>
#include <inttypes.h>

#include "base/hash.h"
#include "reloc/varint.h"

/* A FORMAT error in the relink section of `path`. */
#define FAULT(path, ...) error_prefix(error_create(CRATELD_ERROR_FORMAT, __VA_ARGS__), "%s: relink section", path)

/* Bytes of an element of each part. */
static const uint32_t element_sizes[RELINK_PART_COUNT] = {
    [RELINK_PART_MODULES] = sizeof(struct relink_module_record),
    [RELINK_PART_SECTIONS] = sizeof(struct relink_section_record),
    [RELINK_PART_SYMBOL_BLOCKS] = sizeof(uint32_t),
    [RELINK_PART_SYMBOLS] = 1,
    [RELINK_PART_KINDS] = sizeof(struct relink_kind_record),
    [RELINK_PART_RELOC_BLOCKS] = sizeof(uint32_t),
    [RELINK_PART_RELOCS] = 1,
    [RELINK_PART_NAMES] = sizeof(uint32_t),
    [RELINK_PART_STRINGS] = 1,
};

/* Element `i` of a part of fixed-size elements; false if there is none. */
static bool read_element(const struct relink_view *view, enum relink_part_kind part, uint32_t i, void *ret)
{
    return span_read(view->parts[part], (uint64_t)i * element_sizes[part], ret, element_sizes[part]);
}

static uint32_t element_count(const struct relink_view *view, enum relink_part_kind part)
{
    return (uint32_t)(view->parts[part].size / element_sizes[part]);
}

static uint32_t block_count(uint32_t count, uint32_t per_block)
{
    return count / per_block + (count % per_block != 0);
}

static struct crateld_error *check_header(const char *path, struct span bytes, const struct relink_header *header)
{
    if (header->magic != RELINK_MAGIC)
        return FAULT(path, "magic 0x%016" PRIx64 ", wanted 0x%016" PRIx64, header->magic, RELINK_MAGIC);
    if (header->version != RELINK_VERSION)
        return error_create(CRATELD_ERROR_UNSUPPORTED, "%s: relink section of version %u, this crateld reads %d", path,
                            header->version, RELINK_VERSION);
    if (header->header_size != sizeof *header)
        return FAULT(path, "header of %u bytes, wanted %zu", header->header_size, sizeof *header);
    if (header->size != bytes.size)
        return FAULT(path, "%zu bytes, but it says it has %" PRIu64 ": truncated?", bytes.size, header->size);
    return NULL;
}

static struct crateld_error *check_counts(const struct relink_view *view)
{
    const struct relink_header *header = &view->header;
    if (element_count(view, RELINK_PART_SYMBOL_BLOCKS) != block_count(header->symbol_count, RELINK_SYMBOLS_PER_BLOCK) ||
        element_count(view, RELINK_PART_RELOC_BLOCKS) != block_count(header->reloc_count, RELINK_RELOCS_PER_BLOCK))
        return FAULT(view->path, "the blocks are not those of %u symbols and %u relocations", header->symbol_count,
                     header->reloc_count);
    if (header->symbol_count == RELINK_NONE || header->reloc_count == RELINK_NONE)
        return FAULT(view->path, "%u symbols and %u relocations", header->symbol_count, header->reloc_count);
    struct span strings = view->parts[RELINK_PART_STRINGS];
    if (!strings.size || strings.data[0] || strings.data[strings.size - 1])
        return FAULT(view->path, "the strings' first or last byte is not NUL");
    return NULL;
}

struct crateld_error *relink_view_open(const char *path, struct span bytes, struct relink_view *ret)
{
    struct relink_view view = {.path = path};
    if (!span_read(bytes, 0, &view.header, sizeof view.header))
        return FAULT(path, "%zu bytes, too few for its header", bytes.size);
    TRY(check_header(path, bytes, &view.header));
    for (int part = 0; part < RELINK_PART_COUNT; part++) {
        struct relink_part place = view.header.parts[part];
        if (place.off % 8 || place.size % element_sizes[part] ||
            !span_slice(bytes, place.off, place.size, &view.parts[part]))
            return FAULT(path, "part %d: %u bytes at 0x%x are not aligned or not within it", part, place.size,
                         place.off);
    }
    TRY(check_counts(&view));
    view.module_count = element_count(&view, RELINK_PART_MODULES);
    view.section_count = element_count(&view, RELINK_PART_SECTIONS);
    view.kind_count = element_count(&view, RELINK_PART_KINDS);
    view.name_count = element_count(&view, RELINK_PART_NAMES);
    *ret = view;
    return NULL;
}

/* Sets *ret to the string at `off`. */
static struct crateld_error *get_string(const struct relink_view *view, uint64_t off, const char **ret)
{
    struct span strings = view->parts[RELINK_PART_STRINGS];
    if (off >= strings.size)
        return FAULT(view->path, "string 0x%" PRIx64 " of 0x%zx bytes", off, strings.size);
    *ret = (const char *)strings.data + off; /* ends within them: their last byte is NUL */
    return NULL;
}

struct crateld_error *relink_view_module(const struct relink_view *view, uint32_t i, struct relink_module *ret)
{
    struct relink_module_record record, next;
    if (!read_element(view, RELINK_PART_MODULES, i, &record))
        return FAULT(view->path, "module %u of %u", i, view->module_count);
    if (i + 1 == view->module_count || !read_element(view, RELINK_PART_MODULES, i + 1, &next))
        next = (struct relink_module_record){.first_section = view->section_count,
                                             .first_symbol = view->header.symbol_count};
    if (record.first_section > next.first_section || next.first_section > view->section_count ||
        record.first_symbol > next.first_symbol || next.first_symbol > view->header.symbol_count)
        return FAULT(view->path, "module %u: sections %u to %u and symbols %u to %u", i, record.first_section,
                     next.first_section, record.first_symbol, next.first_symbol);
    struct relink_module module = {
        .hash = record.hash,
        .debug_off = record.debug_off,
        .debug_size = record.debug_size,
        .first_section = record.first_section,
        .section_count = next.first_section - record.first_section,
        .first_symbol = record.first_symbol,
        .symbol_count = next.first_symbol - record.first_symbol,
    };
    TRY(get_string(view, record.path, &module.path));
    TRY(get_string(view, record.member, &module.member));
    *ret = module;
    return NULL;
}

/* The number in a record that a binary search looks at: the one at `member_off` of element `i` of `part`. */
static uint32_t first_of(const struct relink_view *view, enum relink_part_kind part, uint32_t i, size_t member_off)
{
    uint32_t first = 0;
    memcpy(&first, view->parts[part].data + (size_t)i * element_sizes[part] + member_off, sizeof first);
    return first;
}

/* The last of `count` elements whose first number is not above `number`: the one that owns it, since those
 * that own nothing share theirs with the next one. 0 if there is none. */
static uint32_t owner_of(const struct relink_view *view, enum relink_part_kind part, size_t member_off, uint32_t number)
{
    uint32_t low = 0, high = element_count(view, part);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (first_of(view, part, middle, member_off) <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : 0;
}

static struct crateld_error *check_section(const struct relink_view *view, uint32_t i,
                                           const struct relink_section_record *record, uint32_t end)
{
    if (record->first_reloc > end || end > view->header.reloc_count)
        return FAULT(view->path, "section %u: relocations %u to %u of %u", i, record->first_reloc, end,
                     view->header.reloc_count);
    if (record->flags & ~RELINK_SECTION_ALL_FLAGS || record->align_log2 > 31)
        return FAULT(view->path, "section %u: flags 0x%x, alignment 2^%u", i, record->flags, record->align_log2);
    return NULL;
}

struct crateld_error *relink_view_section(const struct relink_view *view, uint32_t i, struct relink_section *ret)
{
    struct relink_section_record record, next;
    if (!read_element(view, RELINK_PART_SECTIONS, i, &record))
        return FAULT(view->path, "section %u of %u", i, view->section_count);
    if (i + 1 == view->section_count || !read_element(view, RELINK_PART_SECTIONS, i + 1, &next))
        next = (struct relink_section_record){.first_reloc = view->header.reloc_count};
    TRY(check_section(view, i, &record, next.first_reloc));
    struct relink_section section = {
        .rva = record.rva,
        .size = record.size,
        .capacity = record.capacity,
        .flags = record.flags,
        .align_log2 = record.align_log2,
        .hash = record.hash,
        .module = owner_of(view, RELINK_PART_MODULES, offsetof(struct relink_module_record, first_section), i),
        .first_reloc = record.first_reloc,
        .reloc_count = next.first_reloc - record.first_reloc,
    };
    TRY(get_string(view, record.name, &section.name));
    *ret = section;
    return NULL;
}

/* A symbol as it is decoded, and what the next one needs. */
struct decoded_symbol {
    struct relink_symbol symbol;
    uint64_t name;
    uint64_t section;
    struct span pointees;
};

static bool decode_refs(struct span bytes, uint64_t *off, uint32_t *refs)
{
    uint64_t set, value;
    if (!varint_read(bytes, off, &set) || set >> RELINK_REF_COUNT)
        return false;
    for (int ref = 0; ref < RELINK_REF_COUNT; ref++) {
        if (!(set >> ref & 1))
            continue;
        if (!varint_read(bytes, off, &value) || value >= RELINK_NONE)
            return false;
        refs[ref] = (uint32_t)value;
    }
    return true;
}

/* Decodes the symbol at *off; *section is the number of the section of the previous one that has any. */
static bool decode_symbol(struct span bytes, uint64_t *off, uint64_t *section, struct decoded_symbol *ret)
{
    static const uint8_t bindings[] = {STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE};
    uint64_t shape, delta, size;
    uint8_t info;
    if (!span_read(bytes, *off, &info, sizeof info))
        return false;
    ++*off;
    *ret = (struct decoded_symbol){.symbol.section = RELINK_NONE,
                                   .symbol.type = info & 15,
                                   .symbol.binding = bindings[info >> 4 & 3],
                                   .symbol.visibility = info >> 6};
    memset(ret->symbol.refs, 0xff, sizeof ret->symbol.refs);
    if (!varint_read(bytes, off, &shape) || shape >> RELINK_SHAPE_FLAGS_SHIFT > RELINK_SYMBOL_ALL_FLAGS)
        return false;
    ret->symbol.where = shape & RELINK_SHAPE_WHERE;
    ret->symbol.flags = (uint32_t)(shape >> RELINK_SHAPE_FLAGS_SHIFT);
    if (!varint_read(bytes, off, &ret->name))
        return false;
    if (ret->symbol.where == RELINK_IN_SECTION) {
        if (!varint_read(bytes, off, &delta))
            return false;
        *section += (uint64_t)varint_unfold(delta);
        ret->section = *section;
    }
    if (!varint_read(bytes, off, &ret->symbol.value) || !varint_read(bytes, off, &ret->symbol.size))
        return false;
    if (shape & RELINK_SHAPE_HAS_REFS && !decode_refs(bytes, off, ret->symbol.refs))
        return false;
    if (!(shape & RELINK_SHAPE_HAS_POINTEES))
        return true;
    if (!varint_read(bytes, off, &size) || !span_slice(bytes, *off, size, &ret->pointees))
        return false;
    *off += size;
    return true;
}

/* Symbols in their order: those of one block follow from each other. */
struct symbol_walk {
    uint32_t next; /* the number of the symbol that is decoded next */
    uint64_t off, section;
};

static struct crateld_error *next_symbol(const struct relink_view *view, struct symbol_walk *walk,
                                         struct decoded_symbol *ret)
{
    uint32_t i = walk->next, start;
    if (i >= view->header.symbol_count ||
        !read_element(view, RELINK_PART_SYMBOL_BLOCKS, i / RELINK_SYMBOLS_PER_BLOCK, &start))
        return FAULT(view->path, "symbol %u of %u", i, view->header.symbol_count);
    if (i % RELINK_SYMBOLS_PER_BLOCK == 0) {
        walk->off = start;
        walk->section = 0;
    }
    if (!decode_symbol(view->parts[RELINK_PART_SYMBOLS], &walk->off, &walk->section, ret))
        return FAULT(view->path, "symbol %u: damaged before 0x%" PRIx64 " of the block at 0x%x", i, walk->off, start);
    walk->next++;
    return NULL;
}

static struct crateld_error *check_symbol(const struct relink_view *view, uint32_t i, struct decoded_symbol *symbol)
{
    if (symbol->symbol.where != RELINK_IN_SECTION)
        return NULL;
    if (symbol->section >= view->section_count)
        return FAULT(view->path, "symbol %u: section %" PRIu64 " of %u", i, symbol->section, view->section_count);
    symbol->symbol.section = (uint32_t)symbol->section;
    return NULL;
}

/* Decodes symbol `i` from the start of its block. */
static struct crateld_error *read_symbol(const struct relink_view *view, uint32_t i, struct decoded_symbol *ret)
{
    struct symbol_walk walk = {.next = i - i % RELINK_SYMBOLS_PER_BLOCK};
    while (walk.next <= i)
        TRY(next_symbol(view, &walk, ret));
    return check_symbol(view, i, ret);
}

struct crateld_error *relink_view_symbol(const struct relink_view *view, uint32_t i, struct relink_symbol *ret)
{
    struct decoded_symbol decoded = {0};
    TRY(read_symbol(view, i, &decoded));
    TRY(get_string(view, decoded.name, &decoded.symbol.name));
    decoded.symbol.module = owner_of(view, RELINK_PART_MODULES, offsetof(struct relink_module_record, first_symbol), i);
    *ret = decoded.symbol;
    return NULL;
}

struct crateld_error *relink_view_symbols(const struct relink_view *view, uint32_t first, uint32_t count,
                                          struct relink_symbol *ret)
{
    struct symbol_walk walk = {.next = first - first % RELINK_SYMBOLS_PER_BLOCK};
    struct decoded_symbol decoded = {0};
    uint32_t module =
        count ? owner_of(view, RELINK_PART_MODULES, offsetof(struct relink_module_record, first_symbol), first) : 0;
    while (walk.next < first)
        TRY(next_symbol(view, &walk, &decoded));
    for (uint32_t i = 0; i < count; i++) {
        TRY(next_symbol(view, &walk, &decoded));
        TRY(check_symbol(view, first + i, &decoded));
        TRY(get_string(view, decoded.name, &decoded.symbol.name));
        decoded.symbol.module = module;
        ret[i] = decoded.symbol;
    }
    return NULL;
}

/* Reads entry `i` of the names: the symbol's number, and the hash of its name. */
static struct crateld_error *read_name(const struct relink_view *view, uint32_t i, uint32_t *symbol, uint64_t *hash)
{
    struct relink_symbol named = {0};
    if (!read_element(view, RELINK_PART_NAMES, i, symbol))
        return FAULT(view->path, "name %u of %u", i, view->name_count);
    TRY(relink_view_symbol(view, *symbol, &named));
    *hash = hash_string(named.name);
    return NULL;
}

/* Where in [low, high), whose hashes are from `first` to `last`, `hash` is likely to be: hashes are spread evenly. */
static uint32_t guess(uint32_t low, uint32_t high, uint64_t first, uint64_t last, uint64_t hash)
{
    double part = last > first ? (double)(hash - first) / (double)(last - first) : 0.5;
    uint32_t step = (uint32_t)(part * (double)(high - low));
    return low + (step < high - low ? step : high - low - 1);
}

/* Sets *ret to the first name whose hash is not below `hash`. Of a file that is not hostile, a few are looked at; of
 * any, a logarithmic number, for every other step halves what is left. */
static struct crateld_error *find_hash(const struct relink_view *view, uint64_t hash, uint32_t *ret)
{
    uint32_t low = 0, high = view->name_count, symbol = 0;
    uint64_t first = 0, last = UINT64_MAX, found = 0;
    for (bool is_guess = true; low < high; is_guess = !is_guess) {
        uint32_t middle =
            is_guess && hash >= first && hash <= last ? guess(low, high, first, last, hash) : low + (high - low) / 2;
        TRY(read_name(view, middle, &symbol, &found));
        if (found < hash) {
            low = middle + 1;
            first = found;
        } else {
            high = middle;
            last = found;
        }
    }
    *ret = low;
    return NULL;
}

struct crateld_error *relink_view_find(const struct relink_view *view, const char *name, uint32_t *ret)
{
    uint64_t hash = hash_string(name);
    uint32_t low = 0, symbol = 0, previous = 0;
    TRY(find_hash(view, hash, &low));
    /* Names with one hash: few, in any file that is not hostile. */
    for (uint32_t i = low; i < view->name_count; i++) {
        struct relink_symbol named = {0};
        if (!read_element(view, RELINK_PART_NAMES, i, &symbol))
            return FAULT(view->path, "name %u of %u", i, view->name_count);
        TRY(relink_view_symbol(view, symbol, &named));
        if (i > low && symbol <= previous)
            return FAULT(view->path, "name %u is not sorted", i);
        previous = symbol;
        if (strcmp(named.name, name) == 0) {
            *ret = symbol;
            return NULL;
        }
        if (hash_string(named.name) != hash)
            break;
    }
    *ret = RELINK_NONE;
    return NULL;
}

/* Makes the section that owns relocation `cursor->next` the current one. */
static struct crateld_error *enter_section(struct relink_cursor *cursor)
{
    struct relink_section section = {0};
    struct relink_module module = {0};
    uint32_t number =
        owner_of(cursor->view, RELINK_PART_SECTIONS, offsetof(struct relink_section_record, first_reloc), cursor->next);
    TRY(relink_view_section(cursor->view, number, &section));
    TRY(relink_view_module(cursor->view, section.module, &module));
    cursor->section = number;
    cursor->section_end = section.first_reloc + section.reloc_count;
    cursor->first_symbol = module.first_symbol;
    cursor->place = 0;
    if (cursor->next < section.first_reloc || cursor->next >= cursor->section_end)
        return FAULT(cursor->view->path, "relocation %u is in no section", cursor->next);
    return NULL;
}

/* Makes relocation `number`, the first of a block, the next one. */
static struct crateld_error *enter_block(struct relink_cursor *cursor, uint32_t number)
{
    uint32_t start = 0;
    if (!read_element(cursor->view, RELINK_PART_RELOC_BLOCKS, number / RELINK_RELOCS_PER_BLOCK, &start))
        return FAULT(cursor->view->path, "relocation %u of %u", number, cursor->view->header.reloc_count);
    cursor->next = number;
    cursor->off = start;
    cursor->section_end = 0; /* the next step finds the section and starts at its place 0 */
    return NULL;
}

/* Reads the numbers of a relocation; *kind is set to its kind. */
static bool decode_reloc(struct relink_cursor *cursor, struct relink_kind_record *kind, uint64_t *delta,
                         int64_t *symbol, int64_t *addend)
{
    struct span bytes = cursor->view->parts[RELINK_PART_RELOCS];
    uint64_t number, folded;
    if (!varint_read(bytes, &cursor->off, &number) || number >= cursor->view->kind_count ||
        !read_element(cursor->view, RELINK_PART_KINDS, (uint32_t)number, kind))
        return false;
    if (!varint_read(bytes, &cursor->off, delta) || !varint_read(bytes, &cursor->off, &folded))
        return false;
    *symbol = varint_unfold(folded);
    *addend = kind->addend;
    if (!kind->has_addend)
        return true;
    if (!varint_read(bytes, &cursor->off, &folded))
        return false;
    *addend = varint_unfold(folded);
    return true;
}

/* Decodes relocation `cursor->next`, which exists, and moves on. */
static struct crateld_error *step(struct relink_cursor *cursor, struct relink_reloc *ret)
{
    const struct relink_view *view = cursor->view;
    if (cursor->next % RELINK_RELOCS_PER_BLOCK == 0)
        TRY(enter_block(cursor, cursor->next));
    if (cursor->next >= cursor->section_end)
        TRY(enter_section(cursor));
    struct relink_kind_record kind = {0};
    uint64_t delta = 0;
    int64_t symbol = 0, addend = 0;
    if (!decode_reloc(cursor, &kind, &delta, &symbol, &addend))
        return FAULT(view->path, "relocation %u is damaged", cursor->next);
    if (delta > UINT32_MAX - cursor->place)
        return FAULT(view->path, "relocation %u: place 0x%x + 0x%" PRIx64, cursor->next, cursor->place, delta);
    uint64_t number = cursor->first_symbol + (uint64_t)symbol;
    if (number >= view->header.symbol_count)
        return FAULT(view->path, "relocation %u: symbol %" PRIu64 " of %u", cursor->next, number,
                     view->header.symbol_count);
    cursor->place += (uint32_t)delta;
    cursor->next++;
    *ret = (struct relink_reloc){cursor->section, cursor->place, (uint32_t)number, kind.type, addend};
    return NULL;
}

/* Sets *ret to whether the first relocation of block `block` has its place below `begin`. */
static struct crateld_error *is_block_below(struct relink_cursor *cursor, uint32_t block, uint32_t begin, bool *ret)
{
    struct relink_reloc reloc = {0};
    TRY(enter_block(cursor, block * RELINK_RELOCS_PER_BLOCK));
    TRY(step(cursor, &reloc));
    *ret = reloc.off < begin;
    return NULL;
}

/* Puts the cursor on the block in which the first relocation at or behind `begin` is to be found: the last
 * block that starts in the section and below it, or else the one in which the section starts. */
static struct crateld_error *seek(struct relink_cursor *cursor, const struct relink_section *section, uint32_t begin)
{
    uint32_t low = section->first_reloc / RELINK_RELOCS_PER_BLOCK + 1;
    uint32_t high = block_count(section->first_reloc + section->reloc_count, RELINK_RELOCS_PER_BLOCK);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        bool is_below = false;
        TRY(is_block_below(cursor, middle, begin, &is_below));
        if (is_below)
            low = middle + 1;
        else
            high = middle;
    }
    return enter_block(cursor, (low - 1) * RELINK_RELOCS_PER_BLOCK);
}

struct crateld_error *relink_view_relocs_in(const struct relink_view *view, uint32_t section, uint32_t begin,
                                            uint32_t end, struct relink_cursor *ret)
{
    struct relink_section found = {0};
    TRY(relink_view_section(view, section, &found));
    struct relink_cursor cursor = {.view = view, .symbol = RELINK_NONE, .wanted = section};
    if (found.reloc_count)
        TRY(seek(&cursor, &found, begin));
    cursor.begin = begin;
    cursor.limit = end;
    cursor.end = found.reloc_count ? found.first_reloc + found.reloc_count : 0;
    *ret = cursor;
    return NULL;
}

struct crateld_error *relink_view_relocs_to(const struct relink_view *view, uint32_t symbol, struct relink_cursor *ret)
{
    struct decoded_symbol decoded = {0};
    TRY(read_symbol(view, symbol, &decoded));
    struct relink_cursor cursor = {.view = view, .symbol = symbol, .blocks = decoded.pointees};
    if (decoded.symbol.where == RELINK_IN_SECTION) {
        struct relink_section section = {0};
        TRY(relink_view_section(view, decoded.symbol.section, &section));
        cursor.block = section.first_reloc / RELINK_RELOCS_PER_BLOCK;
    }
    *ret = cursor;
    return NULL;
}

/* By pointee: goes to the next block that has a relocation against the symbol. */
static struct crateld_error *next_listed_block(struct relink_cursor *cursor)
{
    const struct relink_view *view = cursor->view;
    bool is_first = cursor->blocks_off == 0;
    uint64_t delta;
    if (!varint_read(cursor->blocks, &cursor->blocks_off, &delta))
        return FAULT(view->path, "symbol %u: the list of relocations against it is damaged", cursor->symbol);
    uint64_t block = cursor->block + (is_first ? (uint64_t)varint_unfold(delta) : delta + 1);
    if (block >= element_count(view, RELINK_PART_RELOC_BLOCKS))
        return FAULT(view->path, "symbol %u: relocations against it in block %" PRIu64 " of %u", cursor->symbol, block,
                     element_count(view, RELINK_PART_RELOC_BLOCKS));
    cursor->block = block;
    TRY(enter_block(cursor, (uint32_t)block * RELINK_RELOCS_PER_BLOCK));
    uint32_t left = view->header.reloc_count - cursor->next;
    cursor->end = cursor->next + (left < RELINK_RELOCS_PER_BLOCK ? left : RELINK_RELOCS_PER_BLOCK);
    return NULL;
}

/* Whether the walk is about `reloc`. */
static bool is_wanted(const struct relink_cursor *cursor, const struct relink_reloc *reloc)
{
    if (cursor->symbol != RELINK_NONE)
        return reloc->symbol == cursor->symbol;
    return reloc->section == cursor->wanted && reloc->off >= cursor->begin && reloc->off < cursor->limit;
}

struct crateld_error *relink_cursor_next(struct relink_cursor *cursor, struct relink_reloc *ret, bool *is_end)
{
    for (;;) {
        if (cursor->next >= cursor->end) {
            if (cursor->blocks_off >= cursor->blocks.size) {
                *is_end = true;
                return NULL;
            }
            TRY(next_listed_block(cursor));
        }
        struct relink_reloc reloc = {0};
        TRY(step(cursor, &reloc));
        if (is_wanted(cursor, &reloc)) {
            *ret = reloc;
            *is_end = false;
            return NULL;
        }
        /* By pointer, what is behind the limit ends the walk: the rest of the section is not looked at. */
        if (cursor->symbol == RELINK_NONE && reloc.section == cursor->wanted && reloc.off >= cursor->limit)
            cursor->end = 0;
    }
}

static struct crateld_error *check_modules_and_sections(const struct relink_view *view)
{
    struct relink_module module = {0};
    struct relink_section section = {0};
    for (uint32_t i = 0; i < view->module_count; i++)
        TRY(relink_view_module(view, i, &module));
    for (uint32_t i = 0; i < view->section_count; i++)
        TRY(relink_view_section(view, i, &section));
    if ((view->section_count || view->header.symbol_count) &&
        (!view->module_count ||
         first_of(view, RELINK_PART_MODULES, 0, offsetof(struct relink_module_record, first_section)) ||
         first_of(view, RELINK_PART_MODULES, 0, offsetof(struct relink_module_record, first_symbol))))
        return FAULT(view->path, "sections or symbols that are in no module");
    return NULL;
}

/* Each block of symbols starts where the one before it ends, and each symbol can be read. */
static struct crateld_error *check_symbols(const struct relink_view *view)
{
    struct span bytes = view->parts[RELINK_PART_SYMBOLS];
    uint64_t off = 0, section = 0;
    for (uint32_t i = 0; i < view->header.symbol_count; i++) {
        uint32_t start = 0;
        if (i % RELINK_SYMBOLS_PER_BLOCK == 0) {
            section = 0;
            if (!read_element(view, RELINK_PART_SYMBOL_BLOCKS, i / RELINK_SYMBOLS_PER_BLOCK, &start) || start != off)
                return FAULT(view->path, "symbol %u: its block is at 0x%x, wanted 0x%" PRIx64, i, start, off);
        }
        struct decoded_symbol decoded;
        if (!decode_symbol(bytes, &off, &section, &decoded))
            return FAULT(view->path, "symbol %u: damaged before 0x%" PRIx64, i, off);
        struct relink_symbol symbol = {0};
        TRY(relink_view_symbol(view, i, &symbol));
    }
    if (off != bytes.size)
        return FAULT(view->path, "0x%" PRIx64 " bytes of symbols, 0x%zx in the part", off, bytes.size);
    return NULL;
}

/* What stands for a relocation in a sum over all of them. */
static uint64_t reloc_hash(const struct relink_reloc *reloc)
{
    return hash_bytes(reloc, sizeof *reloc);
}

/* Each block of relocations starts where the one before it ends, places ascend, and each relocation can be
 * read. Sets *sum to the sum of all relocations' hashes. */
static struct crateld_error *check_by_pointer(const struct relink_view *view, uint64_t *sum)
{
    struct relink_cursor cursor = {.view = view};
    struct relink_reloc reloc = {0}, previous = {0};
    *sum = 0;
    for (uint32_t i = 0; i < view->header.reloc_count; i++) {
        uint32_t start = 0;
        if (i % RELINK_RELOCS_PER_BLOCK == 0 &&
            (!read_element(view, RELINK_PART_RELOC_BLOCKS, i / RELINK_RELOCS_PER_BLOCK, &start) || start != cursor.off))
            return FAULT(view->path, "relocation %u: its block is at 0x%x, wanted 0x%" PRIx64, i, start, cursor.off);
        TRY(step(&cursor, &reloc));
        if (i && reloc.section == previous.section && reloc.off < previous.off)
            return FAULT(view->path, "relocation %u is not sorted by its place", i);
        previous = reloc;
        *sum += reloc_hash(&reloc);
    }
    if (cursor.off != view->parts[RELINK_PART_RELOCS].size)
        return FAULT(view->path, "0x%" PRIx64 " bytes of relocations, 0x%zx in the part", cursor.off,
                     view->parts[RELINK_PART_RELOCS].size);
    return NULL;
}

/* Sets *sum to the sum of the hashes of the relocations that are found by pointee. */
static struct crateld_error *check_by_pointee(const struct relink_view *view, uint64_t *sum)
{
    *sum = 0;
    for (uint32_t i = 0; i < view->header.symbol_count; i++) {
        struct relink_cursor cursor = {0};
        struct relink_reloc reloc = {0};
        bool is_end = false;
        TRY(relink_view_relocs_to(view, i, &cursor));
        for (;;) {
            TRY(relink_cursor_next(&cursor, &reloc, &is_end));
            if (is_end)
                break;
            *sum += reloc_hash(&reloc);
        }
    }
    return NULL;
}

static struct crateld_error *check_names(const struct relink_view *view)
{
    uint64_t previous_hash = 0;
    uint32_t previous = 0;
    for (uint32_t i = 0; i < view->name_count; i++) {
        struct relink_symbol symbol = {0};
        uint32_t number = 0;
        if (!read_element(view, RELINK_PART_NAMES, i, &number))
            return FAULT(view->path, "name %u of %u", i, view->name_count);
        TRY(relink_view_symbol(view, number, &symbol));
        uint64_t hash = hash_string(symbol.name);
        if (!*symbol.name || symbol.binding == STB_LOCAL)
            return FAULT(view->path, "name %u: symbol %u is local or has none", i, number);
        if (i && (hash < previous_hash || (hash == previous_hash && number <= previous)))
            return FAULT(view->path, "name %u is not sorted", i);
        previous_hash = hash;
        previous = number;
    }
    return NULL;
}

struct crateld_error *relink_view_check_all(const struct relink_view *view)
{
    uint64_t by_pointer = 0, by_pointee = 0;
    TRY(check_modules_and_sections(view));
    TRY(check_symbols(view));
    TRY(check_by_pointer(view, &by_pointer));
    TRY(check_by_pointee(view, &by_pointee));
    if (by_pointer != by_pointee)
        return FAULT(view->path, "the relocations found by pointee are not those found by pointer");
    return check_names(view);
}

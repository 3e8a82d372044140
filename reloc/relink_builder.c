/* The builder works in stages, each of which fills members of struct relink_builder that the next ones use:
 * relocations are put in order; the kinds are chosen; relocations are encoded; blocks are listed by pointee;
 * names are laid out; the other parts are encoded; all parts are put together. */
#include "reloc/relink_builder.h"

#include <assert.h>
#include <elf.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hash_index.h"
#include "base/vec.h"
#include "reloc/relink_format.h"
#include "reloc/string_pool.h"
#include "reloc/varint.h"

enum {
    KIND_LIMIT = 127,    /* kinds' numbers stay within one byte, as long as the CPU has no more types */
    KIND_MIN_SAVED = 16, /* bytes: a kind of its own costs its record */
    RELOC_MAX_SIZE = 4 * VARINT_MAX_SIZE,
    SYMBOL_MAX_SIZE = 1 + (6 + RELINK_REF_COUNT) * VARINT_MAX_SIZE, /* without its pointees */
};

/* What many relocations have in common, or may have. */
struct kind {
    struct relink_kind_record record;
    uint64_t count; /* of relocations with this type and addend */
};

struct byte_vec {
    uint8_t *at; /* owned */
    size_t count;
    size_t capacity;
};

struct relink_builder {
    VEC(struct relink_module) modules;
    VEC(struct relink_section) sections;
    VEC(struct relink_symbol) symbols;
    VEC(struct relink_reloc) relocs;
    VEC(struct kind) kinds;
    struct hash_index kind_index; /* by type and addend, while they are counted; later by what became of them */
    uint32_t *pointee_first;      /* owned; by symbol, and one more: first of its blocks in `pointees` */
    uint32_t *pointees;           /* owned */
    uint32_t *names;              /* owned; symbols by hash of the name */
    uint32_t name_count;
    struct string_pool strings;
    uint32_t next_string; /* number, in the order in which they were added */
    struct byte_vec parts[RELINK_PART_COUNT];
    uint8_t *bytes; /* owned; the finished section */
};

struct crateld_error *relink_builder_create(struct relink_builder **ret)
{
    struct relink_builder *builder = calloc(1, sizeof *builder);
    if (!builder)
        return error_memory();
    hash_index_init(&builder->kind_index);
    string_pool_init(&builder->strings);
    *ret = builder;
    return NULL;
}

void relink_builder_destroy(struct relink_builder *builder)
{
    if (!builder)
        return;
    free(builder->modules.at);
    free(builder->sections.at);
    free(builder->symbols.at);
    free(builder->relocs.at);
    free(builder->kinds.at);
    hash_index_deinit(&builder->kind_index);
    free(builder->pointee_first);
    free(builder->pointees);
    free(builder->names);
    string_pool_deinit(&builder->strings);
    for (int part = 0; part < RELINK_PART_COUNT; part++)
        free(builder->parts[part].at);
    free(builder->bytes);
    free(builder);
}

/* The number for one more of what there are `count` of. */
static struct crateld_error *next_number(size_t count, const char *what, uint32_t *ret)
{
    if (count >= RELINK_NONE)
        return error_create(CRATELD_ERROR_RANGE, "more than %u %s", RELINK_NONE, what);
    if (ret)
        *ret = (uint32_t)count;
    return NULL;
}

struct crateld_error *relink_builder_add_module(struct relink_builder *builder, const struct relink_module *module,
                                                uint32_t *ret)
{
    TRY(next_number(builder->modules.count, "modules", ret));
    if (!VEC_PUSH(&builder->modules, *module))
        return error_memory();
    struct relink_module *added = &builder->modules.at[builder->modules.count - 1];
    added->first_section = (uint32_t)builder->sections.count;
    added->first_symbol = (uint32_t)builder->symbols.count;
    return NULL;
}

struct crateld_error *relink_builder_add_section(struct relink_builder *builder, const struct relink_section *section,
                                                 uint32_t *ret)
{
    assert(builder->modules.count && section->align_log2 < 32 && !(section->flags & ~RELINK_SECTION_ALL_FLAGS));
    TRY(next_number(builder->sections.count, "sections", ret));
    if (!VEC_PUSH(&builder->sections, *section))
        return error_memory();
    builder->sections.at[builder->sections.count - 1].module = (uint32_t)builder->modules.count - 1;
    return NULL;
}

struct crateld_error *relink_builder_add_symbol(struct relink_builder *builder, const struct relink_symbol *symbol,
                                                uint32_t *ret)
{
    assert(builder->modules.count && symbol->type < 16 && symbol->visibility < 4);
    TRY(next_number(builder->symbols.count, "symbols", ret));
    if (!VEC_PUSH(&builder->symbols, *symbol))
        return error_memory();
    builder->symbols.at[builder->symbols.count - 1].module = (uint32_t)builder->modules.count - 1;
    return NULL;
}

struct crateld_error *relink_builder_add_reloc(struct relink_builder *builder, const struct relink_reloc *reloc)
{
    TRY(next_number(builder->relocs.count, "relocations", NULL));
    return VEC_PUSH(&builder->relocs, *reloc) ? NULL : error_memory();
}

static struct crateld_error *put_bytes(struct byte_vec *vec, const void *bytes, size_t size)
{
    if (!VEC_RESERVE(vec, size))
        return error_memory();
    memcpy(vec->at + vec->count, bytes, size);
    vec->count += size;
    return NULL;
}

/* Merges the sorted halves [0, middle) and [middle, count) of `relocs` by offset, keeping the order of
 * equals. */
static void merge_halves(struct relink_reloc *relocs, size_t middle, size_t count, struct relink_reloc *scratch)
{
    size_t left = 0, right = middle, out = 0;
    memcpy(scratch, relocs, middle * sizeof *relocs);
    while (left < middle && right < count)
        relocs[out++] = relocs[right].off < scratch[left].off ? relocs[right++] : scratch[left++];
    memcpy(relocs + out, scratch + left, (middle - left) * sizeof *relocs);
}

/* Sorts one section's relocations by offset, keeping the order of equals; mostly they are sorted already. */
static void sort_section(struct relink_reloc *relocs, size_t count, struct relink_reloc *scratch)
{
    size_t sorted = 1;
    while (sorted < count && relocs[sorted - 1].off <= relocs[sorted].off)
        sorted++;
    if (sorted >= count)
        return;
    size_t middle = count / 2;
    sort_section(relocs, middle, scratch);
    sort_section(relocs + middle, count - middle, scratch);
    merge_halves(relocs, middle, count, scratch);
}

/* Puts the relocations in the order of sections and offsets; tells each section which are its own. */
static struct crateld_error *order_relocs(struct relink_builder *builder)
{
    struct relink_section *sections = builder->sections.at;
    size_t section_count = builder->sections.count, count = builder->relocs.count;
    for (size_t i = 0; i < count; i++) {
        assert(builder->relocs.at[i].section < section_count && builder->relocs.at[i].symbol < builder->symbols.count);
        sections[builder->relocs.at[i].section].reloc_count++;
    }
    uint32_t first = 0;
    for (size_t i = 0; i < section_count; i++) {
        sections[i].first_reloc = first;
        first += sections[i].reloc_count;
        sections[i].reloc_count = 0;
    }
    struct relink_reloc *ordered = calloc(count + 1, sizeof *ordered);
    if (!ordered)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        struct relink_section *section = &sections[builder->relocs.at[i].section];
        ordered[section->first_reloc + section->reloc_count++] = builder->relocs.at[i];
    }
    struct relink_reloc *scratch = builder->relocs.at;
    for (size_t i = 0; i < section_count; i++)
        sort_section(ordered + sections[i].first_reloc, sections[i].reloc_count, scratch);
    free(builder->relocs.at);
    builder->relocs.at = ordered;
    return NULL;
}

/* The number of the kind with this record; HASH_INDEX_NONE if it was not entered. */
static uint32_t find_kind(const struct relink_builder *builder, struct relink_kind_record record)
{
    size_t cursor = 0;
    uint32_t number;
    while ((number = hash_index_next(&builder->kind_index, hash_bytes(&record, sizeof record), &cursor)) !=
           HASH_INDEX_NONE) {
        if (memcmp(&builder->kinds.at[number].record, &record, sizeof record) == 0)
            break;
    }
    return number;
}

/* The number of the kind with this record, entered if it is not there. */
static struct crateld_error *enter_kind(struct relink_builder *builder, struct relink_kind_record record, uint32_t *ret)
{
    *ret = find_kind(builder, record);
    if (*ret != HASH_INDEX_NONE)
        return NULL;
    *ret = (uint32_t)builder->kinds.count;
    if (!VEC_PUSH(&builder->kinds, (struct kind){record, 0}) ||
        !hash_index_add(&builder->kind_index, hash_bytes(&record, sizeof record)))
        return error_memory();
    return NULL;
}

/* The bytes that a kind of its own saves. */
static uint64_t saved_by(const struct kind *kind)
{
    uint8_t bytes[VARINT_MAX_SIZE];
    return kind->count * varint_write(bytes, varint_fold(kind->record.addend));
}

static int compare_kinds(const void *left, const void *right)
{
    const struct kind *a = left, *b = right;
    uint64_t saved_a = saved_by(a), saved_b = saved_by(b);
    if (saved_a != saved_b)
        return saved_a < saved_b ? 1 : -1;
    if (a->record.type != b->record.type)
        return a->record.type < b->record.type ? -1 : 1;
    return a->record.addend < b->record.addend ? -1 : a->record.addend > b->record.addend;
}

/* Counts pairs of type and addend, keeps those that save most, and adds for each type the kind without an
 * addend. */
static struct crateld_error *choose_kinds(struct relink_builder *builder)
{
    uint32_t number = 0;
    for (size_t i = 0; i < builder->relocs.count; i++) {
        const struct relink_reloc *reloc = &builder->relocs.at[i];
        TRY(enter_kind(builder, (struct relink_kind_record){reloc->addend, reloc->type, 0}, &number));
        builder->kinds.at[number].count++;
    }
    if (builder->kinds.count)
        qsort(builder->kinds.at, builder->kinds.count, sizeof *builder->kinds.at, compare_kinds);
    size_t kept = 0;
    while (kept < builder->kinds.count && kept < KIND_LIMIT / 2 && saved_by(&builder->kinds.at[kept]) > KIND_MIN_SAVED)
        kept++;
    size_t counted = builder->kinds.count;
    struct kind *pairs AUTO_FREE = STEAL_PTR(builder->kinds.at);
    builder->kinds.count = builder->kinds.capacity = 0;
    hash_index_deinit(&builder->kind_index);
    for (size_t i = 0; i < kept; i++)
        TRY(enter_kind(builder, pairs[i].record, &number));
    for (size_t i = kept; i < counted; i++)
        TRY(enter_kind(builder, (struct relink_kind_record){0, pairs[i].record.type, 1}, &number));
    for (size_t i = 0; i < builder->kinds.count; i++)
        TRY(put_bytes(&builder->parts[RELINK_PART_KINDS], &builder->kinds.at[i].record,
                      sizeof(struct relink_kind_record)));
    return NULL;
}

/* The kind that was chosen for `reloc`: its own pair of type and addend, or its type with any addend. */
static uint32_t kind_of(const struct relink_builder *builder, const struct relink_reloc *reloc)
{
    uint32_t number = find_kind(builder, (struct relink_kind_record){reloc->addend, reloc->type, 0});
    if (number == HASH_INDEX_NONE)
        number = find_kind(builder, (struct relink_kind_record){0, reloc->type, 1});
    assert(number != HASH_INDEX_NONE);
    return number;
}

static struct crateld_error *encode_relocs(struct relink_builder *builder)
{
    struct byte_vec *out = &builder->parts[RELINK_PART_RELOCS];
    for (uint32_t i = 0, place = 0; i < builder->relocs.count; i++) {
        const struct relink_reloc *reloc = &builder->relocs.at[i];
        const struct relink_section *section = &builder->sections.at[reloc->section];
        if (i % RELINK_RELOCS_PER_BLOCK == 0) {
            uint32_t off = (uint32_t)out->count;
            TRY(put_bytes(&builder->parts[RELINK_PART_RELOC_BLOCKS], &off, sizeof off));
        }
        if (i % RELINK_RELOCS_PER_BLOCK == 0 || i == section->first_reloc)
            place = 0;
        uint32_t kind = kind_of(builder, reloc);
        uint8_t bytes[RELOC_MAX_SIZE];
        uint32_t size = varint_write(bytes, kind);
        size += varint_write(bytes + size, reloc->off - place);
        size += varint_write(bytes + size, varint_fold((int64_t)reloc->symbol -
                                                       (int64_t)builder->modules.at[section->module].first_symbol));
        if (builder->kinds.at[kind].record.has_addend)
            size += varint_write(bytes + size, varint_fold(reloc->addend));
        TRY(put_bytes(out, bytes, size));
        place = reloc->off;
    }
    return NULL;
}

/* Lists by symbol the blocks of relocations in which it occurs: counts them, then enters them. */
static struct crateld_error *list_pointees(struct relink_builder *builder)
{
    size_t symbol_count = builder->symbols.count;
    uint32_t *last AUTO_FREE = calloc(symbol_count + 1, sizeof *last); /* block + 1 that was seen last */
    uint32_t *first = builder->pointee_first = calloc(symbol_count + 2, sizeof *first);
    if (!last || !first)
        return error_memory();
    for (size_t i = 0; i < builder->relocs.count; i++) {
        uint32_t symbol = builder->relocs.at[i].symbol, block = (uint32_t)(i / RELINK_RELOCS_PER_BLOCK) + 1;
        first[symbol + 2] += last[symbol] != block;
        last[symbol] = block;
    }
    for (size_t i = 2; i < symbol_count + 2; i++)
        first[i] += first[i - 1];
    builder->pointees = calloc((size_t)first[symbol_count + 1] + 1, sizeof *builder->pointees);
    if (!builder->pointees)
        return error_memory();
    memset(last, 0, symbol_count * sizeof *last);
    for (size_t i = 0; i < builder->relocs.count; i++) {
        uint32_t symbol = builder->relocs.at[i].symbol, block = (uint32_t)(i / RELINK_RELOCS_PER_BLOCK) + 1;
        if (last[symbol] != block)
            builder->pointees[first[symbol + 1]++] = block - 1;
        last[symbol] = block;
    }
    return NULL;
}

static struct crateld_error *lay_out_strings(struct relink_builder *builder)
{
    for (size_t i = 0; i < builder->modules.count; i++) {
        TRY(string_pool_add(&builder->strings, builder->modules.at[i].path));
        TRY(string_pool_add(&builder->strings, builder->modules.at[i].member));
    }
    for (size_t i = 0; i < builder->sections.count; i++)
        TRY(string_pool_add(&builder->strings, builder->sections.at[i].name));
    for (size_t i = 0; i < builder->symbols.count; i++)
        TRY(string_pool_add(&builder->strings, builder->symbols.at[i].name));
    TRY(string_pool_lay_out(&builder->strings));
    return put_bytes(&builder->parts[RELINK_PART_STRINGS], builder->strings.bytes, builder->strings.size);
}

/* The offset of the next string, in the order of lay_out_strings(). */
static uint32_t next_string(struct relink_builder *builder)
{
    return builder->strings.entries[builder->next_string++].off;
}

static struct crateld_error *encode_modules(struct relink_builder *builder)
{
    for (size_t i = 0; i < builder->modules.count; i++) {
        const struct relink_module *module = &builder->modules.at[i];
        uint32_t path = next_string(builder);
        struct relink_module_record record = {
            .hash = module->hash,
            .path = path,
            .member = next_string(builder),
            .first_section = module->first_section,
            .first_symbol = module->first_symbol,
            .debug_off = module->debug_off,
            .debug_size = module->debug_size,
        };
        TRY(put_bytes(&builder->parts[RELINK_PART_MODULES], &record, sizeof record));
    }
    return NULL;
}

static struct crateld_error *encode_sections(struct relink_builder *builder)
{
    for (size_t i = 0; i < builder->sections.count; i++) {
        const struct relink_section *section = &builder->sections.at[i];
        struct relink_section_record record = {
            .hash = section->hash,
            .name = next_string(builder),
            .rva = section->rva,
            .size = section->size,
            .capacity = section->capacity,
            .first_reloc = section->first_reloc,
            .flags = (uint16_t)section->flags,
            .align_log2 = section->align_log2,
        };
        TRY(put_bytes(&builder->parts[RELINK_PART_SECTIONS], &record, sizeof record));
    }
    return NULL;
}

/* The code of a binding in two bits. */
static uint8_t binding_code(uint8_t binding)
{
    assert(binding <= STB_WEAK || binding == STB_GNU_UNIQUE);
    return binding == STB_GNU_UNIQUE ? 3 : binding;
}

/* Writes the list of blocks with relocations against `symbol`, with its size before it. */
static struct crateld_error *encode_pointees(struct relink_builder *builder, uint32_t number)
{
    struct byte_vec *out = &builder->parts[RELINK_PART_SYMBOLS];
    const struct relink_symbol *symbol = &builder->symbols.at[number];
    uint32_t begin = builder->pointee_first[number], end = builder->pointee_first[number + 1];
    uint8_t *list AUTO_FREE = malloc((size_t)(end - begin) * VARINT_MAX_SIZE);
    if (!list)
        return error_memory();
    uint32_t base = symbol->where == RELINK_IN_SECTION
                        ? builder->sections.at[symbol->section].first_reloc / RELINK_RELOCS_PER_BLOCK
                        : 0;
    size_t size = varint_write(list, varint_fold((int64_t)builder->pointees[begin] - (int64_t)base));
    for (uint32_t i = begin + 1; i < end; i++)
        size += varint_write(list + size, builder->pointees[i] - builder->pointees[i - 1] - 1);
    uint8_t size_bytes[VARINT_MAX_SIZE];
    TRY(put_bytes(out, size_bytes, varint_write(size_bytes, size)));
    return put_bytes(out, list, size);
}

/* Writes the set of refs and their values to `at`; returns the number of bytes. */
static uint32_t write_refs(uint8_t *at, const struct relink_symbol *symbol, uint64_t set)
{
    uint32_t size = varint_write(at, set);
    for (int ref = 0; ref < RELINK_REF_COUNT; ref++) {
        if (set >> ref & 1)
            size += varint_write(at + size, symbol->refs[ref]);
    }
    return size;
}

/* Writes symbol `number`; *section is that of the previous one in its block. */
static struct crateld_error *encode_symbol(struct relink_builder *builder, uint32_t number, uint32_t *section)
{
    const struct relink_symbol *symbol = &builder->symbols.at[number];
    bool has_pointees = builder->pointee_first[number] != builder->pointee_first[number + 1];
    uint64_t set = 0;
    for (int ref = 0; ref < RELINK_REF_COUNT; ref++)
        set |= (uint64_t)(symbol->refs[ref] != RELINK_NONE) << ref;
    uint64_t shape = symbol->where | (uint64_t)symbol->flags << RELINK_SHAPE_FLAGS_SHIFT;
    shape |= (set ? RELINK_SHAPE_HAS_REFS : 0) | (has_pointees ? RELINK_SHAPE_HAS_POINTEES : 0);
    uint8_t bytes[SYMBOL_MAX_SIZE];
    bytes[0] = (uint8_t)(symbol->type | binding_code(symbol->binding) << 4 | symbol->visibility << 6);
    uint32_t size = 1 + varint_write(bytes + 1, shape);
    size += varint_write(bytes + size, next_string(builder));
    if (symbol->where == RELINK_IN_SECTION) {
        assert(symbol->section < builder->sections.count);
        size += varint_write(bytes + size, varint_fold((int64_t)symbol->section - (int64_t)*section));
        *section = symbol->section;
    }
    size += varint_write(bytes + size, symbol->value);
    size += varint_write(bytes + size, symbol->size);
    if (set)
        size += write_refs(bytes + size, symbol, set);
    TRY(put_bytes(&builder->parts[RELINK_PART_SYMBOLS], bytes, size));
    return has_pointees ? encode_pointees(builder, number) : NULL;
}

static struct crateld_error *encode_symbols(struct relink_builder *builder)
{
    for (uint32_t i = 0, section = 0; i < builder->symbols.count; i++) {
        if (i % RELINK_SYMBOLS_PER_BLOCK == 0) {
            uint32_t off = (uint32_t)builder->parts[RELINK_PART_SYMBOLS].count;
            TRY(put_bytes(&builder->parts[RELINK_PART_SYMBOL_BLOCKS], &off, sizeof off));
            section = 0;
        }
        TRY(encode_symbol(builder, i, &section));
    }
    return NULL;
}

/* A symbol that can be found by its name. */
struct named {
    uint64_t hash;
    uint32_t symbol;
};

static int compare_named(const void *left, const void *right)
{
    const struct named *a = left, *b = right;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->symbol < b->symbol ? -1 : a->symbol > b->symbol;
}

static struct crateld_error *encode_names(struct relink_builder *builder)
{
    struct named *named AUTO_FREE = calloc(builder->symbols.count + 1, sizeof *named);
    if (!named)
        return error_memory();
    size_t count = 0;
    for (uint32_t i = 0; i < builder->symbols.count; i++) {
        const struct relink_symbol *symbol = &builder->symbols.at[i];
        if (symbol->binding && *symbol->name)
            named[count++] = (struct named){hash_string(symbol->name), i};
    }
    qsort(named, count, sizeof *named, compare_named);
    for (size_t i = 0; i < count; i++)
        TRY(put_bytes(&builder->parts[RELINK_PART_NAMES], &named[i].symbol, sizeof named[i].symbol));
    return NULL;
}

/* Puts the header and the parts one behind the other. */
static struct crateld_error *assemble(struct relink_builder *builder, struct span *ret)
{
    struct relink_header header = {
        .magic = RELINK_MAGIC,
        .version = RELINK_VERSION,
        .header_size = sizeof header,
        .symbol_count = (uint32_t)builder->symbols.count,
        .reloc_count = (uint32_t)builder->relocs.count,
    };
    uint64_t end = sizeof header;
    for (int part = 0; part < RELINK_PART_COUNT; part++) {
        end = (end + 7) & ~UINT64_C(7);
        if (end + builder->parts[part].count > UINT32_MAX)
            return error_create(CRATELD_ERROR_RANGE, "the relink section would take more than 4 GiB");
        header.parts[part] = (struct relink_part){(uint32_t)end, (uint32_t)builder->parts[part].count};
        end += builder->parts[part].count;
    }
    header.size = end;
    builder->bytes = calloc(end, 1);
    if (!builder->bytes)
        return error_memory();
    memcpy(builder->bytes, &header, sizeof header);
    for (int part = 0; part < RELINK_PART_COUNT; part++) {
        if (builder->parts[part].count)
            memcpy(builder->bytes + header.parts[part].off, builder->parts[part].at, builder->parts[part].count);
    }
    *ret = (struct span){builder->bytes, (size_t)end};
    return NULL;
}

struct crateld_error *relink_builder_finish(struct relink_builder *builder, struct span *ret)
{
    TRY(order_relocs(builder));
    TRY(choose_kinds(builder));
    TRY(encode_relocs(builder));
    TRY(list_pointees(builder));
    TRY(lay_out_strings(builder));
    /* From here on strings are taken in the order in which they were added: modules, sections, symbols. */
    TRY(encode_modules(builder));
    TRY(encode_sections(builder));
    TRY(encode_symbols(builder));
    TRY(encode_names(builder));
    return assemble(builder, ret);
}
